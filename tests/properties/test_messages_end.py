"""Every message that was acknowledged comes to an end that is a fact, whatever history the run has."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given

from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger.rules import RULES
from tests.properties.test_ledger_laws import LAW
from tests.support.ledger_desk import Desk, kinds
from tests.support.ledger_strategies import HISTORIES, History
from tests.support.message_ends import unended


@LAW
@given(HISTORIES)
def test_each_delivery_has_exactly_one_end_when_its_run_has_ended(history: History) -> None:
    """Handled, a dead letter with its cause, or cancelled with its run and the reason of that."""
    facts: list[Fact] = [fact for entry in history.entries for fact in entry.facts]
    assert unended(facts) == []


@LAW
@given(HISTORIES)
def test_what_is_acknowledged_is_a_message_of_the_run(history: History) -> None:
    """Whoever is told that a message was sent is told the fact; so the law above is about all that was acknowledged."""
    for entry in history.entries:
        if entry.command.kind not in ("SendMessage", "Publish"):
            continue
        known = {fact.event_id for before in history.entries for fact in before.facts}
        told = [each.reply for each in entry.replies if each.reply.command_id == entry.command.command_id]
        assert all(reply.event_id in known for reply in told if reply.status == "ok" and reply.event_id)


def _ended_by_its_handler(rules: int) -> tuple[Desk, Any, Any]:
    desk = Desk()
    desk.register("one")
    desk.start(rules=rules)
    mine, other = desk.deliver("one"), desk.deliver("one")
    desk.within(mine, "CompleteRun", result="1", reason="enough")
    return desk, mine, other


def test_the_message_whose_handler_ends_its_run_is_handled_and_the_others_say_why_they_are_not() -> None:
    """By the rules of before it had no end at all, and the others no reason."""
    desk, mine, other = _ended_by_its_handler(1)
    ends: dict[str, Any] = {fact.kind: fact for fact in desk.facts}

    assert ends["HandlerCompleted"].delivery_id == mine.delivery_id
    cancelled = ends["DeliveryCancelled"]
    assert (cancelled.delivery_id, cancelled.cause, cancelled.reason) == (
        other.delivery_id, "run_ended", "enough",
    )  # fmt: skip
    assert desk.facts[-1].kind == "RunCompleted"
    assert unended(desk.facts) == []
    assert kinds(desk.complete(mine)) == []


def test_a_run_of_before_is_decided_as_before() -> None:
    """Its recorded facts replay; the law knows what they do not say."""
    desk, _, _ = _ended_by_its_handler(0)

    assert [fact.kind for fact in desk.facts[-2:]] == ["DeliveryCancelled", "RunCompleted"]
    assert unended(desk.facts) == []


def test_who_names_another_agents_delivery_does_not_handle_it() -> None:
    """It is cancelled with its run."""
    desk, mine = Desk(), None
    desk.register("one")
    desk.register("two")
    desk.start(rules=1)
    mine = desk.deliver("one")
    desk.within(mine, "CancelRun", agent="two")

    assert [fact.kind for fact in desk.facts[-2:]] == ["DeliveryCancelled", "RunCancelled"]
    assert unended(desk.facts) == []


def test_rules_that_this_ledger_does_not_know_are_its_newest() -> None:
    """A client of tomorrow is decided by what its ledger can."""
    desk = Desk()
    desk.start(rules=99)
    assert desk.facts[0].rules == RULES  # type: ignore[attr-defined]


def test_the_law_can_be_broken() -> None:
    """An end taken away, said twice, without its cause, or of another's run is found."""
    desk, mine, _ = _ended_by_its_handler(1)
    facts: list[Any] = list(desk.facts)
    handled = next(fact for fact in facts if fact.kind == "HandlerCompleted")
    cancelled = next(fact for fact in facts if fact.kind == "DeliveryCancelled")
    sent = next(fact for fact in facts if fact.kind == "MessageSent")

    assert f"delivery {mine.delivery_id}" in unended([fact for fact in facts if fact is not handled])[0]
    assert f"delivery {mine.delivery_id}" in unended([*facts, handled])[0]
    assert "cancelled as" in unended([*(f for f in facts if f is not cancelled), _with(cancelled, cause="")])[0]
    assert (
        "not ended by the same"
        in unended([*(f for f in facts if f is not cancelled), _with(cancelled, command_id="another")])[0]
    )
    assert "got it" in unended([*(f for f in facts if f is not sent), _with(sent, recipients=2)])[0]
    dead = _with(cancelled, kind="MessageDeadLettered", cause="")
    assert "no cause" in unended([*(f for f in facts if f is not cancelled), dead])[0]


def _with(fact: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(fact, **changes)
