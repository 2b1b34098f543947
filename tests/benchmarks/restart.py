"""From killing the ledger to its first answer in every partition, with a million facts in the log.

The facts are synthetic, written with the real codec before any command: runs of 100 facts, all ended but the last
hundred. No snapshot knows of them, so the first restart folds them all; real commands then make every partition take a
snapshot, and the second restart folds only what came after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from agents_sdk.client import AsyncBackplane
from agents_sdk.core.facts import Fact
from agents_sdk.errors import Unanswered
from agents_sdk.scope import new_id
from backplane.ledger.snapshots import FACTS_BETWEEN
from tests.benchmarks.facts import partition, run_facts
from tests.benchmarks.ledger import RUNS, connected, load, start_runs
from tests.benchmarks.sink import RUN_LENGTH, stored, write
from tests.benchmarks.stage import PAYLOAD_BYTES, Figures, Stage, Stopwatch

LIVE: Final = 100
"""Runs of the synthetic ones that go on."""
PATIENCE_S: Final = 300.0


def measure(stage: Stage) -> Figures:
    """Seconds with a snapshot, and without. Needs a platform without commands."""
    count = stage.size(1_000_000, 50_000)
    count = write(stage, _facts(stage, count))
    watch = Stopwatch()
    while stored(stage) < count and watch.seconds < PATIENCE_S:  # the store's work would slow the restart down
        time.sleep(0.5)

    async def measured(backplane: AsyncBackplane) -> Figures:
        without = await killed(stage, backplane)
        if stage.quick:
            return {"facts": count, "seconds": without, "without_snapshot_seconds": without}
        runs = await start_runs(backplane, RUNS)
        commands = int(FACTS_BETWEEN * 1.5) * stage.settings.topics.partitions  # runs spread unevenly
        loading = await load(runs, commands)
        await asyncio.sleep(5)
        return {
            "facts": count + commands,
            "seconds": await killed(stage, backplane),
            "without_snapshot_seconds": without,
            "commands_per_s_before": round(commands / loading),
        }

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


async def killed(stage: Stage, backplane: AsyncBackplane) -> float:
    """Seconds until a run can be started in every partition."""
    partitions = stage.settings.topics.partitions
    runs: dict[int, str] = {}
    while len(runs) < partitions:
        run_id = new_id()
        runs[partition(run_id, partitions)] = run_id
    stage.platform.kill("ledger")
    watch = Stopwatch()

    async def answered(run_id: str) -> Any:
        while True:
            try:
                return await backplane.start_run("bench", run_id=run_id, complete_when="explicit")
            except Unanswered:
                if watch.seconds > PATIENCE_S:
                    raise

    await asyncio.gather(*(answered(run_id) for run_id in runs.values()))
    return round(watch.seconds, 2)


def _facts(stage: Stage, count: int) -> Iterator[Fact]:
    """In each partition the command offsets rise to -1: below the first command there will be."""
    partitions = stage.settings.topics.partitions
    runs = [new_id() for _ in range(count // RUN_LENGTH)]
    offsets = {
        number: -runs_there for number, runs_there in Counter(partition(run, partitions) for run in runs).items()
    }
    for number, run_id in enumerate(runs):
        at = partition(run_id, partitions)
        yield from run_facts(run_id, RUN_LENGTH, offsets[at], PAYLOAD_BYTES, ended=number < len(runs) - LIVE)
        offsets[at] += 1
