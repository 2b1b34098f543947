"""Child runs: what the parent's facts say, what follows from them for other runs, and who is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.commands import Command
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Step, issued
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    """A desk with the run ``r`` open; parent and children lie in one book here."""
    desk = Desk()
    desk.register("one")
    desk.start()
    return desk


def follows(step: Step) -> list[Command]:
    return [command for fact in step.facts for command in issued(fact)]


def start(desk: Desk, **fields: Any) -> tuple[str, Step]:
    """Starts a child and lets its start be decided; its id, and what that caused."""
    step = desk.send("StartChild", **{"workflow": "sub", "complete_when": "explicit", **fields})
    (command,) = follows(step)
    return command.run_id, desk.put(command)


def test_a_child_starts_with_what_its_parent_gave_it(desk: Desk) -> None:
    """Workflow, input and way to end come from the parent; its place in the tree, its cause and the correlation too."""
    step = desk.send("StartChild", workflow="sub", input='"in"', complete_when="idle", correlation_id="c")
    (command,) = follows(step)
    assert detail(step) == {"child_run_id": command.run_id}
    (started,) = desk.put(command).facts
    assert [getattr(started, name) for name in ("kind", "workflow", "input", "complete_when")] == [
        "RunStarted", "sub", '"in"', "idle",
    ]  # fmt: skip
    assert (started.parent_run_id, started.root_run_id, started.correlation_id) == ("r", "r", "c")
    assert started.causation_id == step.facts[0].event_id


def test_a_grandchild_has_the_root_of_all(desk: Desk) -> None:
    """Parent is who started it, root the top of the tree."""
    child, _ = start(desk)
    _, step = start(desk, run_id=child)
    assert (step.facts[0].parent_run_id, step.facts[0].root_run_id) == (child, "r")


def test_the_child_of_a_repeated_command_is_the_same(desk: Desk) -> None:
    """A handler that starts again finds the child it started the first time."""
    first = desk.send("StartChild", workflow="sub", complete_when="idle")
    again = desk.again()
    assert again.facts == []
    assert detail(again) == detail(first)


def test_who_awaits_a_child_is_told_its_outcome_once_it_has_ended(desk: Desk) -> None:
    """Before and after: the one when it comes, the other at once, and each again when it asks again."""
    child, _ = start(desk)
    assert desk.send("AwaitChild", child_run_id=child, reply_to="early", command_id="w").replies == []
    ended = desk.send("CompleteRun", run_id=child, result="42")
    (report,) = follows(ended)
    step = desk.put(report)
    assert step.facts[0].causation_id == ended.facts[0].event_id
    told = [t.reply for t in step.replies if t.reply.reply_to == "early"]
    assert [(t.command_id, t.status, t.value) for t in told] == [("w", "completed", "42")]
    late = answer(desk.send("AwaitChild", child_run_id=child))
    assert (late.status, late.value) == ("completed", "42")
    assert msgspec.json.decode(late.detail)["state_hash"] == ended.facts[0].state_hash  # type: ignore[attr-defined]
    assert answer(desk.again()) == late


def test_a_waiter_who_comes_back_from_another_address_is_told_there(desk: Desk) -> None:
    """And nowhere else."""
    child, _ = start(desk)
    desk.send("AwaitChild", child_run_id=child, reply_to="before")
    assert kinds(desk.again(reply_to="after")) == ["ChildAwaited"]
    (report,) = follows(desk.send("FailRun", run_id=child, reason="no"))
    (told,) = desk.put(report).replies
    assert (told.reply.reply_to, told.reply.status, told.reply.message) == (
        "after",
        "failed",
        "'client' failed the run",
    )
    assert msgspec.json.decode(told.reply.detail)["said"] == "no"


def test_a_report_that_comes_twice_changes_nothing(desk: Desk) -> None:
    """Once is once, however often the word is passed on."""
    child, _ = start(desk)
    (report,) = follows(desk.send("CompleteRun", run_id=child))
    assert kinds(desk.put(report)) == ["ChildEnded"]
    assert desk.put(report).facts == []


def test_the_end_of_a_parent_cancels_the_children_that_are_open(desk: Desk) -> None:
    """Those, and no others; nobody reports a thing to the parent that is gone."""
    done, _ = start(desk)
    child, _ = start(desk)
    grandchild, _ = start(desk, run_id=child)
    (report,) = follows(desk.send("CompleteRun", run_id=done))
    desk.put(report)
    ended = desk.send("FailRun", reason="no")
    assert kinds(ended) == ["ChildOrphaned", "RunFailed"]
    assert answer(ended).event_id == ended.facts[-1].event_id
    (cancel,) = follows(ended)
    cancelled = desk.put(cancel)
    assert kinds(cancelled) == ["ChildOrphaned", "RunCancelled"]
    to_grandchild, to_parent = follows(cancelled)
    assert (to_grandchild.run_id, to_parent.run_id) == (grandchild, "r")
    assert kinds(desk.put(to_grandchild)) == ["RunCancelled"]
    assert desk.put(to_parent).facts == []
    assert desk.book.runs == {}


def test_a_run_that_completes_when_idle_waits_for_its_children() -> None:
    """Its last handler is done, a child is not: it goes on, and completes with the report."""
    desk = Desk()
    desk.register("one", subscriptions=["run.started"])
    delivery = desk.start("idle").facts[1]
    desk.register("one", subscriptions=[])
    child, _ = start(desk)
    assert kinds(desk.complete(delivery)) == ["HandlerCompleted"]
    (report,) = follows(desk.send("FailRun", run_id=child))
    assert kinds(desk.put(report)) == ["ChildEnded", "RunCompleted"]


def test_a_child_is_late_at_the_latest_when_its_parent_is() -> None:
    """Its own deadline where that is sooner, its parent's where it is not, none where there is none."""
    desk = Desk()
    desk.start(deadline_ms=1_000)
    parent_due = desk.book.runs[RunId("r")].timers["run"]
    for own in (0, 5_000):
        assert start(desk, deadline_ms=own)[1].facts[0].deadline_at == parent_due  # type: ignore[attr-defined]
    child, step = start(desk, deadline_ms=10)
    assert step.facts[0].deadline_at < parent_due  # type: ignore[attr-defined]
    assert desk.book.runs[RunId(child)].timers == {"run": step.facts[0].deadline_at}  # type: ignore[attr-defined]
    desk.start(run_id="free")
    assert start(desk, run_id="free")[1].facts[0].deadline_at == 0  # type: ignore[attr-defined]


