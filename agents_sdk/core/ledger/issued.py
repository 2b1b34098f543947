"""``issued(fact) → commands``: what a run's facts make the ledger say to other runs. Pure.

The shell writes these commands in the transaction of the fact, so both are there or neither is. Their ids derive from
the fact's: decided again after a crash, they are the same commands, and applied once. Law: every run that was started
for a parent is reported to it, and none outlives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.facts import Fact, RefusalEvent, RunEvent
from agents_sdk.core.identity import CODES, LEDGER
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.kinds import CommandKind


def issued(fact: Fact) -> list[Command]:
    """The commands for other runs that follow from the fact."""
    follows = ISSUES.get(fact.kind)
    command = follows(fact) if follows is not None else None
    return [command] if command is not None else []


def _command(fact: Fact, kind: CommandKind, run_id: RunId, body: RunBody) -> Command:
    return Command(
        command_id=CommandId(ids.derive(fact.event_id, kind)),
        kind=kind,
        run_id=run_id,
        agent=LEDGER,
        correlation_id=fact.correlation_id,
        causation_id=fact.event_id,
        run=body,
    )


def _start(fact: RunEvent) -> Command:
    body = RunBody(
        workflow=fact.workflow,
        input=fact.input,
        complete_when=fact.complete_when,
        parent_run_id=fact.run_id,
        root_run_id=fact.root_run_id,
        deadline_at=fact.deadline_at,
        budget_nano_usd=fact.budget_nano_usd,
        rules=fact.rules,
        started_by=fact.agent,
    )
    return _command(fact, kinds.START_RUN, fact.child_run_id, body)


def _cancel(fact: RunEvent) -> Command:
    body = _why(fact, RunBody(parent_run_id=fact.run_id))
    return _command(fact, kinds.CANCEL_RUN, fact.child_run_id, body)


def _report(fact: RunEvent) -> Command | None:
    if not fact.parent_run_id:
        return None
    body = RunBody(
        child_run_id=fact.run_id,
        status=kinds.RUN_ENDS[fact.kind],
        result=fact.result,
        state_hash=fact.state_hash,
        spent_nano_usd=fact.spent_nano_usd + fact.reserved_nano_usd,
    )
    return _command(fact, kinds.REPORT_CHILD, fact.parent_run_id, _why(fact, body))


def _why(fact: RunEvent, body: RunBody) -> RunBody:
    """The body with why it happened, the words of others apart as in the fact."""
    return msgspec.structs.replace(body, code=fact.code, reason=fact.reason, said=fact.said, said_by=fact.said_by)


def _report_refused(fact: RefusalEvent) -> Command | None:
    """A child that could not be started has ended for its parent. The exception is a word that was not the ledger's, or
    a copy of one."""
    if fact.command_kind != kinds.START_RUN or fact.agent != LEDGER or fact.code in CODES:
        return None
    parent_run_id = RunId(msgspec.json.decode(fact.detail).get("parent_run_id", "") if fact.detail else "")
    if not parent_run_id:
        return None
    reason = f"not started: {fact.message}"
    body = RunBody(child_run_id=fact.run_id, status="failed", code="not_started", reason=reason)
    return _command(fact, kinds.REPORT_CHILD, parent_run_id, body)


ISSUES: Final[dict[str, Callable[[Any], Command | None]]] = {
    kinds.CHILD_STARTED: _start,
    kinds.CHILD_CANCELLED: _cancel,
    kinds.CHILD_ORPHANED: _cancel,
    **dict.fromkeys(kinds.RUN_ENDS, _report),
    kinds.COMMAND_REFUSED: _report_refused,
}
"""Kind of a fact → the command for another run that follows from it, if one does."""
