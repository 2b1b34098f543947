"""Agents are killed while they wait for an answer: a request is answered once, its asker ends with its effects once."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any, Final

import pytest

from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.askers import asker
from tests.support.chaos.experts import expert
from tests.support.chaos.platform import AgentsProcess
from tests.support.chaos.under_fire import all_handled, hit, under_fire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SEED: Final = int(os.environ.get("SEED", "1"))
REQUESTS: Final = int(os.environ.get("FAULT_REQUESTS", "300"))
RUNS: Final = 20
KILLS: Final = 8
"""At most: what is left is to be done in peace."""
HITS: Final = 3
"""At least: each of the last requests of a run is sent after one more kill, however fast the machine is."""


async def test_a_request_is_answered_once_however_often_its_asker_is_killed(platform: LocalPlatform) -> None:
    """Every asker that was killed waits again for the answer to what it had asked, and is told that one."""
    began, each = time.monotonic(), REQUESTS // RUNS
    answering = AgentsProcess(platform.settings.data_dir, "experts", instance="only", module="experts.py")
    answering.start()
    codec = await asyncio.to_thread(connect_codec, platform.settings)
    try:
        async with under_fire(platform, module="askers.py", agents=(asker, expert), seed=SEED, kills=KILLS) as (
            backplane,
            killer,
        ):
            started = (backplane.start_run("faults.asking", complete_when="explicit") for _ in range(RUNS))
            runs = await asyncio.gather(*started)
            sent = (run.send(asker.name, "asking.go", n) for n in range(each - HITS) for run in runs)
            await asyncio.gather(*sent)
            for number in range(HITS):
                await hit(killer, number + 1)
                await asyncio.gather(*(run.send(asker.name, "asking.go", each - HITS + number) for run in runs))
            last = f"answer.{each - 1}"
            await asyncio.gather(*(all_handled(platform.settings, codec, run, asker.name, last, each) for run in runs))
            await asyncio.gather(*(run.complete() for run in runs))
    finally:
        answering.kill()
    interrupted = again = 0
    for run in runs:
        facts: list[Any] = await asyncio.to_thread(read_run, platform.settings, codec, run.id, until_ended_s=10)
        kinds = Counter(fact.kind for fact in facts)
        again += kinds["RequestAwaited"]
        interrupted += _interrupted(facts)
        assert (kinds["RequestSent"], kinds["RequestAnswered"]) == (each, each)
        assert not kinds["RequestFailed"] + kinds["RequestExpired"] + kinds["HandlerFailed"]
        done = Counter(fact.recipient for fact in facts if fact.kind == "HandlerCompleted")
        assert done == {asker.name: each, expert.name: each}
        written = [(fact.key, fact.value) for fact in facts if fact.kind == "StateWritten"]
        expected = [("before", 1), ("asked", 1), ("answer", 2)]
        assert written == [(f"{what}.{n}", str(n * times)) for n in range(each) for what, times in expected]
        assert [fact.data for fact in facts if fact.kind == "MessagePublished"] == [str(n) for n in range(each)]
    took = time.monotonic() - began
    print(
        f"SEED={SEED}: {RUNS * each} requests, {len(killer.hits)} kills, "
        f"{interrupted} interrupted, {again} awaited again, {took:.0f} s"
    )
    assert len(killer.hits) >= HITS
    assert interrupted, "nobody was killed while it waited: the test showed nothing"


def _interrupted(facts: list[Any]) -> int:
    """Requests whose asker was taken over by another process behind them: it says so as it begins."""
    delivery_of = {fact.event_id: fact.delivery_id for fact in facts if fact.kind == "MessageDelivered"}
    taken_over = {fact.delivery_id: fact.run_seq for fact in facts if fact.kind == "HandlerStarted"}
    asked = ((delivery_of[fact.causation_id], fact.run_seq) for fact in facts if fact.kind == "RequestSent")
    return sum(taken_over.get(delivery, 0) > seq for delivery, seq in asked)
