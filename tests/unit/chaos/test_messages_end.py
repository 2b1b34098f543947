"""The judge of messages' ends finds one that was lost, and one that ended twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.facts import Fact, MessageEvent, RunEvent
from tests.support.chaos import laws
from tests.support.chaos.log import EncodedRecord, Log


def log(*facts: Fact) -> Log:
    where = EncodedRecord("bp.messages", 0, 0, 0, None, None)
    return Log({}, [(where, fact) for fact in facts], [], [], [])


def fact(shape: type[Any], kind: str, **fields: Any) -> Any:
    """One of run ``r``; what it must have besides is empty."""
    empty = {one.name: one.type() for one in msgspec.structs.fields(shape) if one.required}
    return shape(**{**empty, "kind": kind, "run_id": "r", **fields})


DELIVERED = fact(MessageEvent, "MessageDelivered", delivery_id="d")
HANDLED = fact(MessageEvent, "HandlerCompleted", delivery_id="d")
CANCELLED = fact(MessageEvent, "DeliveryCancelled", delivery_id="d")
OVER = fact(RunEvent, "RunCompleted")


@pytest.mark.parametrize("end", ["HandlerCompleted", "DeliveryCancelled", "MessageDeadLettered"])
def test_each_of_the_three_ends_is_one(end: str) -> None:
    assert laws.messages_end(log(DELIVERED, fact(MessageEvent, end, delivery_id="d"), OVER)) == []


def test_a_message_without_an_end_is_found_where_its_run_is_over() -> None:
    assert laws.messages_end(log(DELIVERED)) == []
    assert laws.messages_end(log(DELIVERED, OVER)) == ["run r: delivery d ended []"]


def test_a_message_with_two_ends_is_found() -> None:
    assert len(laws.messages_end(log(DELIVERED, HANDLED, CANCELLED))) == 1
    assert len(laws.messages_end(log(DELIVERED, HANDLED, HANDLED))) == 1
