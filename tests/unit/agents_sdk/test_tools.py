"""Tools of models: definitions in each vendor's form, calls read whatever their form, results told."""

from __future__ import annotations

import json
from typing import Any, get_args

import jsonschema_rs
import pytest

from agents_sdk.core.tools import Format, compact, definition, read_call, result_message
from agents_sdk.errors import CallFailed
from agents_sdk.operations import CallResult
from agents_sdk.toolbox import called
from services.capabilities.registry import load_registry

OPENAI = {"id": "call_7", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
RESPONSES = {"type": "function_call", "call_id": "call_7", "name": "search", "arguments": '{"q": "x"}'}
ANTHROPIC = {"type": "tool_use", "id": "call_7", "name": "search", "input": {"q": "x"}}
MCP = {"name": "search", "arguments": {"q": "x"}}


class Model:
    """What a vendor's library gives instead of a mapping."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def model_dump(self) -> dict[str, Any]:
        return self._data


class Agent:
    """Calls capabilities by script."""

    def __init__(self, outcome: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._outcome = outcome

    async def execute(self, capability: str, params: Any = None, *, timeout_seconds: float | None = None) -> CallResult:
        self.asked.append((capability, params))
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return CallResult(
            result=self._outcome,
            provider="one",
            attempts=1,
            cost_nano_usd=0,
            latency_ms=0.1,
            degraded=False,
            call_id="c",
            event_id="e",
        )


@pytest.mark.parametrize("call", [OPENAI, RESPONSES, ANTHROPIC, MCP])
def test_a_call_is_read_whoever_made_it(call: dict[str, Any]) -> None:
    """Name and params; also where the vendor's library gives an object."""
    assert read_call(call)[:2] == read_call(Model(call))[:2] == ("search", {"q": "x"})


@pytest.mark.parametrize(("arguments", "told"), [('{"q": ', "no JSON"), ("[1]", "no object"), ("", "")])
def test_arguments_that_cannot_be_read_are_a_problem_and_none_are_none(arguments: str, told: str) -> None:
    """Models write broken JSON now and then."""
    call = read_call({"id": "1", "function": {"name": "search", "arguments": arguments}})

    assert told in call.problem
    assert bool(told) == bool(call.problem)


@pytest.mark.parametrize("format", get_args(Format))
def test_a_definition_is_what_its_vendor_documents(format: Format) -> None:
    """Where the schema of the params stands, and that it is one."""
    for contract in load_registry():
        capability = contract.capability
        tool = definition(capability.name, capability.description, capability.params, format)
        place = {"openai": ("function", "parameters"), "anthropic": ("input_schema",), "mcp": ("inputSchema",)}[format]
        inner = tool["function"] if format == "openai" else tool
        assert (inner["name"], inner["description"]) == (capability.name, capability.description)
        schema: Any = tool
        for key in place:
            schema = schema[key]
        jsonschema_rs.validator_for(schema)
        assert schema["type"] == "object"


def test_compaction_only_leaves_out_bounds() -> None:
    """Each built-in example fits the compact schema too, and a property may be named like a keyword."""
    for contract in load_registry():
        capability = contract.capability
        if capability.example is not None:
            assert jsonschema_rs.is_valid(compact(capability.params), capability.example)
    assert compact({"properties": {"title": {"type": "string", "title": "T", "pattern": "x"}}}) == {
        "properties": {"title": {"type": "string"}}
    }


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (OPENAI, {"role": "tool", "tool_call_id": "call_7", "content": '{"hits":[1]}'}),
        (ANTHROPIC, {"type": "tool_result", "tool_use_id": "call_7", "content": '{"hits":[1]}'}),
        (
            MCP,
            {
                "content": [{"type": "text", "text": '{"hits":[1]}'}],
                "isError": False,
                "structuredContent": {"hits": [1]},
            },
        ),
    ],
)
async def test_a_call_becomes_execute_and_its_result_a_message(call: dict[str, Any], told: dict[str, Any]) -> None:
    """From the model and back to it."""
    agent = Agent({"hits": [1]})

    assert await called(agent, call, None, None) == told
    assert agent.asked == [("search", {"q": "x"})]


@pytest.mark.parametrize("call", [OPENAI, ANTHROPIC, MCP])
async def test_a_call_that_fails_is_told_to_the_model(call: dict[str, Any]) -> None:
    """With what to do about it, in its vendor's way of saying that it is an error."""
    agent = Agent(CallFailed("no capability is named 'search'", hint="did you mean 'web_search'?"))

    told = json.dumps(await called(agent, call, None, None))

    assert "did you mean 'web_search'?" in told
    assert ("is_error" in told) or ("isError" in told) or ("error: " in told)


async def test_a_bug_is_not_told_to_the_model() -> None:
    """What a model can do nothing about ends the handler."""
    with pytest.raises(ZeroDivisionError):
        await called(Agent(ZeroDivisionError()), OPENAI, None, None)


def test_what_is_no_call_is_refused() -> None:
    """At the caller's line."""
    with pytest.raises(TypeError, match="not str"):
        read_call("search")
    with pytest.raises(ValueError, match="gemini"):
        definition("a", "b", {}, "gemini")  # type: ignore[arg-type]  # the point of the test
    assert result_message(read_call(MCP), "mcp", [1])["content"] == [{"type": "text", "text": "[1]"}]
