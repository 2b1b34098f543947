"""Mixed load under faults: no part takes more memory the longer it works. ``make soak`` (MINUTES=60) says the slopes.

The short form looks at what a process keeps, not at its resident memory: half a minute of that is noise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from agents_sdk import AsyncBackplane
from agents_sdk.runner import AgentsRunner
from tests.support.chaos import agents as module
from tests.support.chaos.platform import PARTS, AgentsProcess, laned
from tests.support.chaos.schedule import AGENTS, Killer
from tests.support.chaos.weather import Weather, plan
from tests.support.eventually import assert_soon
from tests.support.soak import Load, Memory

MINUTES: Final = float(os.environ.get("MINUTES", "0"))
SEED: Final = int(os.environ.get("SEED", "1"))
SHORT_S: Final = 15.0
SPARED: Final = ("ledger", "executor", "agents-1")
"""Processes whose memory is watched from beginning to end; their copies are killed."""
BOUND: Final = 1_000
"""Items that a structure may hold when all work has ended."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(300, MINUTES * 60 * 1.5 + 600))]


async def test_what_a_process_keeps_follows_what_is_open(tmp_path: Path) -> None:
    """Behind a thousand commands with guests, cuts and kills of others, nothing is left in client and agents."""
    if MINUTES:
        pytest.skip("the long form is asked for")
    with laned(tmp_path / "soak", SEED) as (platform, lanes):
        runner = AgentsRunner([module.left, module.right, module.tally, module.digest], platform.settings)
        running = asyncio.create_task(runner.run())
        async with AsyncBackplane.connect(platform.settings, name="soak") as backplane:
            while len(runner._workers) < 4:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.1)
            load = Load(SEED)
            working = asyncio.create_task(load.run(backplane))
            weather = Weather(platform, Killer(platform, {}), {}, lanes)
            faults = [fault for fault in plan(SEED, 8, 2.0) if fault.victim not in AGENTS]
            await asyncio.gather(weather.carry_out(faults), asyncio.sleep(SHORT_S))
            load.stop()
            await working
            print(f"SEED={SEED}: {load.runs} runs, {load.troubled} troubled, {dict(weather.happened)}")
            assert load.runs
            await assert_soon(lambda: _nothing_left(backplane, runner), 60)
        runner.stop()
        await running


async def _nothing_left(backplane: AsyncBackplane, runner: AgentsRunner) -> None:
    for transport in (backplane.transport, runner._transport):
        assert transport is not None
        assert len(transport._in_flight) == len(transport._queue) == transport._counted == transport._slow == 0
        assert sum(map(len, transport._in_flight._wheel.values())) <= BOUND
    for worker in runner._workers:
        assert not worker._handling
        assert not worker._lanes._queues
        assert worker._inbox.unfinished == 0
        assert not any(held.tracker._finished for held in worker._inbox._partitions.values())


@pytest.mark.skipif(not MINUTES, reason="the long form: MINUTES=60")
async def test_resident_memory_does_not_grow(tmp_path: Path) -> None:
    """Slopes are printed; none of a part is more than a few MB an hour, once it has run for an hour."""
    with laned(tmp_path / "soak", SEED, parts=(*PARTS, "sink", "console")) as (platform, lanes):
        settings = platform.settings
        agents = {name: AgentsProcess(settings.data_dir, name, env=platform._env) for name in AGENTS}
        killer = Killer(platform, agents)
        parts = ("kafka", "registry", "sink", "console", "ledger", "executor")
        pids: dict[str, Callable[[], int]] = {name: partial(platform.pid, name) for name in parts}
        try:
            for process in agents.values():
                process.start()
            pids["agents-1"] = lambda: agents["agents-1"].pid
            pids["client"] = os.getpid
            memory, load = Memory(pids), Load(SEED)
            async with AsyncBackplane.connect(settings, name="soak") as backplane:
                watching = asyncio.create_task(memory.watch(max(MINUTES * 60 / 400, 1.0)))
                working = asyncio.create_task(load.run(backplane))
                await _storm(Weather(platform, killer, agents, lanes))
                load.stop()
                await working
                watching.cancel()
        finally:
            for process in agents.values():
                process.kill()
    print(f"SEED={SEED}: {MINUTES:g} minutes, {load.runs} runs, {load.troubled} troubled", *memory.lines(), sep="\n")
    assert load.runs


async def _storm(weather: Weather) -> None:
    """Faults of others, a few a minute, until the time is over."""
    loop = asyncio.get_running_loop()
    ends, number = loop.time() + MINUTES * 60, 0
    while loop.time() < ends:
        number += 1
        faults = [fault for fault in plan(SEED + number, 8, 4.0) if fault.victim not in SPARED]
        await weather.carry_out(faults)
        await asyncio.sleep(max(min(20.0, ends - loop.time()), 0.0))
    print(f"faults: {dict(weather.happened)}")
