"""Clients that read, write and swap a few registers side by side, and keep what each of them saw and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from math import inf
from typing import Any, Final

from agents_sdk import AsyncBackplane, Unanswered, Unreachable, VersionConflict
from agents_sdk.run import AsyncRun
from tests.support.chaos.linearizable import Op, linearizable

RUNS: Final = 3
KEYS: Final = 2
CLIENTS: Final = 4
OPS_A_KEY: Final = 60
"""Histories stay short enough to be judged: behind so many a new key is taken."""
PAUSE_S: Final = 0.2


class Registers:
    """The work, and the histories by run and key. Swaps are by version, so they are judged by value: a client swaps
    what it has read."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stop = asyncio.Event()
        self.histories: dict[tuple[str, str], list[Op]] = defaultdict(list)
        self._written = 0

    def stop(self) -> None:
        """``run`` returns when what is under way has ended."""
        self._stop.set()

    async def run(self, backplane: AsyncBackplane) -> None:
        """Goes on until it is stopped."""
        runs = [await backplane.start_run("faults.registers", complete_when="explicit") for _ in range(RUNS)]
        async with asyncio.TaskGroup() as group:
            for run in runs:
                for _ in range(CLIENTS):
                    group.create_task(self._client(run, random.Random(self._chance.random())))
        for run in runs:
            await run.complete()

    async def _client(self, run: AsyncRun, chance: random.Random) -> None:
        while not self._stop.is_set():
            await self._one(run, chance)
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE_S))

    async def _one(self, run: AsyncRun, chance: random.Random) -> None:
        base = f"register.{chance.randrange(KEYS)}"
        lives = sum(len(ops) for (of, key), ops in self.histories.items() if of == run.id and key.startswith(base))
        key = f"{base}.{lives // OPS_A_KEY}"
        self._written += 1
        number, began = self._written, time.monotonic()
        match chance.randrange(3):
            case 0:
                await self._kept(run, key, "write", began, run.state.set(key, number), number)
            case 1:
                await self._read(run, key)
            case _:
                seen = await self._read(run, key)
                if seen is not None:
                    began = time.monotonic()
                    swap = run.state.set(key, number, expected_version=seen.version)
                    await self._kept(run, key, "swap", began, swap, number, seen.value)

    async def _read(self, run: AsyncRun, key: str) -> Any:
        began = time.monotonic()
        try:
            entry = await run.state.entry(key)
        except (Unanswered, Unreachable):
            return None  # a read that nobody saw explains nothing
        self._note(run, key, Op("read", began, time.monotonic(), entry.value))
        return entry

    async def _kept(
        self, run: AsyncRun, key: str, kind: str, began: float, doing: Any, value: int, expected: Any = None
    ) -> None:
        try:
            await doing
        except (Unanswered, Unreachable):
            self._note(run, key, Op(kind, began, inf, value, expected))
        except VersionConflict:
            self._note(run, key, Op(kind, began, time.monotonic(), value, expected, done=False))
        else:
            self._note(run, key, Op(kind, began, time.monotonic(), value, expected))

    def _note(self, run: AsyncRun, key: str, op: Op) -> None:
        self.histories[run.id, key].append(op)

    def complaints(self) -> list[str]:
        """The registers whose histories no single copy would give."""
        wrong = [(place, ops) for place, ops in self.histories.items() if not linearizable(ops)]
        return [f"{place}: " + "; ".join(map(str, sorted(ops, key=lambda op: op.began))) for place, ops in wrong]
