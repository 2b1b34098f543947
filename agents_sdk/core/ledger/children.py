"""Deciders of the commands about child runs: start, await, cancel, report. Pure; see ``decide`` for the law.

A child is a run of its own, in a partition of its own. Parent and child exchange commands that follow from facts
(``issued``). So the parent's facts tell the whole story: ChildStarted, and ChildEnded with the outcome, in the parent's
own order.
"""

from __future__ import annotations

from typing import Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.facts import RunEvent
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import budgets, ending, room, timers
from agents_sdk.core.ledger.rules import apart
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Child, PartitionState, Run
from agents_sdk.core.words import Why

COMPLETE_WHEN: Final = ("idle", "explicit")


def check_start(body: RunBody) -> None:
    """The input of a run must be sound, for every starter. Raises Refusal."""
    if body.complete_when not in COMPLETE_WHEN:
        raise Refusal(
            "invalid_command",
            f"complete_when is {body.complete_when!r}; use one of {', '.join(COMPLETE_WHEN)}",
            field="complete_when",
        )
    budgets.check(body.budget_nano_usd)


def start(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """StartChild → ChildStarted, from which the child's StartRun follows."""
    body = command.run
    assert body is not None
    check_start(body)
    room.check_open(run, 1)
    child_run_id = body.child_run_id or RunId(ids.derive(command.command_id, "child"))
    if child_run_id == run.run_id or child_run_id in run.children:
        raise Refusal("run_exists", f"run {child_run_id} was started before", run_id=child_run_id)
    scribe.write(
        RunEvent,
        kinds.CHILD_STARTED,
        workflow=body.workflow,
        input=body.input,
        complete_when=body.complete_when,
        deadline_at=_deadline(run, timers.due_at(scribe.at, body.deadline_ms)),
        child_run_id=child_run_id,
        rules=run.rules,
        budget_nano_usd=budgets.reserve(book, run, command.agent, body.budget_nano_usd, f"run {child_run_id}"),
    )


def _deadline(run: Run, own: int) -> int:
    """A child's deadline is never later than its parent's."""
    return min((due for due in (own, run.timers.get(timers.RUN, 0)) if due), default=0)


def _child(run: Run, command: Command) -> tuple[RunId, Child]:
    body = command.run
    assert body is not None
    child = run.children.get(body.child_run_id)
    if child is None:
        message = f"run {run.run_id} has started no run {body.child_run_id!r}"
        raise Refusal("unknown_run", message, run_id=body.child_run_id)
    return body.child_run_id, child


def await_end(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """AwaitChild → ChildAwaited; answered with the child's outcome, now or when it is known."""
    child_run_id, _ = _child(run, command)
    await_again(run, command, child_run_id, scribe)


def await_again(run: Run, command: Command, child_run_id: RunId, scribe: FactBuilder) -> None:
    """Notes where the outcome of the child has to go."""
    if command.command_id not in run.child_waits:
        room.check_waits(run)
    scribe.write(
        RunEvent,
        kinds.CHILD_AWAITED,
        workflow=run.children[child_run_id].workflow,
        reply_to=command.reply_to,
        reply_partition=command.reply_partition,
        child_run_id=child_run_id,
    )


def cancel(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """CancelChild → ChildCancelled, from which the child's CancelRun follows. The child goes on until it has heard."""
    child_run_id, child = _child(run, command)
    if child.outcome is not None:
        status = child.outcome.status
        raise Refusal("run_finished", f"run {child_run_id} has ended: {status}", run_id=child_run_id, status=status)
    assert command.run is not None
    given = command.run.reason
    why = Why(
        "parent_cancelled", f"{command.agent!r} cancelled it, in its parent", given, command.agent if given else ""
    )
    told = ending.told(run, why) if apart(run) else {"reason": given}
    scribe.write(RunEvent, kinds.CHILD_CANCELLED, workflow=child.workflow, **told, child_run_id=child_run_id)


def report(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """ReportChild → ChildEnded; nothing where the outcome is known already."""
    child_run_id, child = _child(run, command)
    body = command.run
    assert body is not None
    if child.outcome is None:
        scribe.write(
            RunEvent,
            kinds.CHILD_ENDED,
            workflow=child.workflow,
            result=body.result,
            **ending.told(run, Why(body.code, body.reason, body.said, body.said_by)),
            state_hash=body.state_hash,
            child_run_id=child_run_id,
            status=body.status,
            spent_nano_usd=max(body.spent_nano_usd, 0),
        )
