"""How a run ends: with whatever was open told so, in the facts before the last one. Pure; see ``decide`` for the law.

Nothing that is open is dropped silently, and all that others must do about it follows from these facts alone.
"""

from __future__ import annotations

from agents_sdk.core.facts import RunEvent
from agents_sdk.core.ledger.scribe import Scribe
from agents_sdk.core.ledger.state import Run, state_hash


def end(run: Run, scribe: Scribe, kind: str, *, result: str = "", reason: str = "") -> None:
    """Writes the end of the run, and before it a fact for each thing that it leaves open: ChildOrphaned for each child
    that has not ended, from which the child's CancelRun follows."""
    for child_run_id, child in run.children.items():
        if child.outcome is None and not _ended(scribe, child_run_id):
            why = f"its parent ended first: {kind}"
            scribe.write(RunEvent, "ChildOrphaned", workflow=child.workflow, reason=why, child_run_id=child_run_id)
    scribe.write(RunEvent, kind, workflow=run.workflow, result=result, reason=reason, state_hash=state_hash(run))


def _ended(scribe: Scribe, child_run_id: str) -> bool:
    """Whether the child's end is among the facts of the command that ends the run."""
    return any(type(fact) is RunEvent and fact.child_run_id == child_run_id for fact in scribe.facts)
