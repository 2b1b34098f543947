"""A run goes on from one that ended: with its state and versions, its open messages, and nothing begun twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ledger_desk import Desk, answer, kinds


def resumed(**fields: Any) -> Desk:
    desk = Desk()
    desk.register("one", subscriptions=["run.started"])
    desk.register("two")
    desk.start("idle", resumed_from="before", **fields)
    return desk


def test_nobody_is_told_that_a_resumed_run_has_started() -> None:
    """It does not begin: the handlers of its start have been at work already."""
    desk = resumed()
    assert [fact.kind for fact in desk.facts if fact.run_id == "r"] == ["RunStarted"]


def test_state_keeps_its_versions_and_its_guards() -> None:
    """A compare-and-set of before holds behind it."""
    desk = resumed()
    desk.send("RestoreState", key="k", value="1", version=7)
    assert answer(desk.send("GetState", key="k")).version == 7
    assert answer(desk.send("GetState", key="k", version=7)).value == "1"
    assert answer(desk.send("SetState", key="k", value="2", guarded=True, expected_version=7)).version == 8
    assert answer(desk.send("RestoreState", key="k", value="1", version=9)).code == "invalid_command"


def test_a_message_comes_from_whom_it_came_before() -> None:
    """Sent and delivered anew."""
    desk = resumed()
    sent, delivered = desk.send("Resend", name="go", recipient="one", sender="two", data="1").facts
    assert (sent.kind, sent.sender, delivered.kind, delivered.sender) == (  # type: ignore[attr-defined]
        "MessageSent", "two", "MessageDelivered", "two",
    )  # fmt: skip


def test_the_run_is_not_complete_before_all_is_there() -> None:
    """Though what came first is handled meanwhile."""
    desk = resumed()
    first = desk.send("Resend", name="go", recipient="one", data="1").facts[-1]
    assert kinds(desk.complete(first)) == ["HandlerCompleted"]
    assert kinds(desk.send("ResumeRun", resumed_from="before")) == ["RunResumed", "RunCompleted"]


def test_what_was_completed_before_counts_for_dependencies() -> None:
    """Agents and messages alike."""
    desk = resumed(completed=["one"], published=["found.it"])
    waits: dict[str, Any] = {
        "downstream": "two",
        "depends_on": ["one", "event:found.it"],
        "trigger_when": "all_completed",
    }
    assert "DependencySatisfied" in kinds(desk.send("DeclareDependency", **waits))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("RestoreState", {"key": "k", "value": "1", "version": 1}),
        ("Resend", {"name": "go", "recipient": "one"}),
        ("ResumeRun", {}),
    ],
)
def test_only_a_run_that_is_being_resumed_takes_it(kind: str, fields: dict[str, Any]) -> None:
    """Not one that began by itself, nor one that goes on already, nor from an agent."""
    desk = Desk()
    desk.start()
    assert answer(desk.send(kind, **fields)).code == "invalid_command"
    desk = resumed()
    assert answer(desk.send(kind, agent="one", **fields)).code == "scope"
    desk.send("ResumeRun", resumed_from="before")
    assert answer(desk.send(kind, **fields)).code == "invalid_command"


def test_an_agent_resumes_no_run() -> None:
    """What it takes over is an operator's word."""
    desk = Desk()
    desk.register("one")
    assert answer(desk.start(agent="one", resumed_from="before")).code == "scope"
    assert answer(desk.start(resumed_from="r")).code == "invalid_command"
