"""What a run takes over that goes on from one which ended, and that the ledger takes it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import event, given

from agents_sdk.core.facts import Fact
from agents_sdk.core.ids import RunId
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.ledger import PartitionState, apply
from agents_sdk.core.ledger.evolve import copy
from agents_sdk.core.resumption import NotResumable, resumption
from agents_sdk.resume import _start, commands, resumed_as
from agents_sdk.scope import Scope
from tests.properties.test_ledger_laws import LAW
from tests.support.endings import unended
from tests.support.ledger_desk import Desk, kinds
from tests.support.ledger_strategies import HISTORIES, History


class _Requests:
    client_id, reply_partition, max_value_bytes, artifacts = "me", 0, 1_048_576, None


def scope(run_id: str) -> Scope:
    return Scope(_Requests(), run_id, "client", correlation_id=run_id)  # type: ignore[arg-type]  # nothing is sent


def of_run(facts: list[Fact], run_id: str = "r") -> list[Fact]:
    return sorted((fact for fact in facts if fact.run_id == run_id and fact.run_seq), key=lambda fact: fact.run_seq)


def resume(desk: Desk) -> list[Fact]:
    """All that makes run ``r`` go on; the facts of the new run."""
    plan = resumption(of_run(desk.facts))
    about = scope(resumed_as("r"))
    for command in (_start(about, plan), *commands(about, plan)):
        desk.put(command)
    return of_run(desk.facts, about.run_id)


def working() -> Desk:
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=1, subscriptions=["run.started"] if name == "one" else [])
    return desk


def test_a_failed_run_goes_on_from_the_message_that_ended_it() -> None:
    """With its state; what was handled is not handled again, and what the failed handler had sent it sends again."""
    desk = working()
    first = desk.start("idle", input="1", budget_nano_usd=5_000).facts[1]
    desk.within(first, "SetState", "a", key="plan", value="1")
    desk.within(first, "SetState", "b", key="plan", value="2")
    second = desk.within(first, "SendMessage", "c", name="go", recipient="two").facts[-1]
    third = desk.within(first, "SendMessage", "d", name="go", recipient="three").facts[-1]
    desk.complete(first)
    again: Any = desk.within(second, "SendMessage", "e", name="more", recipient="three").facts[-1]
    desk.complete(third)
    assert kinds(desk.fail(second))[-1] == "RunFailed"

    facts = resume(desk)

    started: Any = facts[0]
    assert (started.resumed_from, started.workflow, started.input, started.budget_nano_usd) == ("r", "w", "1", 5_000)
    assert started.completed == ["one", "three"]
    assert [(f.key, f.version, f.value) for f in facts if f.kind == "StateWritten"] == [("plan", 2, "2")]  # type: ignore[attr-defined]
    delivered: list[Any] = [fact for fact in facts if fact.kind == "MessageDelivered"]
    assert [(fact.name, fact.recipient, fact.sender) for fact in delivered] == [("go", "two", "one")]
    assert again.recipient == "three", "it was open too, and its sender runs again"
    assert facts[-1].kind == "RunResumed"
    assert kinds(desk.complete(delivered[0])) == ["HandlerCompleted", "RunCompleted"]
    assert unended(of_run(desk.facts, facts[0].run_id)) == []


def test_a_run_that_its_own_handler_failed_goes_on_from_that_handler() -> None:
    """And from what was open beside it; a question is not asked again, since its asker is."""
    desk = working()
    first, other = desk.start().facts[1], desk.deliver("two")
    desk.within(other, "Ask", "a", name="go", recipient="three")
    desk.within(first, "FailRun", "b", reason="no")
    delivered: list[Any] = [fact for fact in resume(desk) if fact.kind == "MessageDelivered"]
    assert [fact.recipient for fact in delivered] == ["one", "two"]


def test_who_still_waited_waits_again_for_what_was_not_there() -> None:
    """What was completed before counts."""
    desk = working()
    first = desk.start().facts[1]
    desk.complete(desk.deliver("three"))
    waits: dict[str, Any] = {"downstream": "two", "depends_on": ["one", "three"], "trigger_when": "all_completed"}
    desk.send("DeclareDependency", **waits)
    desk.fail(first)
    facts = resume(desk)
    assert [fact.kind for fact in facts if fact.kind.startswith("Dependency")] == ["DependencyDeclared"]
    redelivered = next(fact for fact in facts if fact.kind == "MessageDelivered")
    assert "DependencySatisfied" in kinds(desk.complete(redelivered))


def test_resumed_again_it_is_the_same_run_and_nothing_happens_twice() -> None:
    """Whoever resumes it, and wherever the first one died."""
    desk = working()
    desk.fail(desk.start().facts[1])
    facts = resume(desk)
    assert resume(desk)[: len(facts)] == facts
    assert len([fact for fact in desk.facts if fact.kind == "RunResumed"]) == 1


def test_what_has_not_ended_badly_is_not_resumed() -> None:
    """The text says why."""
    desk = working()
    with pytest.raises(NotResumable, match="no such run"):
        resumption([])
    desk.start()
    with pytest.raises(NotResumable, match="has not ended"):
        resumption(of_run(desk.facts))
    desk.send("CompleteRun", result="1")
    with pytest.raises(NotResumable, match="has completed"):
        resumption(of_run(desk.facts))


@pytest.mark.parametrize("late_by", [-2_500, -1, 0, 1, 2_500])
def test_a_run_that_began_after_its_deadline_is_resumed_with_a_deadline(late_by: int) -> None:
    """A child may begin when its parent's deadline has passed: its own is no later. It is not refused, nor endless."""
    desk = working()
    desk.fail(desk.start(deadline_ms=1_000).facts[1])
    facts = of_run(desk.facts)
    facts[0] = msgspec.structs.replace(facts[0], deadline_at=facts[0].at - late_by)
    plan = resumption(facts)
    assert plan.deadline_ms == (2 if late_by == -2_500 else 1)
    assert _start(scope(resumed_as("r")), plan).run.deadline_ms == plan.deadline_ms  # type: ignore[union-attr]


