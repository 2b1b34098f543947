"""Calls of a capability that does nothing: what intent, execution, record and answer cost."""

from __future__ import annotations

import asyncio
from typing import Final

from agents_sdk.client import AsyncBackplane
from tests.benchmarks.ledger import RUNS, connected, start_runs
from tests.benchmarks.stage import Figures, Stage, Stopwatch, quantiles

IN_FLIGHT: Final = 3
"""Calls under way in each run: more than the executor's slots (64), so that it never waits for us."""


def measure(stage: Stage) -> Figures:
    """One at a time, then with 100 runs."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        runs = await start_runs(backplane, RUNS)

        async def calling(run: str, times: int) -> list[float]:
            taken = []
            for _ in range(times):
                watch = Stopwatch()
                await backplane.execute("noop", {}, run=run)
                taken.append(watch.seconds)
            return taken

        await calling(runs[0].id, 100)
        alone = stage.size(1000, 100)
        with stage.cpu(alone) as cpu_alone:
            taken = await calling(runs[0].id, alone)
        times = stage.size(50, 5)
        count = times * RUNS * IN_FLIGHT
        watch = Stopwatch()
        with stage.cpu(count) as cpu:
            await asyncio.gather(*(calling(run.id, times) for run in runs for _ in range(IN_FLIGHT)))
            seconds = watch.seconds
        return {**quantiles(taken), "per_s": round(count / seconds), "cpu_us_alone": cpu_alone, "cpu_us": cpu}

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures
