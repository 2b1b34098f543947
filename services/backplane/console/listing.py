"""Which runs a list shows, and in what order: decisions over rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from backplane.insight.answers import RunRow

NANO: Final = 1_000_000_000
CANDIDATES: Final = 2_000
"""Runs that are looked through where more is asked than the store's own order gives; the newest ones."""
COLUMNS: Final[dict[str, Callable[[RunRow], Any]]] = {
    "workflow": lambda run: run.workflow,
    "status": lambda run: run.status,
    "started": lambda run: run.started_at,
    "took": lambda run: run.last_at - run.started_at,
    "agents": lambda run: run.agents,
    "calls": lambda run: run.calls,
    "failures": lambda run: run.failures,
    "facts": lambda run: run.facts,
    "cost": lambda run: run.cost_nano_usd,
}
"""Columns that a list is sorted by → what of a run is compared."""


@dataclass(frozen=True)
class ListQuery:
    """A person's wishes for a list of runs."""

    text: str = ""
    """In the run's id, workflow, reason (also in somebody's words) or tags."""
    since: int = 0
    """Microseconds UTC; 0: from the first."""
    until: int = 0
    """Before this; 0: to the last."""
    least_cost: int = 0
    """In nano-USD."""
    sort: str = "started"
    descending: bool = True

    @property
    def plain(self) -> bool:
        """The store's own order gives the answer: nothing has to be looked through."""
        return not (self.text or self.since or self.until or self.least_cost) and self._as_stored

    @property
    def _as_stored(self) -> bool:
        return self.sort == "started" and self.descending


def moment(text: str) -> int:
    """Microseconds of a time as a browser's field gives it, in UTC; 0 for none.

    Raises:
        ValueError: it is no time.
    """
    if not text:
        return 0
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def amount(text: str) -> int:
    """Nano-USD of an amount in USD; 0 for none. Raises ValueError where it is no amount."""
    found = float(text or 0)
    if not 0 <= found < 1e9:
        raise ValueError(f"no amount: {text!r}")
    return round(found * NANO)


def listed(runs: Sequence[RunRow], asked: ListQuery) -> list[RunRow]:
    """The runs that are asked for, in the order that is asked for; equal ones keep theirs."""
    text = asked.text.casefold()
    found = [
        run
        for run in runs
        if (
            not text
            or any(text in part.casefold() for part in (run.run_id, run.workflow, run.reason, run.said, *run.tags))
        )
        and run.started_at >= asked.since
        and (not asked.until or run.started_at < asked.until)
        and run.cost_nano_usd >= asked.least_cost
    ]
    return sorted(found, key=COLUMNS[asked.sort], reverse=asked.descending)
