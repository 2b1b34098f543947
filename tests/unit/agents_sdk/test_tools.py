"""Tools of models: definitions in each vendor's form, calls read whatever their form, results told."""

from __future__ import annotations

import json
from typing import Any, get_args

import jsonschema_rs
import pytest

from agents_sdk.core.shortened import compact
from agents_sdk.core.tools import Format, definition, read_call, result_message
from agents_sdk.errors import CallFailed
from agents_sdk.operations import CallResult
from agents_sdk.toolbox import called
from backplane.manifests.registry import load_registry

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


NONE: list[dict[str, Any]] = [{}, {"arguments": None}, {"arguments": ""}, {"arguments": " "}, {"arguments": "null"}]


@pytest.mark.parametrize("none", [*NONE, {"arguments": "{}"}, {"arguments": {}}, {"arguments": "[]"}])
def test_no_arguments_are_empty_ones(none: dict[str, Any]) -> None:
    """Null, empty, absent; as text and as data; in every vendor's form."""
    chat = {"id": "1", "type": "function", "function": {"name": "search", **none}}
    response = {"type": "function_call", "call_id": "1", "name": "search", **none}
    inputs = {"input": none["arguments"]} if none else {}
    anthropic = {"type": "tool_use", "id": "1", "name": "search", **inputs}

    for call in (chat, response, anthropic, {"name": "search", **none}):
        assert read_call(call)[:2] == ("search", {}), call
        assert not read_call(call).problem


@pytest.mark.parametrize("arguments", ["[" * 100_000, "nan", '"x"', "1", b"\xff", '{"a": NaN}', [1], 7, True])
@pytest.mark.parametrize("form", ["chat", "responses", "anthropic", "mcp"])
def test_whatever_a_model_writes_is_a_call_or_a_problem(arguments: Any, form: str) -> None:
    """It is told what is wrong, and may try again."""
    call = {
        "chat": {"id": "1", "function": {"name": "search", "arguments": arguments}},
        "responses": {"type": "function_call", "call_id": "1", "name": "search", "arguments": arguments},
        "anthropic": {"type": "tool_use", "id": "1", "name": "search", "input": arguments},
        "mcp": {"name": "search", "arguments": arguments},
    }[form]

    assert "the arguments are no" in read_call(call).problem


@pytest.mark.parametrize("call", [{}, {"type": "function", "function": None}, {"name": None, "input": {}}, {"name": 7}])
def test_a_call_without_a_name_is_a_problem(call: dict[str, Any]) -> None:
    """No exception."""
    assert read_call(call).problem == "the call names no tool"


def test_a_format_that_is_asked_for_does_not_change_whose_call_it_is() -> None:
    """A response's call is answered in its own form also where "openai" is said."""
    told = result_message(read_call(RESPONSES, "openai"), "openai", 1)

    assert told == {"type": "function_call_output", "call_id": "call_7", "output": "1"}


@pytest.mark.parametrize("format", get_args(Format))
def test_a_definition_is_what_its_vendor_documents(format: Format) -> None:
    """Where the schema of the params stands, and that it is one."""
    for contract in load_registry():
        capability = contract.capability
        tool = definition(capability.name, capability.description, capability.params, format)
        place = {
            "openai": ("function", "parameters"),
            "openai_responses": ("parameters",),
            "anthropic": ("input_schema",),
            "mcp": ("inputSchema",),
        }[format]
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
        (RESPONSES, {"type": "function_call_output", "call_id": "call_7", "output": '{"hits":[1]}'}),
        (RESPONSES | {"id": "fc_1"}, {"type": "function_call_output", "call_id": "call_7", "output": '{"hits":[1]}'}),
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


@pytest.mark.parametrize("call", [OPENAI, RESPONSES, ANTHROPIC, MCP])
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
