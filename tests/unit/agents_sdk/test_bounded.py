"""What a client sends is bounded before it is sent, by the bounds that the ledger holds commands against."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from pydantic import BaseModel

from agents_sdk import operations, values
from agents_sdk.child import start_child
from agents_sdk.core import bounds
from agents_sdk.core.commands import Command, MessageBody
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.errors import InvalidCommand, Oversize
from agents_sdk.scope import Scope
from agents_sdk.state import State
from agents_sdk.transport import COMMAND_BYTES, Transport
from tests.support.core_requests import CoreRequests
from tests.support.ledger_desk import Desk

BIG = "x" * 3_900_000
LONG = "y" * (bounds.PROSE_LIMIT + 1)
Verb = Callable[[Scope, Any], Any]
VALUES: dict[str, Verb] = {
    "state": lambda scope, value: State(scope).set("key", value),
    "publish": lambda scope, value: operations.publish(scope, "name", value),
    "send": lambda scope, value: operations.send(scope, "alpha", "name", value),
    "ask": lambda scope, value: operations.ask(scope, "alpha", value, "name", 3.0, None),
    "execute": lambda scope, value: operations.execute(scope, "search", value, None),
    "complete": operations.complete_run,
    "start": lambda scope, value: operations.start_body(scope, "w", value, "idle", None, None),
    "child": lambda scope, value: start_child(scope, "w", value, None, "idle", None, None),
    "recovery": lambda scope, value: operations.execute_with_recovery(
        scope, "search", {}, {"degraded_result": {"text": value}}
    ),
}
"""Verbs that take a value of the author's own."""
TEXTS: dict[str, Verb] = {
    "reason": operations.fail_run,
    "action": lambda scope, text: operations.decide(scope, text, "", []),
    "rationale": lambda scope, text: operations.decide(scope, "choose", text, []),
    "name": lambda scope, text: operations.publish(scope, text, 1),
    "recipient": lambda scope, text: operations.send(scope, text, "name", 1),
    "capability": lambda scope, text: operations.execute(scope, text, {}, None),
    "context_used": lambda scope, text: operations.decide(scope, "choose", "", [text]),
    "depends_on": lambda scope, text: operations.declare_dependency(scope, "alpha", [text], "all_completed", "name"),
    "key": lambda scope, text: State(scope).get(text),
    "workflow": lambda scope, text: start_child(scope, text, None, None, "idle", None, None),
}
"""Field → a verb that takes it as text."""


def scope() -> Scope:
    """Of a client with a ledger's core behind it."""
    desk = Desk()
    desk.register("alpha")
    desk.start()
    return Scope(CoreRequests(desk), "r", "client", correlation_id="c")


@pytest.mark.parametrize("verb", VALUES)
def test_a_value_that_is_too_large_is_refused_with_the_limit_and_the_way_around(verb: str) -> None:
    """Before anything is sent, for every verb."""
    asked = scope()
    with pytest.raises(Oversize, match="artifact") as raised:
        VALUES[verb](asked, BIG)
    assert raised.value.fields["limit"] <= 1_048_576 < raised.value.fields["size"]
    assert asked.requests.sent == []  # type: ignore[attr-defined]  # CoreRequests notes what was sent


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("verb", VALUES)
def test_a_number_that_json_does_not_know_is_refused_with_its_path(verb: str, number: float) -> None:
    """It is not turned into null."""
    with pytest.raises(InvalidCommand) as raised:
        VALUES[verb](scope(), {"hits": [{"score": 1.0}, {"score": number}]})
    assert str(raised.value.fields["path"]).endswith("hits[1].score")


@pytest.mark.parametrize("field", TEXTS)
def test_a_text_that_is_too_long_is_refused_by_its_field(field: str) -> None:
    """The error has the field, the limit and the beginning of the value."""
    asked = scope()
    with pytest.raises((InvalidCommand, Oversize)) as raised:
        TEXTS[field](asked, LONG)
    assert raised.value.fields["field"] == field
    assert raised.value.fields["limit"] < len(LONG)
    assert len(str(raised.value)) < 500
    assert asked.requests.sent == []  # type: ignore[attr-defined]  # here too


