"""When a part is started, restarted or given up, and what that makes of the platform.

Here live decisions over values: the states of the parts, the time, a random number. Not here: processes, files, clocks.
Laws: a part never starts before all it stands on are ready. A part that was ready once is always restarted. One that
listens and dies is restarted some times before it is ready. The delay never exceeds the cap; parts stop before what
they stand on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where a part is."""

    WAITING = "waiting"
    """For what it stands on."""
    STARTING = "starting"
    """Its process runs and does not answer yet."""
    READY = "ready"
    BACKOFF = "backoff"
    """It died; its restart has a time."""
    DONE = "done"
    """A task that ran to its end."""
    FAILED = "failed"
    """It died before it was ready for the first time: starting it again would do the same."""
    STOPPED = "stopped"


class PlatformState(StrEnum):
    """The state of the platform that follows from its parts."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    """It was ready; a part is being restarted."""
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Node:
    """Facts about a part for the decisions."""

    after: tuple[str, ...] = ()
    """The parts it stands on."""
    task: bool = False
    """It runs once, to its end."""
    optional: bool = False
    """The platform is ready without it, and does not fail with it."""
    notes: bool = False
    """It notes at which work it dies, and fails that work in the end."""


@dataclass(frozen=True)
class State:
    """One part, at one moment. Times are seconds of any one clock."""

    phase: Phase = Phase.WAITING
    since: float = 0.0
    """When it came into this phase."""
    restarts: int = 0
    streak: int = 0
    """Deaths in a row, without a steady stretch in between."""
    retry_at: float = 0.0
    last_exit: str = ""
    was_ready: bool = False
    answered: bool = False
    """Its process listens: it has what it needs, and may be at work."""


@dataclass(frozen=True)
class Backoff:
    """How long a restart waits: ``first_s``, doubled with each death in a row, at most ``cap_s``."""

    first_s: float = 0.05
    cap_s: float = 10.0
    spread: float = 0.25
    """The share of the delay that chance may take away, so that parts do not return in step."""
    steady_s: float = 3.0
    """A part that was ready this long starts again at ``first_s``: it did its work, and others wait for it. Starting
    takes about as long, so that one that dies again and again is starting for half of the time at most."""

    def delay(self, streak: int, chance: float) -> float:
        """Seconds until the restart after ``streak`` deaths in a row; ``chance`` is in [0, 1)."""
        full = min(self.cap_s, self.first_s * 2.0 ** min(streak - 1, 30))
        return full * (1.0 - self.spread * chance)


FIRST_DEATHS: Final = 12
"""How often a part that notes what it dies at may die before it is ready for the first time. A few deaths tell which
work it is; some more, where much work is under way."""
DEFAULT_BACKOFF: Final = Backoff()
SPARE_AFTER_S: Final = 2.0
"""How long a part works until its spare process is made."""
FIRM: Final = (Phase.READY, Phase.DONE)


def started(state: State, now: float) -> State:
    """Its process was started."""
    restarts = state.restarts + (1 if state.phase is Phase.BACKOFF else 0)
    return replace(state, phase=Phase.STARTING, since=now, restarts=restarts, answered=False)


def listens(state: State) -> State:
    """Its process listens, whatever it answers."""
    return replace(state, answered=True) if state.phase is Phase.STARTING else state


def became_ready(state: State, now: float) -> State:
    """It answers; an answer that comes after its death counts for nothing."""
    if state.phase is not Phase.STARTING:
        return state
    return replace(state, phase=Phase.READY, since=now, was_ready=True)


def exited(
    state: State, node: Node, reason: str, now: float, chance: float, backoff: Backoff = DEFAULT_BACKOFF
) -> State:
    """Its process ended; ``reason`` is empty when it ended well."""
    if node.task and (not reason or node.optional):
        return replace(state, phase=Phase.DONE, since=now, last_exit=reason)
    reason = reason or "exit code 0"
    at_work = node.notes and state.answered and state.streak + 1 < FIRST_DEATHS
    if not state.was_ready and not at_work:
        return replace(state, phase=Phase.FAILED, since=now, last_exit=reason)
    steady = state.phase is Phase.READY and now - state.since >= backoff.steady_s
    streak = 1 if steady else state.streak + 1
    retry_at = now + backoff.delay(streak, chance)
    return replace(state, phase=Phase.BACKOFF, since=now, streak=streak, retry_at=retry_at, last_exit=reason)


def spare_due(state: State, now: float, *, was_spare: bool) -> bool:
    """Whether a part should have a spare process now. It has worked for a while, so that its start and a platform that
    ends at once pay nothing. Or it has just used one (``was_spare``), and may die again in the middle of its start."""
    if state.phase is Phase.READY:
        return now - state.since >= SPARE_AFTER_S
    return was_spare and state.phase is Phase.STARTING and state.streak == 1


def due(nodes: Mapping[str, Node], states: Mapping[str, State], now: float) -> list[str]:
    """The parts to start now, in the table's order."""

    def wanted(name: str) -> bool:
        state = states[name]
        if state.phase is Phase.BACKOFF:
            return now >= state.retry_at
        return state.phase is Phase.WAITING and all(states[base].phase in FIRM for base in nodes[name].after)

    return [name for name in nodes if wanted(name)]


def fold(nodes: Mapping[str, Node], states: Mapping[str, State], was_ready: bool) -> PlatformState:
    """The state of the platform that follows from its parts, for one that ``was_ready`` before or not."""
    phases = [states[name].phase for name, node in nodes.items() if not node.optional]
    if Phase.FAILED in phases:
        return PlatformState.FAILED
    if all(phase in FIRM for phase in phases):
        return PlatformState.READY
    return PlatformState.DEGRADED if was_ready else PlatformState.STARTING


def stop_waves(nodes: Mapping[str, Node]) -> list[list[str]]:
    """The order of stopping: each wave once the one before is gone, a part always before what it stands on."""
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            below = max((of(base) for base in nodes[name].after), default=0)
            # A finished task holds nothing up: what stands only on tasks stops with the lowest.
            height[name] = below if nodes[name].task else below + 1
        return height[name]

    levels = sorted({of(name) for name in nodes}, reverse=True)
    return [[name for name in reversed(list(nodes)) if height[name] == level] for level in levels]