def test_cancelling_a_child_leaves_its_parent_alone(desk: Desk) -> None:
    """The child is told; its parent hears how it ended, and a second time is too late."""
    child, _ = start(desk)
    desk.send("AwaitChild", child_run_id=child, reply_to="waiter")
    step = desk.send("CancelChild", child_run_id=child, reason="enough")
    assert kinds(step) == ["ChildCancelled"]
    (cancel,) = follows(step)
    (report,) = follows(desk.put(cancel))
    (told,) = desk.put(report).replies
    assert (told.reply.status, told.reply.message) == ("cancelled", "'client' cancelled it, in its parent")
    assert msgspec.json.decode(told.reply.detail)["said"] == "enough"
    assert answer(desk.send("CancelChild", child_run_id=child)).code == "run_finished"
    assert "r" in desk.book.runs


def test_a_child_that_cannot_start_has_failed_for_its_parent(desk: Desk) -> None:
    """Its id is another run's: the parent is told, and its own end does that run no harm."""
    desk.start(run_id="foreign")
    _, refused = start(desk, child_run_id="foreign")
    assert kinds(refused) == ["CommandRefused"]
    (report,) = follows(refused)
    (ended,) = desk.put(report).facts
    assert (ended.kind, ended.status) == ("ChildEnded", "failed")  # type: ignore[attr-defined]
    assert "was started before" in ended.reason  # type: ignore[attr-defined]


