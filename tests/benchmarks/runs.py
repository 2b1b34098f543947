"""What an open run costs while nothing happens in it, and how long a ledger that holds many takes to come back.

Every run has what most have: an input and a deadline. The ledger's memory is its resident set,
so the figure has all in it that grows with the runs: the book, the alarms, and what is kept for the next snapshot.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agents_sdk.client import AsyncBackplane
from tests.benchmarks.ledger import connected
from tests.benchmarks.restart import killed
from tests.benchmarks.stage import Figures, Stage, Stopwatch

AT_ONCE: Final = 1_000
"""Starts under way."""
WARM: Final = 2_000
"""Runs started before measuring: buffers and caches have their size then."""
SETTLE_S: Final = 3.0
"""For the last facts to be written and what they were written from to be freed."""
DEADLINE_S: Final = 86_400


def measure(stage: Stage) -> Figures:
    """Bytes an idle run, how many were open, seconds to the first answer in every partition after a kill."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        await _open(backplane, WARM)
        before = await _resident(stage)
        count = stage.size(100_000, 5_000)
        watch = Stopwatch()
        await _open(backplane, count)
        seconds = watch.seconds
        after = await _resident(stage)
        return {
            "idle_bytes": round((after - before) / count),
            "open": count + WARM,
            "starts_per_s": round(count / seconds),
            "ledger_mb": after // 2**20,
            "restart_seconds": await killed(stage, backplane),
        }

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


async def _open(backplane: AsyncBackplane, count: int) -> None:
    for begun in range(0, count, AT_ONCE):
        starts = range(begun, min(begun + AT_ONCE, count))
        await asyncio.gather(*(_start(backplane, number) for number in starts))


async def _start(backplane: AsyncBackplane, number: int) -> None:
    topic = {"topic": "event streaming", "number": number}
    await backplane.start_run("bench", topic, complete_when="explicit", deadline_seconds=DEADLINE_S)


async def _resident(stage: Stage) -> int:
    await asyncio.sleep(SETTLE_S)
    return int(stage.processes()["ledger"].memory_info().rss)
