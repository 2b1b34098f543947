"""Timers: which ones a fact sets and stops; what happens when one is due is in ``deadlines``. Pure.

A timer is a name of the run and the time it is due. It is set and stopped by facts alone, so it survives everything
that the facts survive. The ledger's shell sends ``TimerFired`` when it is due, which is a command like any other: a
replay needs no clock. A timer fires once, and never before its time by the broker's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, TimerBody
from agents_sdk.core.facts import Fact, StateEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Run

RUN: Final = "run"
STATE: Final = "state"
MESSAGE: Final = "message"
HANDLER: Final = "handler"
DEPENDENCY: Final = "dependency"
GONE: Final = "gone"
DEADLINE_LIMIT_MS: Final = 366 * 86_400_000
"""A year: a longer deadline is a mistake in the unit."""
MICROS_A_MS: Final = 1_000


def due_at(at: int, deadline_ms: int, field: str = "deadline_ms") -> int:
    """When a deadline given with a command of this time is due; 0 for none. Raises Refusal."""
    if not 0 <= deadline_ms <= DEADLINE_LIMIT_MS:
        message = f"{field} is 0 (none) to {DEADLINE_LIMIT_MS} ms, not {deadline_ms}"
        raise Refusal("invalid_command", message, field=field)
    return at + deadline_ms * MICROS_A_MS if deadline_ms else 0


def handler(delivery_id: DeliveryId, attempt: int) -> str:
    """The timer of one attempt at a delivery."""
    return f"{HANDLER}/{delivery_id}/{attempt}"


def dependency(dependency_id: str) -> str:
    """The timer of a dependency."""
    return f"{DEPENDENCY}/{dependency_id}"


def gone(delivery_id: DeliveryId) -> str:
    """The timer of a delivery whose agent was removed: set by no fact of its run, see ``agents``."""
    return f"{GONE}/{delivery_id}"


def set_by(fact: Fact) -> tuple[str, int] | None:
    """The timer that a fact sets, with the time it is due; it replaces one of the same name."""
    name_of = SETS.get(fact.kind)
    due: int = getattr(fact, DUE.get(fact.kind, "deadline_at"), 0) if name_of is not None else 0
    return (name_of(fact), due) if name_of is not None and due else None


def fold(run: Run, fact: Fact, changes: Changes) -> None:
    """Sets and stops the run's timers as the fact says."""
    for name_of in STOPS.get(fact.kind, ()):
        changes.drop(run.timers, name_of(fact))
    timer = set_by(fact)
    if timer is not None:
        changes.put(run.timers, timer[0], timer[1])


def fired(run_id: RunId, correlation_id: str, name: str, due: int, ring: int = 0) -> Command:
    """The command that says a timer is due, for the ``ring``-th time."""
    return Command(
        command_id=CommandId(ids.derive(run_id, f"timer/{name}/{due}/{ring}")),
        kind=kinds.TIMER_FIRED,
        run_id=run_id,
        agent=LEDGER,
        correlation_id=correlation_id,
        timer=TimerBody(name=name, due_at=due),
    )


def _of_key(fact: StateEvent) -> str:
    return f"{STATE}/{fact.key}"


SETS: Final[dict[str, Callable[[Any], str]]] = {
    kinds.RUN_STARTED: lambda _: RUN,
    kinds.STATE_WRITTEN: _of_key,
    kinds.MESSAGE_DELIVERED: lambda fact: f"{MESSAGE}/{fact.delivery_id}",
    kinds.HANDLER_STARTED: lambda fact: handler(fact.delivery_id, fact.attempt),
    kinds.DEPENDENCY_DECLARED: lambda fact: dependency(fact.dependency_id),
}
"""Kind of a fact with a ``deadline_at`` → the name of the timer it sets."""

DUE: Final = {kinds.STATE_WRITTEN: "expires_at"}
"""Kind → the field that says when, where it is called otherwise."""

_OF_DELIVERY: Final = (lambda fact: f"{MESSAGE}/{fact.delivery_id}", lambda fact: gone(fact.delivery_id))
STOPS: Final[dict[str, tuple[Callable[[Any], str], ...]]] = {
    kinds.STATE_WRITTEN: (_of_key,),
    kinds.STATE_DELETED: (_of_key,),
    kinds.STATE_EXPIRED: (_of_key,),
    kinds.HANDLER_FAILED: (lambda fact: handler(fact.delivery_id, fact.attempt),),
    kinds.MESSAGE_PARKED: (lambda fact: handler(fact.delivery_id, fact.attempt),),
    kinds.MESSAGE_RESTARTED: (lambda fact: handler(fact.delivery_id, fact.attempt),),
    kinds.HANDLER_COMPLETED: _OF_DELIVERY,
    kinds.MESSAGE_DEAD_LETTERED: _OF_DELIVERY,
    kinds.DEPENDENCY_SATISFIED: (lambda fact: dependency(fact.dependency_id),),
    kinds.DEPENDENCY_EXPIRED: (lambda fact: dependency(fact.dependency_id),),
}
"""Kind of a fact → names of the timers it stops. The end of a run stops all of them."""
