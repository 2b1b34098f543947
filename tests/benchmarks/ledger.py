"""Durable state writes through the SDK: one at a time, and as many as one process can have under way in 100 runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from agents_sdk.client import AsyncBackplane
from agents_sdk.run import AsyncRun
from tests.benchmarks.stage import PAYLOAD_BYTES, Figures, Stage, Stopwatch, quantiles

RUNS: Final = 100
IN_FLIGHT: Final = 20
"""Writes under way in each run: 2,000 in all, the SDK's own bound."""
COMMAND_BYTES: Final = 198
"""A SetState command without its value, encoded."""
VALUE: Final = "x" * (PAYLOAD_BYTES - COMMAND_BYTES - 2)


def state_write(stage: Stage) -> Figures:
    """One write at a time: issued, durable, decided, answered."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        (run,) = await start_runs(backplane, 1)
        await _write(run, 200)
        count = stage.size(2000, 300)
        with stage.cpu(count) as cpu:
            taken = await _write(run, count)
        return {**quantiles(taken), "per_s": round(count / sum(taken)), "cpu_us": cpu}

    return asyncio.run(connected(stage, measured))


def state_read(stage: Stage) -> Figures:
    """One read at a time: a command like the write, and a fact as well."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        (run,) = await start_runs(backplane, 1)
        await _write(run, 1)
        taken = []
        for _ in range(stage.size(2000, 300)):
            watch = Stopwatch()
            await run.state.get("key")
            taken.append(watch.seconds)
        return quantiles(taken)

    return asyncio.run(connected(stage, measured))


def throughput(stage: Stage) -> Figures:
    """Commands a second, exactly once, 100 runs from one SDK process; the store takes their facts meanwhile."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        runs = await start_runs(backplane, RUNS)
        await load(runs, stage.size(20_000, 4_000))
        count = stage.size(100_000, 10_000)
        with stage.cpu(count) as cpu:
            seconds = await load(runs, count)
        return {"commands_per_s": round(count / seconds), "cpu_us": cpu}

    return asyncio.run(connected(stage, measured))


async def connected(stage: Stage, measured: Any) -> Any:
    """What ``measured(backplane)`` gives, of a connected SDK."""
    async with AsyncBackplane.connect(stage.settings, "bench") as backplane:
        return await measured(backplane)


async def start_runs(backplane: AsyncBackplane, count: int) -> list[AsyncRun]:
    """Runs that go on until they are ended."""
    return list(await asyncio.gather(*(backplane.start_run("bench", complete_when="explicit") for _ in range(count))))


async def _write(run: AsyncRun, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        watch = Stopwatch()
        await run.state.set("key", VALUE)
        taken.append(watch.seconds)
    return taken


async def load(runs: Sequence[AsyncRun], count: int) -> float:
    """Seconds that ``count`` writes take, spread over the runs."""

    async def writer(run: AsyncRun, times: int) -> None:
        for _ in range(times):
            await run.state.set("key", VALUE)

    times = count // len(runs) // IN_FLIGHT
    watch = Stopwatch()
    await asyncio.gather(*(writer(run, times) for run in runs for _ in range(IN_FLIGHT)))
    return watch.seconds
