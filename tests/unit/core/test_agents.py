"""An agent that is removed is heard of no more, and what waits for it comes to its end in every run."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, evolve, timers
from agents_sdk.core.ledger.agents import touched
from tests.support.ledger_desk import Desk, kinds


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.register("gone", subscriptions=["go"])
    made.register("stays", subscriptions=["go"])
    return made


def remove(desk: Desk, name: str = "gone", agent: str = OPERATOR) -> Any:
    """The removal's step; what it makes due is fired, as the ledger's shell does it."""
    step = desk.send("RemoveAgent", agent=agent, run_id="", name=name)
    for fact in step.facts:
        for run_id, names in touched(desk.book, fact).items():
            for timer, due in names.items():
                desk.put(timers.fired(run_id, "", timer, due))
    return step


def test_what_waits_for_it_is_a_dead_letter_and_its_runs_go_on_and_end(desk: Desk) -> None:
    """In every run; a run with nothing else to do completes; nobody hears of it any more."""
    for run_id in ("one", "two"):
        desk.start("idle", run_id=run_id)
        desk.send("SendMessage", run_id=run_id, name="go", recipient="gone")
    (working,) = desk.send("SendMessage", run_id="two", name="go", recipient="stays").facts[1:]
    assert kinds(remove(desk)) == ["AgentRemoved"]
    letters = [fact for fact in desk.facts if fact.kind == "MessageDeadLettered"]
    assert [(fact.run_id, fact.recipient, fact.cause) for fact in letters] == [  # type: ignore[attr-defined]
        ("one", "gone", "agent_removed"),
        ("two", "gone", "agent_removed"),
    ]
    assert "one" in desk.book.finished
    assert desk.send("Publish", run_id="two", name="go").facts[0].recipients == 1  # type: ignore[attr-defined]
    step = desk.send("SendMessage", run_id="two", name="go", recipient="gone")
    assert isinstance(step.facts[0], RefusalEvent)
    desk.complete(working)
    assert not [fact for fact in desk.facts if fact.kind == "RunFailed"]
    letter = letters[1]
    step = desk.send("Redrive", run_id="two", name="", dead_delivery_id=letter.delivery_id)  # type: ignore[attr-defined]
    assert step.facts[0].code == "unknown_agent"  # type: ignore[attr-defined]  # a CommandRefused


def test_who_asked_it_is_told(desk: Desk) -> None:
    """No answer comes any more."""
    desk.start()
    desk.send("Ask", name="go", recipient="gone", command_id="question")
    remove(desk)
    assert [(reply.command_id, reply.code) for reply in desk.replies if reply.status == "failed"] == [
        ("question", "request_failed")
    ]


@pytest.mark.parametrize(
    ("depends_on", "trigger_when", "ends"),
    [(["gone", "event:x"], "all_completed", True), (["gone", "event:x"], "any_completed", False)],
)
def test_a_dependency_that_cannot_be_met_any_more_ends_its_run(
    desk: Desk, depends_on: list[str], trigger_when: str, ends: bool
) -> None:
    """And says why; one that can still be met waits on."""
    desk.start()
    desk.send("DeclareDependency", downstream="stays", depends_on=depends_on, trigger_when=trigger_when)
    remove(desk)
    assert ("r" in desk.book.finished) == ends
    if ends:
        ended = desk.book.finished[RunId("r")]
        assert (ended.code, ended.reason) == ("agent_removed", "agent 'stays' waited in vain: 'gone' removed")
        assert (ended.said, ended.said_by) == ("gone, event:x", "client")


def test_a_dependency_that_would_trigger_it_ends_its_run(desk: Desk) -> None:
    """Or the trigger would lie in an inbox that nobody reads."""
    desk.start()
    desk.send("DeclareDependency", downstream="gone", depends_on=["event:x"], trigger_when="all_completed")
    remove(desk)
    assert desk.book.finished[RunId("r")].status == "failed"


def test_it_may_come_back_and_facts_folded_again_do_not_bring_it_back(desk: Desk) -> None:
    """A registration is newer or older than the removal by its place in the log."""
    remove(desk)
    assert kinds(remove(desk)) == []
    for fact in desk.facts:
        evolve(desk.book, fact)
    assert "gone" not in desk.book.agents
    desk.register("gone", subscriptions=["go"])
    desk.start()
    delivered = desk.deliver("gone")
    folded = PartitionState()
    for _ in range(2):
        for fact in desk.facts:
            evolve(folded, fact)
    assert "gone" in folded.agents
    assert folded.runs[RunId("r")].timers == desk.book.runs[RunId("r")].timers == {}
    assert kinds(desk.complete(delivered)) == ["HandlerCompleted"]


def test_only_an_operator_removes(desk: Desk) -> None:
    """Not even the agent itself."""
    assert remove(desk, agent="gone").facts[0].code == "scope"
    assert "gone" in desk.book.agents