@LAW
@given(HISTORIES)
def test_any_run_that_ended_badly_goes_on_with_its_state_and_each_open_message_once(history: History) -> None:
    """Whatever had happened in it; by the naive state, and the naive list of what was handled."""
    by_run: dict[str, list[Any]] = {}
    for fact in history.facts:
        if fact.run_seq and not fact.run_id.startswith("memory/"):
            by_run.setdefault(fact.run_id, []).append(fact)
    for run_id, facts in by_run.items():
        end = next((fact for fact in facts if fact.kind in RUN_ENDS), None)
        if end is None or end.kind == "RunCompleted":
            continue
        event(end.kind)
        plan = resumption(facts)
        values = {
            f.key: (f.version, f.value) for f in facts if f.kind in ("StateWritten", "StateDeleted", "StateExpired")
        }
        assert {one.key: (one.version, one.value) for one in plan.state} == {k: v for k, v in values.items() if v[1]}
        handled = {f.delivery_id for f in facts if f.kind == "HandlerCompleted" and f.cause != "ended_run"}
        again = [one.delivery_id for one in plan.messages]
        assert len(set(again)) == len(again)
        assert not handled & set(again)
        _taken(copy(history.book), run_id, plan, max(entry.offset for entry in history.entries))


def _taken(book: PartitionState, run_id: str, plan: Any, offset: int) -> None:
    """The ledger takes all of it, but for agents that are gone."""
    about = scope(resumed_as(run_id))
    at = 10**15
    for number, command in enumerate((_start(about, plan), *commands(about, plan)), 1):
        step = apply(book, command, offset + number, at)
        codes = {fact.code for fact in step.facts if fact.kind == "CommandRefused"}  # type: ignore[attr-defined]
        assert (
            codes <= {"unknown_agent", "invalid_command"}
            if command.kind == "DeclareDependency"
            else codes <= {"unknown_agent"}
        )
    run = book.runs.get(RunId(about.run_id))
    if run is not None:
        kept = {key: (versions[-1].version, versions[-1].value) for key, versions in run.state.items()}
        assert kept == {one.key: (one.version, one.value) for one in plan.state}
        assert not run.resuming
    assert msgspec.msgpack.encode(book)
