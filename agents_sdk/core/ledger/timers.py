"""Deadlines: which timers a fact sets and stops, and what happens when one is due. Pure; see ``decide`` for the law.

A timer is a name of the run and the time it is due. It is set and stopped by facts alone, so that it survives whatever
the facts survive; the ledger's shell sends ``TimerFired`` when it is due, which is a command like any other: a replay
needs no clock. A timer fires once, and never before its time by the broker's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core import ids
from agents_sdk.core.commands import Command, TimerBody
from agents_sdk.core.facts import Fact, StateEvent
from agents_sdk.core.ledger.ending import end
from agents_sdk.core.ledger.rules import LEDGER
from agents_sdk.core.ledger.scribe import Refusal, Scribe
from agents_sdk.core.ledger.state import Book, Run, current

RUN: Final = "run"
STATE: Final = "state"
DEADLINE_LIMIT_MS: Final = 366 * 86_400_000
"""A year: a longer deadline is a mistake in the unit."""
MICROS_A_MS: Final = 1_000


def due_at(at: int, deadline_ms: int, field: str = "deadline_ms") -> int:
    """When a deadline given with a command of this time is due; 0 for none. Raises Refusal."""
    if not 0 <= deadline_ms <= DEADLINE_LIMIT_MS:
        message = f"{field} is 0 (none) to {DEADLINE_LIMIT_MS} ms, not {deadline_ms}"
        raise Refusal("invalid_command", message, field=field)
    return at + deadline_ms * MICROS_A_MS if deadline_ms else 0


def set_by(fact: Fact) -> tuple[str, int] | None:
    """The timer that a fact sets, with the time it is due; it replaces one of the same name."""
    name_of = SETS.get(fact.kind)
    due: int = getattr(fact, DUE.get(fact.kind, "deadline_at"), 0) if name_of is not None else 0
    return (name_of(fact), due) if name_of is not None and due else None


def fold(run: Run, fact: Fact) -> None:
    """Sets and stops the run's timers as the fact says."""
    for name_of in STOPS.get(fact.kind, ()):
        run.timers.pop(name_of(fact), None)
    timer = set_by(fact)
    if timer is not None:
        run.timers[timer[0]] = timer[1]


def fired(run_id: str, correlation_id: str, name: str, due: int, ring: int = 0) -> Command:
    """The command that says a timer is due, for the ``ring``-th time."""
    return Command(
        command_id=ids.derive(run_id, f"timer/{name}/{due}/{ring}"),
        kind="TimerFired",
        run_id=run_id,
        agent=LEDGER,
        correlation_id=correlation_id,
        timer=TimerBody(name=name, due_at=due),
    )


def fire(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """TimerFired → what the timer is for. Nothing where it was stopped or set anew meanwhile; a refusal where it is not
    due yet by the broker's clock, which is the one that counts: it is sent again."""
    body = command.timer
    assert body is not None
    if run.timers.get(body.name) != body.due_at:
        return
    if scribe.at < body.due_at:
        message = f"timer {body.name!r} is due in {body.due_at - scribe.at} µs by the broker's clock"
        raise Refusal("invalid_command", message, field="due_at")
    what, _, of = body.name.partition("/")
    FIRES[what](book, run, of, scribe)


def _run_is_late(book: Book, run: Run, _: str, scribe: Scribe) -> None:
    reason = "the deadline of the run has passed"
    end(run, scribe, "RunFailed", reason=reason)


def _value_expires(_: Book, run: Run, key: str, scribe: Scribe) -> None:
    newest = current(run, key)
    assert newest is not None
    scribe.write(StateEvent, "StateExpired", key=key, version=newest.version + 1)


def _of_key(fact: StateEvent) -> str:
    return f"{STATE}/{fact.key}"


SETS: Final[dict[str, Callable[[Any], str]]] = {
    "RunStarted": lambda _: RUN,
    "StateWritten": _of_key,
}
"""Kind of a fact with a ``deadline_at`` → the name of the timer it sets."""

DUE: Final = {"StateWritten": "expires_at"}
"""Kind → the field that says when, where it is called otherwise."""

STOPS: Final[dict[str, tuple[Callable[[Any], str], ...]]] = {
    "StateWritten": (_of_key,),
    "StateDeleted": (_of_key,),
    "StateExpired": (_of_key,),
}
"""Kind of a fact → names of the timers it stops, before it sets its own. The end of a run stops all of them."""

FIRES: Final[dict[str, Callable[[Book, Run, str, Scribe], None]]] = {
    RUN: _run_is_late,
    STATE: _value_expires,
}
"""First part of a timer's name → what happens when it is due, given the rest of the name."""
