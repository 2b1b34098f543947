"""Dead letters: who is told, what becomes of the run, and how they come back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import timers
from agents_sdk.core.ledger.dead_letters import REDRIVE_LIMIT
from tests.support.ledger_desk import Desk, answer, detail, kinds

FAILED = ["HandlerFailed", "MessageDeadLettered", "EscalationRaised"]


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.register("boss", max_deliveries=1)
    desk.register("one", max_deliveries=1, supervisor="boss")
    desk.register("alone", max_deliveries=1, supervisor="nobody")
    desk.start()
    return desk


def test_a_supervisor_is_told_the_whole_story_and_the_run_goes_on(desk: Desk) -> None:
    """Who, what, why, how often, and the message itself."""
    delivery: Any = desk.send("SendMessage", name="go", recipient="one", data='{"n":1e999}').facts[-1]
    step = desk.fail(delivery)
    assert kinds(step) == [*FAILED, "MessageDelivered"]
    told: Any = step.facts[-1]
    assert (told.name, told.recipient, told.sender) == ("escalation.raised", "boss", "bp.ledger")
    assert '"data":{"n":1e999}' in told.data  # as it was sent, though no float can hold it
    story = msgspec.json.decode(told.data.replace("1e999", "1"))
    assert story == {
        "agent": "one",
        "attempts": 1,
        "cause": "handler_failed",
        "data": {"n": 1},
        "delivery_id": delivery.delivery_id,
        "error_message": "no",
        "error_type": "ValueError",
        "name": "go",
        "redrives": 0,
        "sender": "client",
        "words_of": {"data": "client", "error_message": "one", "error_type": "one"},
    }
    assert "r" in desk.book.runs


def test_what_the_supervisor_fails_on_goes_to_the_operator_and_ends_the_run(desk: Desk) -> None:
    """The story so far is in the escalation's own dead letter."""
    told: Any = desk.fail(desk.deliver("one")).facts[-1]
    step = desk.fail(told)
    assert kinds(step) == [*FAILED, "RunFailed"]
    assert step.facts[2].recipient == "operator"  # type: ignore[attr-defined]  # an EscalationRaised
    assert "'boss' failed 1 times on 'escalation.raised'" in desk.book.finished[RunId("r")].reason


def test_a_supervisor_that_does_not_exist_is_the_operator(desk: Desk) -> None:
    """A name that nobody registered hides no failure."""
    assert kinds(desk.fail(desk.deliver("alone"))) == [*FAILED, "RunFailed"]


def test_what_came_too_late_escalates_and_ends_no_run(desk: Desk) -> None:
    """To the supervisor, or the operator."""
    for recipient, expected in (("one", "boss"), ("alone", "operator")):
        delivery: Any = desk.send("SendMessage", name="go", recipient=recipient, deadline_ms=1).facts[-1]
        due = delivery.deadline_at
        step = desk.put(timers.fired(RunId("r"), "", f"message/{delivery.delivery_id}", due), due)
        assert kinds(step)[:2] == ["MessageDeadLettered", "EscalationRaised"]
        assert step.facts[1].recipient == expected  # type: ignore[attr-defined]  # an EscalationRaised
        assert "RunFailed" not in kinds(step)


def test_a_late_dependency_is_the_supervisors_of_who_waits(desk: Desk) -> None:
    """It is told what was missing, and the run goes on."""
    declared: Any = desk.send(
        "DeclareDependency", downstream="one", depends_on=["state:k", "boss"], trigger_when="any_completed",
        deadline_ms=1, command_id="d",
    ).facts[0]  # fmt: skip
    step = desk.put(timers.fired(RunId("r"), "", "dependency/d", declared.deadline_at), declared.deadline_at)
    assert kinds(step) == ["DependencyExpired", "EscalationRaised", "MessageDelivered"]
    story = msgspec.json.decode(step.facts[-1].data)  # type: ignore[attr-defined]
    assert (story["cause"], story["missing"]) == ("expired", ["state:k", "boss"])


def test_the_operator_and_the_supervisor_may_redrive_and_nobody_else(desk: Desk) -> None:
    """With attempts anew; a second time there is no letter."""
    dead = desk.deliver("one")
    desk.fail(dead)
    body = {"name": "", "dead_delivery_id": dead.delivery_id}
    assert detail(desk.send("Redrive", agent="alone", **body))["rule"] == "supervisor"
    step = desk.send("Redrive", agent="boss", **body)
    assert kinds(step) == ["MessageRedriven", "MessageDelivered"]
    again: Any = step.facts[-1]
    assert (again.message_id, again.attempt, again.delivery_id == dead.delivery_id) == (dead.message_id, 1, False)
    assert detail(desk.send("Redrive", **body))["field"] == "dead_delivery_id"
    assert kinds(desk.complete(again)) == ["HandlerCompleted"]


def test_a_message_that_always_dies_is_not_redriven_for_ever(desk: Desk) -> None:
    """The story counts redrives; past the limit they are refused."""
    delivery = desk.deliver("one")
    for number in range(REDRIVE_LIMIT):
        told: Any = desk.fail(delivery).facts[-1]
        assert msgspec.json.decode(told.data)["redrives"] == number
        delivery = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id).facts[-1]
    desk.fail(delivery)
    refused = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id)
    assert detail(refused)["redrives"] == REDRIVE_LIMIT


def test_a_dead_letter_of_an_ended_run_stays_one(desk: Desk) -> None:
    """The refusal says that the run has ended."""
    dead = desk.deliver("alone")
    desk.fail(dead)
    assert answer(desk.send("Redrive", name="", dead_delivery_id=dead.delivery_id)).code == "run_finished"
