"""Circuit breakers of the fleet: one for each provider of a capability and class of error. Pure; see ``decide``.

Executors count failures, each for itself; one place decides about their requests. So the whole fleet knows one state
and at most one of its executors probes. A breaker is ``breaker/<capability>/<provider>/<class>``: that is the key of
its commands and facts, so all of it lies in one partition. Laws (tests/properties/test_breakers.py): the state moves
only as TABLE says. Between two transitions at most one probe is granted, unless its holder let its time pass. The last
fact alone gives the state, so that the topic may be compacted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import BreakerBody, Command
from agents_sdk.core.facts import BreakerEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.kinds import FactKind
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Breaker, PartitionState

PREFIX: Final = "breaker/"
KINDS: Final = frozenset(kinds.OF_BREAKERS)
MICROS_A_MS: Final = 1_000
OPEN_MAX_MS: Final = 600_000
"""A provider that is gone for long is asked every ten minutes whether it is back."""
DOUBLED_LIMIT: Final = 30
"""Times that the wait is doubled: more would be beyond every limit anyhow."""
CAUSES_LIMIT: Final = 50
"""Attempts named by one transition."""
CLOSED: Final = Breaker()
STATE_OF: Final = {kinds.BREAKER_OPENED: "open", kinds.BREAKER_PROBED: "half_open", kinds.BREAKER_CLOSED: "closed"}
"""Kind of a fact → the state after it."""


def breaker_id(capability: str, provider: str, error_class: str) -> str:
    """The key of a breaker's commands and facts."""
    return f"{PREFIX}{capability}/{provider}/{error_class}"


def decide(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """The transition that the command causes, or none. Raises Refusal for a probe that is not granted."""
    if command.agent != EXECUTOR:
        message = f"only {EXECUTOR} may send {command.kind}, not {command.agent!r}"
        raise Refusal("scope", message, rule=EXECUTOR.removeprefix("bp."))
    body = command.breaker
    if body is None:
        raise Refusal("invalid_command", f"{command.kind} needs the body 'breaker'", field="breaker")
    if command.run_id != breaker_id(body.capability, body.provider, body.error_class):
        message = f"the key of this breaker is not {command.run_id!r}"
        raise Refusal("invalid_command", message, field="run_id")
    known = book.breakers.get(command.run_id, CLOSED)
    if book.identity_required and command.kind != kinds.PROBE_BREAKER and command.issued_at <= known.at:
        return  # it was said before the state that counts now: it came late, or it is a copy
    move = TABLE.get((known.state, command.kind))
    if move is not None:
        move(known, body, scribe)


def _fact(kind: FactKind, body: BreakerBody, scribe: FactBuilder, *, until: int = 0, opened: int = 0) -> None:
    scribe.write(
        BreakerEvent,
        kind,
        capability=body.capability,
        provider=body.provider,
        error_class=body.error_class,
        caused_by=body.caused_by[-CAUSES_LIMIT:],
        open_until=until,
        opened=opened,
        executor=body.executor,
    )


def _open(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
    """Each time in a row it stays open twice as long."""
    wait_ms = min(max(body.open_ms, 1) * 2 ** min(known.opened, DOUBLED_LIMIT), OPEN_MAX_MS)
    _fact(kinds.BREAKER_OPENED, body, scribe, until=scribe.at + wait_ms * MICROS_A_MS, opened=known.opened + 1)


def _open_again(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
    if body.executor == known.holder:  # others tell of attempts from before the probe
        _open(known, body, scribe)


def _probe(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
    if scribe.at < known.until:
        raise _refused(known, "is open")
    until = scribe.at + max(body.probe_ms, 1) * MICROS_A_MS
    _fact(kinds.BREAKER_PROBED, body, scribe, until=until, opened=known.opened)


def _probe_again(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
    """The same probe asked for again is granted already; another one when the first has let its time pass."""
    if body.executor == known.holder:
        return
    if scribe.at < known.until:
        raise _refused(known, f"is probed by {known.holder}")
    _probe(known, body, scribe)


def _close(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
    if body.executor == known.holder:
        _fact(kinds.BREAKER_CLOSED, body, scribe)


def _refused(known: Breaker, why: str) -> Refusal:
    return Refusal("breaker_open", f"the breaker {why}", open_until=known.until, holder=known.holder)


TABLE: Final[dict[tuple[str, str], Callable[[Breaker, BreakerBody, FactBuilder], None]]] = {
    ("closed", kinds.OPEN_BREAKER): _open,
    ("half_open", kinds.OPEN_BREAKER): _open_again,
    ("open", kinds.PROBE_BREAKER): _probe,
    ("half_open", kinds.PROBE_BREAKER): _probe_again,
    ("half_open", kinds.CLOSE_BREAKER): _close,
}
"""(State, kind of command) → what decides; what is not here changes nothing, and is no mistake: it came late."""


def fold(book: PartitionState, fact: BreakerEvent, changes: Changes) -> None:
    """The state after the fact; an older one folded again changes nothing."""
    known = book.breakers.get(fact.run_id, CLOSED)
    if fact.command_offset > known.command_offset:
        changes.put(book.breakers, fact.run_id, state_after(fact))


def state_after(fact: BreakerEvent) -> Breaker:
    """The breaker by the fact alone."""
    holder = fact.executor if fact.kind == kinds.BREAKER_PROBED else ""
    fields: dict[str, Any] = {"until": fact.open_until, "opened": fact.opened, "holder": holder}
    return Breaker(state=STATE_OF[fact.kind], command_offset=fact.command_offset, at=fact.at, **fields)