async def test_what_is_within_its_bounds_is_sent_and_accepted() -> None:
    """The SDK and the ledger hold commands against one module."""
    asked = scope()
    await operations.decide(asked, "choose", "r" * bounds.PROSE_LIMIT, ["k" * bounds.KEY_LIMIT])
    await State(asked).set("k" * bounds.KEY_LIMIT, {1: "one", 2: {3: None}})
    assert await State(asked).get("k" * bounds.KEY_LIMIT) == {"1": "one", "2": {"3": None}}


class Score(BaseModel):
    """A model with a number and a mapping of its own."""

    value: float
    by_year: dict[int, float] = {}


def test_numbers_in_models_are_found_as_well() -> None:
    """Whatever pydantic makes of them."""
    with pytest.raises(InvalidCommand) as raised:
        values.to_json({"scores": [Score(value=1.0, by_year={2020: inf})]}, 1_000)
    assert raised.value.fields["path"] == "scores[0].by_year.2020"
    assert values.to_json(Score(value=1.0, by_year={2020: 2.0}), 1_000) == '{"by_year":{"2020":2.0},"value":1.0}'
    assert values.to_json({"text": "null", "none": None}, 1_000) == '{"none":null,"text":"null"}'


@pytest.mark.parametrize("key", [True, None, 1.5, (1, 2), b"x", object()])
def test_keys_that_are_no_text_are_refused_by_name(key: Any) -> None:
    """The message names the key and where it stands."""
    with pytest.raises(InvalidCommand, match="at 'rows'") as raised:
        values.to_json({"rows": {key: 1}}, 1_000)
    assert repr(key) in str(raised.value)


def test_two_keys_of_one_text_are_refused() -> None:
    """Or one of the values would be lost."""
    with pytest.raises(InvalidCommand, match="twice"):
        values.to_json({1: "a", "1": "b"}, 1_000)


@pytest.mark.parametrize("seconds", [inf, None])
async def test_an_infinite_timeout_is_none(seconds: float | None) -> None:
    """For every limit of time an author gives."""
    assert values.milliseconds("timeout", seconds) == 0
    asked = scope()
    assert (await operations.publish(asked, "name", 1, deadline_seconds=seconds)) == 0
    task = asyncio.ensure_future(operations.ask(asked, "alpha", 1, "name", seconds, None))
    await asyncio.sleep(0)
    task.cancel()


@pytest.mark.parametrize("seconds", [nan, 0.0, -1.0, -inf, 1e12])
def test_a_timeout_that_is_none_is_refused(seconds: float) -> None:
    """NaN as well, and one that is a mistake in the unit."""
    with pytest.raises(ValueError, match=r"timeout is .*use"):
        values.milliseconds("timeout", seconds)


def test_the_transport_refuses_what_no_broker_takes() -> None:
    """Commands that are built by hand, too: by their size, and by the ids in their envelope."""
    transport = Transport.__new__(Transport)
    transport.signer = type("Signer", (), {"said": lambda _, command: (command.message.data.encode(), 0, None)})()
    body = MessageBody(name="n", data="x" * (COMMAND_BYTES + 1))
    command = Command(
        command_id=CommandId("1"), kind="Publish", run_id=RunId("r"), agent="a", correlation_id="", message=body
    )
    with pytest.raises(Oversize, match="artifact"):
        transport._encoded(command, -1)
    huge = Command(command_id=CommandId("x" * 2_000), kind="Publish", run_id=RunId("r"), agent="a", correlation_id="")
    transport.signer = type("Signer", (), {"said": lambda _, command: (b"", 0, None)})()
    with pytest.raises(InvalidCommand, match="command_id") as raised:
        transport._encoded(huge, -1)
    assert raised.value.fields["limit"] == bounds.ID_LIMIT
