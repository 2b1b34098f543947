"""Executors are killed in the middle of calls that must not be made twice. None is; and none is left without an end."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from agents_sdk import AsyncBackplane, CallFailed, OutcomeUnknown
from agents_sdk.core.facts import CallEvent, MessageEvent
from agents_sdk.core.ids import CallId
from agents_sdk.history import read_run
from agents_sdk.operations import CallResult
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.schedule import Killer
from tests.support.charging.till import TAKES_S, Till, cannot_tell
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_500)]
SEED: Final = int(os.environ.get("SEED", "1"))
CALLS: Final = int(os.environ.get("UNSAFE_CALLS", "100"))
"""1,000 for the whole of it: some minutes."""
RUNS: Final = 8
AT_ONCE: Final = 8
BETWEEN: Final = (5, 40)
"""Calls that reach the provider between two kills, so each kill finds calls under way."""
HERE: Final = Path(__file__).parents[1] / "support" / "charging"
VICTIMS: Final = ("executor", "executor-2")


@pytest.fixture
def killed(tmp_path: Path, prepared: Prepared) -> Iterator[LocalPlatform]:
    """Two executors that may be killed."""
    target = LocalPlatform(
        prepared.copy(tmp_path / "charging"),
        parts=("kafka", "registry", "topics", "ledger", "executor"),
        workers={"executor": 2},
        env={"BACKPLANE_CAPABILITIES__PATHS": str(HERE / "capabilities")},
    )
    with target as running:
        yield running


async def kill(till: Till, killer: Killer) -> None:
    """SIGKILL of an executor at seeded moments, until somebody stops this."""
    chance = random.Random(SEED)
    mark = 0
    while True:
        mark += chance.randint(*BETWEEN)
        while till.begun < mark:
            await asyncio.sleep(0.01)
        victim = chance.choice(VICTIMS)
        await killer.back(victim, ready=False)
        await asyncio.sleep(chance.uniform(0, TAKES_S))
        killer.kill(victim)


async def charge(backplane: AsyncBackplane, run: str, room: asyncio.Semaphore) -> CallResult | CallFailed:
    async with room:
        try:
            return await backplane.run(run).execute("charge", {})
        except CallFailed as failed:
            return failed


async def test_no_effect_happens_twice_and_each_call_ends(killed: LocalPlatform) -> None:
    """Each call completes with its one effect, or says that its outcome is unknown and is escalated; what was not
    done is never reported as done, nor the other way round."""
    print(f"SEED={SEED} UNSAFE_CALLS={CALLS}")
    settings = killed.settings
    with Till(settings.data_dir, SEED) as till:
        async with AsyncBackplane.connect(settings) as backplane:
            runs = [(await backplane.start_run("charging", complete_when="explicit")) for _ in range(RUNS)]
            killer = Killer(killed, {})
            killing = asyncio.create_task(kill(till, killer))
            room = asyncio.Semaphore(AT_ONCE)
            ends = await asyncio.gather(*(charge(backplane, runs[n % RUNS].id, room) for n in range(CALLS)))
            killing.cancel()
            await asyncio.wait([killing])
            for run in runs:
                await run.complete()
        codec = await asyncio.to_thread(connect_codec, settings)
        facts = [fact for run in runs for fact in read_run(settings, codec, run.id, until_ended_s=20.0)]

    settled = {fact.call_id: fact for fact in facts if isinstance(fact, CallEvent) and fact.kind != "CallRequested"}
    escalated = {f.message_id for f in facts if isinstance(f, MessageEvent) and f.kind == "EscalationRaised"}
    done = {end.call_id for end in ends if isinstance(end, CallResult)}
    unknown = {str(end.fields["call_id"]) for end in ends if isinstance(end, OutcomeUnknown)}
    reconciled = {call for call in done if till.asked[call]}
    print(f"{len(killer.hits)} kills: {len(done)} done ({len(reconciled)} settled by asking), {len(unknown)} unknown")
    twice = {call for call, times in till.effects.items() if times > 1}
    assert not twice, [fact for fact in facts if getattr(fact, "call_id", "") in twice]
    assert len(settled) == CALLS
    assert len(done) + len(unknown) == CALLS, [end for end in ends if isinstance(end, CallFailed)]
    assert done <= till.effects.keys()
    assert till.effects.keys() <= done | unknown
    assert all(cannot_tell(call) for call in unknown)
    assert {settled[CallId(call)].event_id for call in unknown} <= escalated
    assert killing.cancelled()
    assert len(killer.hits) >= max(2, CALLS // 200)
    assert reconciled, "no kill met a call: nothing was proved"
