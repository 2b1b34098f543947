"""The circuit breakers as one executor sees them: whom not to ask, and what to tell the ledger. Pure.

Each executor counts failures in a row for itself; the ledger makes one state of what they say, and every executor
follows it (``core.ledger.breakers``). Between saying and hearing an executor goes by what it said, so that the call
after the one that opened a breaker is rerouted already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from agents_sdk.core import kinds
from agents_sdk.core.facts import BreakerEvent
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.breakers import PREFIX, breaker_id, state_after
from agents_sdk.core.ledger.state import Breaker
from agents_sdk.wire.instants import utc
from backplane.manifests.model import ErrorClass

TRIPPING: Final[frozenset[ErrorClass]] = frozenset({"transient", "rate_limited", "auth", "quota", "outage", "unknown"})
"""Failures that say something about the provider, not about what it was asked."""
MICROS: Final = 1_000_000


class Gate(NamedTuple):
    """Whether a provider may be asked: not where ``closed`` says why; only as a probe of the breaker ``probe``."""

    closed: str = ""
    probe: str = ""


class Change(NamedTuple):
    """The request for the ledger."""

    kind: CommandKind
    """OpenBreaker or CloseBreaker."""
    key: str
    caused_by: tuple[str, ...]
    holder: str = ""
    """Of the probe that ended; empty for none."""


PASSES: Final = Gate()


class Breakers:
    """All breakers of the fleet, and this executor's counts. Times are microseconds UTC."""

    def __init__(self) -> None:
        self._states: dict[str, Breaker] = {}
        self._by_provider: dict[tuple[str, str], set[str]] = {}
        """Those that are not closed."""
        self._rows: dict[str, list[str]] = {}
        """Attempts of ours that failed in a row, by breaker."""

    def __iter__(self) -> Iterator[tuple[str, Breaker]]:
        return iter(sorted(self._states.items()))

    @property
    def troubled(self) -> bool:
        """Whether any breaker may not be closed; most of the time none is, and nobody need be asked about."""
        return bool(self._by_provider)

    def take(self, fact: BreakerEvent) -> None:
        """The ledger has decided."""
        known = self._states.get(fact.run_id)
        if known is None or fact.command_offset > known.command_offset:
            self._put(fact.run_id, state_after(fact))

    def gate(self, capability: str, provider: str, now: int) -> Gate:
        """Whether the provider may be asked now. One that is due is probed, for one class after the other."""
        due = ""
        for key in sorted(self._by_provider.get((capability, provider), ())):
            state = self._states[key]
            if now < state.until:
                return Gate(closed=_reason_closed(key, state))
            due = due or key
        return Gate(probe=due) if due else PASSES

    def probing(self, key: str, holder: str, until: int) -> None:
        """We are about to ask for a probe: no other call of ours does meanwhile."""
        known = self._states[key]
        self._put(key, Breaker("half_open", until, known.opened, holder, known.command_offset))

    def refused(self, key: str, until: int) -> None:
        """The probe is not ours."""
        known = self._states.get(key)
        if known is not None:
            self._put(key, Breaker("open", until, known.opened, "", known.command_offset))

    def note(
        self,
        capability: str,
        provider: str,
        error_class: ErrorClass | None,
        attempt: str,
        *,
        threshold: int,
        open_for: int,
        now: int,
        probe: str = "",
        holder: str = "",
    ) -> Change | None:
        """An attempt has ended; ``error_class`` None: well. ``attempt`` names it, ``probe`` the breaker that it probed
        as ``holder``. The next step after it."""
        healthy = error_class is None or error_class not in TRIPPING
        if healthy:
            for each in TRIPPING:
                self._rows.pop(breaker_id(capability, provider, each), None)
        if probe:
            known = self._states.get(probe, Breaker())
            until = 0 if healthy else now + open_for * 2**known.opened
            state = "closed" if healthy else "open"
            self._put(probe, Breaker(state, until, known.opened, "", known.command_offset))
            return Change(kinds.CLOSE_BREAKER if healthy else kinds.OPEN_BREAKER, probe, (attempt,), holder)
        if healthy or not threshold:
            return None
        assert error_class is not None
        key = breaker_id(capability, provider, error_class)
        row = self._rows.setdefault(key, [])
        row.append(attempt)
        if len(row) < threshold:
            return None
        del self._rows[key]
        if key in self._by_provider.get((capability, provider), ()):
            return None
        known = self._states.get(key, Breaker())
        self._put(key, Breaker("open", now + open_for, 1, "", known.command_offset))
        return Change(kinds.OPEN_BREAKER, key, tuple(row))

    def _put(self, key: str, state: Breaker) -> None:
        self._states[key] = state
        capability, provider, _ = key.removeprefix(PREFIX).split("/")
        unhealthy = self._by_provider.setdefault((capability, provider), set())
        if state.state != "closed":
            unhealthy.add(key)
            return
        unhealthy.discard(key)
        if not unhealthy:
            del self._by_provider[capability, provider]


def _reason_closed(key: str, state: Breaker) -> str:
    error_class = key.rpartition("/")[2]
    at = utc(state.until).isoformat(timespec="seconds")
    doing = "is being probed" if state.state == "half_open" else f"is open until {at}"
    return f"its breaker for {error_class} {doing}"
