"""Dead letters that are given up: for a reason, once, and without a word in the record of a run that has ended."""

from __future__ import annotations

import pytest

from agents_sdk.core.ids import RunId
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


def desk_with_a_letter() -> tuple[Desk, str]:
    """A run that goes on, since the agent that failed has a supervisor."""
    desk = Desk()
    desk.register("boss")
    desk.register("one", max_deliveries=1, supervisor="boss")
    desk.start()
    delivery = desk.deliver("one")
    desk.fail(delivery)
    return desk, delivery.delivery_id


def test_a_discarded_letter_is_not_redriven_any_more() -> None:
    """The record says who gave it up, and why."""
    desk, letter = desk_with_a_letter()
    step = desk.send("Discard", name="", dead_delivery_id=letter, reason="a test of ours")
    (fact,) = step.facts
    assert (fact.kind, fact.delivery_id, fact.recipient, fact.reason) == (  # type: ignore[attr-defined]
        "MessageDiscarded", letter, "one", "a test of ours",
    )  # fmt: skip
    assert answer(desk.send("Redrive", name="", dead_delivery_id=letter)).code == "invalid_command"
    assert answer(desk.send("Discard", name="", dead_delivery_id=letter, reason="again")).code == "invalid_command"


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_letter_is_not_discarded_without_a_reason(reason: str) -> None:
    """Whoever reads the record later wants to know."""
    desk, letter = desk_with_a_letter()
    step = desk.send("Discard", name="", dead_delivery_id=letter, reason=reason)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "reason")


def test_only_the_supervisor_among_agents_may() -> None:
    """As with a redrive."""
    desk, letter = desk_with_a_letter()
    assert answer(desk.send("Discard", agent="one", name="", dead_delivery_id=letter, reason="r")).code == "scope"
    assert kinds(desk.send("Discard", agent="boss", name="", dead_delivery_id=letter, reason="r")) == [
        "MessageDiscarded"
    ]


def test_a_failed_call_is_discarded_alike() -> None:
    """And cannot be redriven."""
    desk = Desk()
    desk.start()
    call_id = desk.call()
    desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report="{}")
    assert kinds(desk.send("DiscardCall", capability="", dead_call_id=call_id, reason="paid by hand")) == [
        "CallDiscarded"
    ]
    assert answer(desk.send("RedriveCall", capability="", dead_call_id=call_id)).code == "invalid_command"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Discard", {"name": "a.b", "dead_delivery_id": "d"}),
        ("DiscardCall", {"capability": "search", "dead_call_id": "c"}),
    ],
)
def test_the_record_of_an_ended_run_stays_as_it_is(kind: str, fields: dict[str, str]) -> None:
    """The discard is a fact in no record; said twice it is one."""
    desk = Desk()
    desk.start()
    desk.send("FailRun", reason="no")
    seq = desk.book.finished[RunId("r")].seq
    step = desk.send(kind, reason="old", **fields)
    assert [(fact.kind[-9:], fact.run_seq, fact.run_id) for fact in step.facts] == [("Discarded", 0, "r")]
    assert answer(step).status == "ok"
    assert kinds(desk.again()) == []
    assert desk.book.finished[RunId("r")].seq == seq
