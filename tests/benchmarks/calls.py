"""Calls of capabilities that do nothing: what intent, execution, record and answer cost, and how many go on at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from agents_sdk.client import AsyncBackplane
from agents_sdk.core.facts import AttemptEvent
from agents_sdk.history import read_run
from agents_sdk.run import AsyncRun
from tests.benchmarks import callers
from tests.benchmarks.ledger import RUNS, connected, start_runs
from tests.benchmarks.messages import rally, running
from tests.benchmarks.stage import Figures, Stage, Stopwatch, quantiles

IN_FLIGHT: Final = 300
"""Calls under way in all runs together; enough that the executor never waits for us."""
MANY_RUNS: Final = 1_000
SLOW_CALLS: Final = 1_000
BROKEN_CALLS: Final = 50
BREAKER_FAILURES: Final = 8
"""As capabilities/broken.yaml has it."""
SAMPLE_S: Final = 0.05
FACTS_S: Final = 10.0


def measure(stage: Stage) -> Figures:
    """One at a time, then side by side in 100 and in 1,000 runs."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        runs = await start_runs(backplane, RUNS)
        await _calling(backplane, runs[0], 100)
        alone = stage.size(1000, 100)
        with stage.cpu(alone) as cpu_alone:
            taken = await _calling(backplane, runs[0], alone)
        count = stage.size(15_000, 1_500)
        with stage.cpu(count) as cpu:
            seconds = await _side_by_side(backplane, runs, count)
        many = await start_runs(backplane, MANY_RUNS)
        in_many = count / await _side_by_side(backplane, many, count)
        return {
            **quantiles(taken),
            "per_s": round(count / seconds),
            "per_s_1000_runs": round(in_many),
            "cpu_us_alone": cpu_alone,
            "cpu_us": cpu,
            "executor_cpu_us": cpu.get("executor", 0.0),
        }

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def local(stage: Stage) -> Figures:
    """One at a time again, made in the agent's own process: intent, execution, record and answer."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        await rally(backplane, 50, "bench.calling")
        count = stage.size(1000, 100)
        with stage.cpu(count) as cpu:
            taken = await rally(backplane, count, "bench.calling")
        return {**quantiles(taken), "cpu_us": cpu}

    with running(stage, Path(callers.__file__), "--local", "noop"):
        figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def slow(stage: Stage) -> Figures:
    """A thousand calls of a second each at once: how long all take, and what each occupies meanwhile."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        runs = await start_runs(backplane, RUNS)
        await _side_by_side(backplane, runs, stage.size(3_000, 300))  # what a first crowd occupies stays occupied
        count = stage.size(SLOW_CALLS, SLOW_CALLS // 10)
        calls = [runs[number % RUNS].execute("slow", {}) for number in range(count)]
        with _peak(stage.processes()["executor"]) as grown:
            watch = Stopwatch()
            await asyncio.gather(*calls)
            seconds = watch.seconds
        return {"seconds": round(seconds, 2), "calls": count, "kib_each": round(grown[0] / count / 1024, 1)}

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def fallback(stage: Stage) -> Figures:
    """From the end of an attempt that failed to the beginning of the one at the next provider, by the executor's
    clock: what deciding costs."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        (run,) = await start_runs(backplane, 1)
        for _ in range(stage.size(500, 50)):
            await run.execute("fallback", {})
        await run.complete()
        facts = await asyncio.to_thread(read_run, stage.settings, stage.codec, run.id, until_ended_s=FACTS_S)
        return quantiles(list(_between([fact for fact in facts if isinstance(fact, AttemptEvent)])))

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def breaker(stage: Stage) -> Figures:
    """How many calls, one after the other, still asked a provider that is down after its breaker had opened."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        (run,) = await start_runs(backplane, 1)
        for _ in range(BROKEN_CALLS):
            await run.execute("broken", {})
        await run.complete()
        facts = await asyncio.to_thread(read_run, stage.settings, stage.codec, run.id, until_ended_s=FACTS_S)
        asked = sum(isinstance(fact, AttemptEvent) and fact.provider == "down" for fact in facts)
        return {"late_calls": asked - BREAKER_FAILURES}

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def _between(attempts: Sequence[AttemptEvent]) -> Iterator[float]:
    """Seconds from each failure to the attempt after it."""
    failed = {fact.call_id: fact for fact in attempts if fact.attempt == 1}
    for fact in attempts:
        if fact.attempt == 2:
            first = failed[fact.call_id]
            yield max(fact.started_at - first.started_at - first.latency_us, 0) / 1e6


async def _calling(backplane: AsyncBackplane, run: AsyncRun, times: int) -> list[float]:
    taken = []
    for _ in range(times):
        watch = Stopwatch()
        await run.execute("noop", {})
        taken.append(watch.seconds)
    return taken


async def _side_by_side(backplane: AsyncBackplane, runs: Sequence[AsyncRun], count: int) -> float:
    """Seconds that ``count`` calls take, spread over the runs, ``IN_FLIGHT`` of them at a time or one in each run."""
    waiting = iter(range(count))

    async def caller() -> None:
        for number in waiting:
            await runs[number % len(runs)].execute("noop", {})

    watch = Stopwatch()
    await asyncio.gather(*(caller() for _ in range(max(IN_FLIGHT, len(runs)))))
    return watch.seconds


@contextlib.contextmanager
def _peak(process: psutil.Process) -> Iterator[list[Any]]:
    """Fills the list with how many bytes the process grew by at most, as sampled."""
    before = process.memory_info().rss
    grown, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_S):
            grown[0] = max(grown[0], process.memory_info().rss - before)

    thread = threading.Thread(target=sample, name="bench-peak", daemon=True)
    thread.start()
    yield grown
    stop.set()
    thread.join()