def test_a_parent_that_ends_before_it_hears_does_a_foreign_run_no_harm(desk: Desk) -> None:
    """A child's cancellation names the parent, and a run that is not its child refuses."""
    desk.start(run_id="foreign")
    start(desk, child_run_id="foreign")
    (cancel,) = follows(desk.send("CancelRun"))
    assert kinds(desk.put(cancel)) == ["CommandRefused"]
    assert "foreign" in desk.book.runs


def test_only_the_ledger_speaks_for_a_parent(desk: Desk) -> None:
    """Nobody else starts a run under a parent or says how a child ended."""
    child, _ = start(desk)
    assert answer(desk.start(run_id="x", parent_run_id="r")).code == "scope"
    forged = desk.facts[-1]
    assert issued(forged) == []
    assert answer(desk.send("ReportChild", child_run_id=child, status="completed")).code == "scope"


def test_what_is_asked_about_a_run_that_is_no_child_is_refused(desk: Desk) -> None:
    """Unknown children, a child of one's own id, a second child of one id."""
    child, _ = start(desk)
    assert answer(desk.send("AwaitChild", child_run_id="nobody")).code == "unknown_run"
    assert answer(desk.send("CancelChild", child_run_id="nobody")).code == "unknown_run"
    for taken in ("r", child):
        step = desk.send("StartChild", workflow="w", complete_when="idle", child_run_id=taken)
        assert answer(step).code == "run_exists"
    assert answer(desk.send("StartChild", workflow="w", complete_when="sometime")).code == "invalid_command"


def test_nobody_waits_for_a_child_when_the_parent_has_ended(desk: Desk) -> None:
    """Who awaits it is told that no outcome comes."""
    child, _ = start(desk)
    desk.send("AwaitChild", child_run_id=child, reply_to="waiter")
    told = [t.reply for t in desk.send("CancelRun").replies if t.reply.reply_to == "waiter"]
    assert [t.code for t in told] == ["run_finished"]


def test_what_a_handler_is_told_of_children_is_kept_until_its_delivery_is_handled(desk: Desk) -> None:
    """An answer that comes later still goes to who asked, and is forgotten at once."""
    child, _ = start(desk)
    (report,) = follows(desk.send("CompleteRun", run_id=child))
    other, _ = start(desk)
    delivery = desk.deliver("one")
    desk.within(delivery, "AwaitChild", 0, child_run_id=other)
    open_wait = desk.sent[-1].command_id
    desk.put(report)
    desk.within(delivery, "AwaitChild", 1, child_run_id=child)
    told = desk.sent[-1].command_id
    run = desk.book.runs[RunId("r")]
    assert (told in run.answers, list(run.child_waits)) == (True, [open_wait])
    desk.complete(delivery)
    assert (told in run.answers, list(run.child_waits)) == (False, [open_wait])
    (report,) = follows(desk.send("CompleteRun", run_id=other))
    assert [t.reply.command_id for t in desk.put(report).replies] == [open_wait]
    assert (open_wait in run.answers, run.child_waits) == (False, {})


def test_a_wait_for_a_child_that_ended_is_held_against_what_is_asked_in_its_place(desk: Desk) -> None:
    """The answer of the one is not given to the other, whether it came while it was waited for or before."""
    (first, _), (second, _) = start(desk), start(desk)
    delivery = desk.deliver("one")
    desk.within(delivery, "AwaitChild", 0, child_run_id=first)
    (report,) = follows(desk.send("CompleteRun", run_id=first))
    desk.put(report)
    step = desk.within(delivery, "AwaitChild", 0, child_run_id=second)
    assert answer(step).code == "diverged"


def test_a_diverged_command_leaves_the_wait_for_a_child_open(desk: Desk) -> None:
    """Its refusal is no answer to the wait whose id it came under: the attempt that goes on waits for the child."""
    child, _ = start(desk)
    delivery = desk.deliver("one")
    desk.within(delivery, "AwaitChild", 0, child_run_id=child)
    assert answer(desk.within(delivery, "GetState", 0, key="config")).code == "diverged"
    second: Any = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id).facts[-1]
    assert desk.within(second, "AwaitChild", 0, child_run_id=child).replies == []
