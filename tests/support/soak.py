"""Mixed load that goes on for as long as one likes and keeps nothing itself; the memory of each part meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from agents_sdk import AsyncBackplane, CallFailed, Refused, Unanswered, Unreachable
from tests.support.chaos.agents import SIDES

AT_ONCE: Final = 6
"""Runs of clients that go on at the same time; as many of agents again."""
PAUSE_S: Final = 0.1
WARM_SHARE: Final = 1 / 3
"""Of the samples: what a process takes until it has seen everything once is no slope."""


class Load:
    """Runs that write, count, call and tell agents, one after the other; ``stop`` lets them come to their ends."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stop = asyncio.Event()
        self.runs = 0
        self.troubled = 0
        """Runs that met an error which says to come again."""

    def stop(self) -> None:
        """``run`` returns when what is under way has ended."""
        self._stop.set()

    async def run(self, backplane: AsyncBackplane) -> None:
        """Goes on until it is stopped."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._each(backplane, self._client))
                group.create_task(self._each(backplane, self._agents))

    async def _each(self, backplane: AsyncBackplane, one: Callable[..., Any]) -> None:
        chance = random.Random(self._chance.random())
        while not self._stop.is_set():
            try:
                await one(backplane, chance)
                self.runs += 1
            except (Unanswered, Unreachable, Refused, CallFailed):
                self.troubled += 1
            await asyncio.sleep(PAUSE_S)

    async def _client(self, backplane: AsyncBackplane, chance: random.Random) -> None:
        run = await backplane.start_run("faults.soak", complete_when="explicit", deadline_seconds=3_600)
        for number in range(chance.randrange(5, 20)):
            await run.state.set(f"k{number % 3}", "x" * chance.randrange(1_000))
            await run.state.get(f"k{chance.randrange(3)}")
            if number % 5 == 0:
                await run.execute(chance.choice(("journal", "transfer")), {"number": number})
            await asyncio.sleep(PAUSE_S)
        await run.complete()

    async def _agents(self, backplane: AsyncBackplane, chance: random.Random) -> None:
        run = await backplane.start_run("faults.relay")
        await run.declare_dependency("fault_digest", [f"fault_{side}" for side in SIDES])
        await run.publish("relay.go", {"steps": 3, "number": 1, "takes_s": 0.05})
        await run.wait(120)


@dataclass
class Memory:
    """Resident memory of some processes, one sample each time."""

    pids: Mapping[str, Callable[[], int]]
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    async def watch(self, every_s: float) -> None:
        """Samples until cancelled; (seconds, MB) by part."""
        began = time.monotonic()
        while True:
            for name, pid in self.pids.items():
                with contextlib.suppress(psutil.Error):
                    resident = psutil.Process(pid()).memory_info().rss / 2**20
                    self.samples.setdefault(name, []).append((time.monotonic() - began, resident))
            await asyncio.sleep(every_s)

    def slopes(self) -> dict[str, float]:
        """MB an hour by part, by least squares, the first third left out."""
        return {name: slope(found[int(len(found) * WARM_SHARE) :]) * 3_600 for name, found in self.samples.items()}

    def lines(self) -> list[str]:
        """One a part, for whoever looks."""
        slopes = self.slopes()
        return [
            f"{name:12} {found[0][1]:7.0f} MB → {found[-1][1]:7.0f} MB, {slopes[name]:+8.1f} MB an hour"
            for name, found in self.samples.items()
        ]


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line through the points, by least squares; 0 for less than two of them."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    over = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / over if over else 0.0
