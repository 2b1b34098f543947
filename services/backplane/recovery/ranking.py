"""The latest results of providers, and the order in which they put them. Pure; ``now`` comes in.

Laws (tests/properties/test_standing.py, against an oracle that keeps everything). A window holds the last attempts and
none that is older than its span. An order is a permutation. Equals keep their declared order, and so does everything
for ``declared``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from agents_sdk.recovery import Rank

ATTEMPTS: Final = 100
"""Of one provider that count: enough for a rate in steps of one per cent."""
SPAN_S: Final = 600.0
"""How long an attempt counts: a provider that had a bad day is given another chance after ten minutes."""


class EndedAttempt(NamedTuple):
    """An attempt that ended."""

    at: float
    ok: bool
    latency_s: float
    cost_nano_usd: int


@dataclass(frozen=True, slots=True)
class ProviderStats:
    """A window's view of a provider; None: nothing is known."""

    attempts: int = 0
    healthy: float | None = None
    """Part of the attempts that succeeded, 0 to 1, drawn towards 1 where there are few: (succeeded + 1) / (all + 1)."""
    latency_s: float | None = None
    """Mean of those that succeeded: an attempt that fails at once is not fast."""
    cost_nano_usd: float | None = None
    """Mean of those that succeeded."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A capability's providers as they stand now."""

    ready: tuple[str, ...]
    """Names, in rank order."""
    skipped: tuple[tuple[str, str], ...]
    """(name, why it is not asked, in words that go on from its name)."""


class Window:
    """The last attempts at one provider."""

    def __init__(self, attempts: int = ATTEMPTS, span_s: float = SPAN_S) -> None:
        self._ended: deque[EndedAttempt] = deque(maxlen=attempts)
        self._span = span_s

    def add(self, ended: EndedAttempt) -> None:
        """The next attempt that ended; ``at`` never goes back."""
        self._ended.append(ended)

    def standing(self, now: float) -> ProviderStats:
        """As of ``now``."""
        while self._ended and self._ended[0].at < now - self._span:
            self._ended.popleft()
        good = [each for each in self._ended if each.ok]
        count = len(self._ended)
        return ProviderStats(
            attempts=count,
            healthy=(len(good) + 1) / (count + 1) if count else None,
            latency_s=sum(each.latency_s for each in good) / len(good) if good else None,
            cost_nano_usd=sum(each.cost_nano_usd for each in good) / len(good) if good else None,
        )


def ordered(
    rank: Rank, providers: Sequence[str], standings: Mapping[str, ProviderStats], declared_cost: Mapping[str, int]
) -> tuple[str, ...]:
    """The providers in the order in which they are asked. ``declared_cost`` is the price of a call by the manifest, for
    those that have one. One without a price comes last where the cheapest is asked for, since unpriced is not free. By
    ``fastest`` one that is not known yet comes first, or it would never be; by ``healthiest`` it counts as healthy."""

    def place(name: str) -> float:
        standing = standings.get(name, ProviderStats())
        if rank == "cheapest":
            priced = name in declared_cost
            observed = standing.cost_nano_usd
            return (observed if observed is not None else declared_cost[name]) if priced else float("inf")
        if rank == "fastest":
            # failures only: after those that have answered
            unknown = 0.0 if not standing.attempts else float("inf")
            return standing.latency_s if standing.latency_s is not None else unknown
        if rank == "healthiest":
            return -(standing.healthy if standing.healthy is not None else 1.0)
        return 0.0

    return tuple(sorted(providers, key=place))
