"""The end of a run: what it leaves open is told so, each thing once, before the last fact."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger.timers import fired
from tests.support.endings import unended
from tests.support.ledger_desk import EXECUTOR, Desk, answer, kinds


def desk_with_work() -> Desk:
    desk = Desk()
    desk.register("one")
    desk.register("two")
    desk.start()
    return desk


def test_open_deliveries_and_calls_are_cancelled_and_no_others() -> None:
    """What was handled or settled before stays as it was; the answer is the end itself."""
    desk = desk_with_work()
    desk.complete(desk.deliver("one"))
    first, second = desk.deliver("one"), desk.deliver("two")
    settled, open_call = desk.call(), desk.call()
    desk.send("FailCall", agent=EXECUTOR, call_id=settled)
    step = desk.send("CancelRun", reason="stop")
    assert kinds(step) == ["DeliveryCancelled", "DeliveryCancelled", "CallCancelled", "RunCancelled"]
    one, two, call, end = step.facts
    assert [(f.delivery_id, f.recipient, f.attempt) for f in (one, two)] == [  # type: ignore[attr-defined]
        (first.delivery_id, "one", 1),
        (second.delivery_id, "two", 1),
    ]
    assert call.call_id == open_call  # type: ignore[attr-defined]
    mine = [told.reply for told in step.replies if told.reply.command_id == desk.sent[-1].command_id]
    assert [reply.event_id for reply in mine] == [end.event_id]
    assert answer(desk.again()).event_id == end.event_id


def test_the_handler_that_ends_its_run_is_not_cancelled() -> None:
    """It has done its work; the handlers of other deliveries are stopped."""
    desk = desk_with_work()
    mine, other = desk.deliver("one"), desk.deliver("two")
    step = desk.within(mine, "CompleteRun", result="1")
    assert kinds(step) == ["HandlerCompleted", "DeliveryCancelled", "RunCompleted"]
    done, stopped, end = step.facts
    assert (done.delivery_id, done.cause) == (mine.delivery_id, "ended_run")  # type: ignore[attr-defined]
    assert stopped.delivery_id == other.delivery_id  # type: ignore[attr-defined]
    assert answer(step).event_id == end.event_id, "the sender is told of the end, not of what was told before it"
    assert kinds(desk.complete(mine)) == []


def test_by_the_rules_of_before_the_handler_that_ends_its_run_has_no_fact_of_its_own() -> None:
    """Records of runs that were started under them replay as they were."""
    desk = Desk()
    desk.register("one")
    desk.start(rules=0)
    mine, _ = desk.deliver("one"), desk.send("Ask", name="go", recipient="one")
    assert kinds(desk.within(mine, "CompleteRun", result="1")) == ["DeliveryCancelled", "RunCompleted"]


def test_no_dependency_is_met_by_the_end_itself() -> None:
    """The handler that ends the run completes, and nobody is triggered in a run that has ended."""
    desk = desk_with_work()
    waits: dict[str, Any] = {"downstream": "two", "depends_on": ["one"], "trigger_when": "all_completed"}
    desk.send("DeclareDependency", **waits)
    step = desk.within(desk.deliver("one"), "CompleteRun", result="1")
    assert kinds(step) == ["HandlerCompleted", "DependencyCancelled", "RunCompleted"]


@pytest.mark.parametrize("how", ["CompleteRun", "FailRun", "CancelRun", "deadline", "dead letter"])
def test_whatever_is_open_has_its_end_in_the_record(how: str) -> None:
    """Deliveries, requests, calls, children and dependencies; however the run ends."""
    desk = Desk()
    desk.register("one", max_deliveries=1)
    desk.register("two")
    desk.start(deadline_ms=60_000)
    delivery = desk.deliver("one")
    begins: dict[str, dict[str, Any]] = {
        "Ask": {"name": "go", "recipient": "two"},
        "CallCapability": {"capability": "search"},
        "StartChild": {"workflow": "w", "complete_when": "idle"},
        "DeclareDependency": {"downstream": "two", "depends_on": ["one"], "trigger_when": "all_completed"},
    }
    for kind, fields in begins.items():
        desk.within(delivery, kind, kind, **fields)
    if how == "deadline":
        step = desk.put(fired(RunId("r"), "", "run", 60_000_000 + desk.facts[2].at), at=60_000_000 + desk.facts[2].at)
    else:
        step = desk.fail(delivery) if how == "dead letter" else desk.within(delivery, how, "end")
    assert step.facts[-1].kind in ("RunCompleted", "RunFailed", "RunCancelled")
    told = {fact.kind for fact in desk.facts}
    assert {"RequestCancelled", "CallCancelled", "ChildOrphaned", "DependencyCancelled"} <= told
    assert unended(desk.facts) == []


def test_a_delivery_that_becomes_a_dead_letter_is_not_cancelled_too() -> None:
    """It has its end; what else was open is cancelled with the run that fails over it."""
    desk = Desk()
    desk.register("one", max_deliveries=1)
    desk.start()
    poison, other = desk.deliver("one"), desk.deliver("one")
    step = desk.fail(poison)
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "EscalationRaised", "DeliveryCancelled", "RunFailed"]
    assert step.facts[3].delivery_id == other.delivery_id  # type: ignore[attr-defined]
