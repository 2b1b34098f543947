"""How much one run may leave open: the run's end names each open thing, in one transaction. Pure."""

from __future__ import annotations

from typing import Final

from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Run

OPEN_LIMIT: Final = 20_000
"""Deliveries, calls and children of a run that are open together, and as many dependencies and waits."""
TERMS_LIMIT: Final = 4_000_000
"""The terms of a run's open dependencies, in characters: one fact may meet all of them at once."""
TERM_SIZE: Final = 40
"""Of each term besides its own characters: the id of what met it."""
AGENTS_LIMIT: Final = 10_000
CONTRACTS_LIMIT: Final = 10_000
"""Of a partition: every message is held against all of them."""


def check_open(run: Run, more: int) -> None:
    """Returns where ``more`` may be opened. Raises Refusal."""
    known = len(run.deliveries) + run.open_calls + run.open_children
    if known + more > OPEN_LIMIT:
        message = f"the run has {known} deliveries, calls and children open, {OPEN_LIMIT} is the limit"
        raise _overloaded(f"{message}; wait until some have ended", known, OPEN_LIMIT)


def check_waits(run: Run) -> None:
    """Returns where one more may wait for the run or a child of it. Raises Refusal."""
    known = len(run.waiting) + len(run.child_waits)
    if known >= OPEN_LIMIT:
        raise _overloaded(f"{known} wait for the run or its children, which is the limit", known, OPEN_LIMIT)


def check_dependency(run: Run, depends_on: list[str]) -> None:
    """Returns where one more dependency may be declared. Raises Refusal."""
    if len(run.dependencies) >= OPEN_LIMIT:
        known = len(run.dependencies)
        raise _overloaded(f"the run has {known} dependencies, which is the limit", known, OPEN_LIMIT)
    known = sum((len(term) + TERM_SIZE) * len(waiting) for term, waiting in run.awaited.items())
    if known + sum(len(term) + TERM_SIZE for term in depends_on) > TERMS_LIMIT:
        message = f"the open dependencies of the run have {known} characters, {TERMS_LIMIT} is the limit"
        raise _overloaded(f"{message}; wait for fewer terms, or for events", known, TERMS_LIMIT)


def check_count(what: str, known: int, limit: int) -> None:
    """Returns where a partition may have one more of these. Raises Refusal."""
    if known >= limit:
        raise _overloaded(f"the platform has {known} {what}, which is the limit; remove some", known, limit)


def _overloaded(message: str, known: int, limit: int) -> Refusal:
    return Refusal("overloaded", message, open=known, limit=limit)
