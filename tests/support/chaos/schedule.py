"""Who is killed when: a list that a seed decides, and whoever carries it out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Final

from backplane.platform.platform import LocalPlatform
from tests.support.chaos.platform import EXECUTORS, LEDGERS, AgentsProcess

AGENTS: Final = ("agents-1", "agents-2")
DEALT: Final = (
    ("ledger",), ("ledger-2",), ("executor",), ("executor-2",), ("agents-1",), ("agents-2",),
    LEDGERS, EXECUTORS, ("ledger", "executor"), ("ledger-2", "agents-1"),
)  # fmt: skip
BACK_LIMIT_S: Final = 90.0
"""Idle: 3 s. A machine with ten other things to do takes half a minute to start a process."""


@dataclass(frozen=True)
class PlannedKill:
    """One moment of the plan."""

    after_s: float
    """Since the one before."""
    victims: tuple[str, ...]
    again_s: float = 0.0
    """Killed again so long after they answer at all again, not ready yet: while they recover."""


@dataclass(frozen=True)
class Hit:
    """What became of it, wall clock."""

    at: float
    victim: str


def plan(seed: int, count: int) -> list[PlannedKill]:
    """``count`` kills; all victims have had their turn before one has it again."""
    chance = random.Random(seed)
    dealt: list[tuple[str, ...]] = []
    planned_kills = []
    for number in range(count):
        if not dealt:
            dealt = list(DEALT)
            chance.shuffle(dealt)
        victims = dealt.pop()
        again = chance.uniform(0.01, 1.0) if number % 4 == 1 and victims[0] in LEDGERS else 0.0
        planned_kills.append(PlannedKill(chance.uniform(0.7, 2.2), victims, again))
    return planned_kills


class Killer:
    """Carries a plan out; ``hits`` is what he did."""

    def __init__(self, platform: LocalPlatform, agents: dict[str, AgentsProcess]) -> None:
        self._platform = platform
        self._agents = agents
        self.hits: list[Hit] = []

    async def carry_out(self, planned_kills: list[PlannedKill]) -> None:
        for planned in planned_kills:
            for victim in planned.victims:
                await self.back(victim)
            await asyncio.sleep(planned.after_s)
            for victim in planned.victims:
                self.kill(victim)
            if planned.again_s:
                await self.back(planned.victims[0], ready=False)
                await asyncio.sleep(planned.again_s)
                self.kill(planned.victims[0])

    def kill(self, victim: str) -> None:
        """SIGKILL. Its moment is taken before: a successor that is started at once began after it."""
        at = time.time()
        if victim in self._agents:
            self._agents[victim].kill()
            self._agents[victim].start()
        else:
            self._platform.kill(victim)
        self.hits.append(Hit(at, victim))

    async def back(self, part: str, *, ready: bool = True) -> None:
        """Waits until the part is ready again, or until its new process at least answers."""
        if part in self._agents:
            return
        since = max((hit.at for hit in self.hits if hit.victim == part), default=0.0)
        deadline = time.monotonic() + BACK_LIMIT_S
        while time.monotonic() < deadline:
            known = self._platform.part(part)
            if known["pid"] is not None and known["started_at"] > since:
                answers = known["state"] == "ready" if ready else await _answers(known["port"])
                if answers:
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{part} is not back after {BACK_LIMIT_S:g} s")

    @contextlib.asynccontextmanager
    async def frozen(self, part: str):  # type: ignore[no-untyped-def]  # an async context manager
        """SIGSTOP, and SIGCONT at the end: the process sleeps through it and wakes as a zombie."""
        pid = self._platform.pid(part)
        os.kill(pid, signal.SIGSTOP)
        self.hits.append(Hit(time.time(), part))
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGCONT)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
