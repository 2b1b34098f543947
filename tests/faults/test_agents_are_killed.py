"""Two processes of the same agents are killed again and again: each handler's effects are there once, in order, and no
trigger comes before what it waited for."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict
from functools import partial
from typing import Any, Final

import pytest

from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.twins import sink, source, twin
from tests.support.chaos.under_fire import all_handled, hit, under_fire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SEED: Final = int(os.environ.get("SEED", "1"))
DELIVERIES: Final = int(os.environ.get("FAULT_DELIVERIES", "800"))
READS: Final = int(os.environ.get("FAULT_READS", "4000"))
RUNS: Final = 20
KILLS: Final = 12
"""At most: what is left is to be done in peace."""
HITS: Final = 3
"""At least: the work comes in so many waves and one, each but the first behind another kill."""
KEYS: Final = 100
"""Upstream writes of a run, each of which its trigger reads."""


fire: Final = partial(under_fire, module="twins.py", agents=(twin, source, sink), seed=SEED, kills=KILLS)


async def test_each_delivery_has_its_effects_once_and_in_order(platform: LocalPlatform) -> None:
    """Each delivery has one completion, one write and one message, in the order in which they were sent."""
    began, each = time.monotonic(), DELIVERIES // RUNS
    codec = await asyncio.to_thread(connect_codec, platform.settings)
    async with fire(platform) as (backplane, killer):
        started = (backplane.start_run("faults.twins", complete_when="explicit") for _ in range(RUNS))
        runs = await asyncio.gather(*started)
        for wave in range(HITS + 1):
            await hit(killer, wave)
            numbers = range(each * wave // (HITS + 1), each * (wave + 1) // (HITS + 1))
            sent = (run.send(twin.name, "twin.work", n) for n in numbers for run in runs)
            await asyncio.gather(*sent)
        last = f"done.{each - 1}"
        await asyncio.gather(*(all_handled(platform.settings, codec, run, twin.name, last, each) for run in runs))
        await asyncio.gather(*(run.complete() for run in runs))
    for run in runs:
        facts: list[Any] = await asyncio.to_thread(read_run, platform.settings, codec, run.id)
        by_kind = defaultdict(list)
        for fact in facts:
            by_kind[fact.kind].append(fact)
        deliveries = [fact.delivery_id for fact in by_kind["MessageDelivered"] if fact.recipient == twin.name]
        assert Counter(fact.delivery_id for fact in by_kind["HandlerCompleted"]) == Counter(deliveries)
        order = [f"done.{number}" for number in range(each)]
        assert [fact.key for fact in by_kind["StateWritten"]] == order
        assert [fact.data for fact in by_kind["MessagePublished"]] == [str(number) for number in range(each)]
    took = time.monotonic() - began
    print(f"SEED={SEED}: {RUNS * each} deliveries, {len(killer.hits)} kills, {took:.0f} s")
    assert len(killer.hits) >= HITS


async def test_a_trigger_reads_every_write_it_waited_for(platform: LocalPlatform) -> None:
    """Reads by handlers that a dependency triggered, while ledgers and agents are killed."""
    began, count = time.monotonic(), READS // KEYS
    async with fire(platform, "ledger", "ledger-2") as (backplane, killer):

        async def one() -> list[int]:
            run = await backplane.start_run("faults.causes", KEYS)
            await run.declare_dependency(sink.name, [source.name])
            ended = await run.wait(300)
            assert ended.status == "completed", ended
            found: list[int] = ended.result
            return found

        room = asyncio.Semaphore(8)

        async def in_turn(number: int) -> list[int]:
            async with room:
                await hit(killer, number * (HITS + 1) // count)
                return await one()

        found = await asyncio.gather(*(in_turn(number) for number in range(count)))
    print(f"SEED={SEED}: {count * KEYS} reads, {len(killer.hits)} kills, {time.monotonic() - began:.0f} s")
    assert all(numbers == list(range(KEYS)) for numbers in found)
    assert len(killer.hits) >= HITS
