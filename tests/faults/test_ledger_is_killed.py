"""Ledgers, executors and agents are killed while forty runs are in flight; the log is as if nobody had been."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Final

import pytest

from backplane.platform.platform import LocalPlatform
from tests.support.chaos.platform import target
from tests.support.chaos.schedule import Killer, plan
from tests.support.chaos.trial import judge, summary, trial
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SEED: Final = int(os.environ.get("SEED", "1"))
KILLS: Final = int(os.environ.get("FAULT_KILLS", "10"))
"""Each part alone, in pairs and together has its turn in ten."""
ASLEEP_S: Final = 8.0
"""Longer than a member's session of 6 s."""
BEFORE_S: Final = 2.0


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """Two ledgers, two executors; what they say stays in the logs of its directory."""
    with target(prepared.copy(tmp_path_factory.mktemp("target"))) as running:
        yield running


async def test_everything_is_killed(killed: LocalPlatform) -> None:
    """SIGKILL of ledgers, executors and agents at seeded moments, alone, together and while they recover: each command
    is applied once, no answer was wrong, no call was executed after its outcome was recorded."""
    print(f"SEED={SEED}")

    async def deeds(killer: Killer) -> None:
        await killer.carry_out(plan(SEED, KILLS))

    outcome = await trial(killed, SEED, deeds)
    print(summary(outcome, SEED))
    judge(outcome)
    assert len(outcome.hits) >= KILLS
    assert len(outcome.result.ended) >= 40


async def test_zombie_is_fenced(killed: LocalPlatform) -> None:
    """A ledger sleeps for longer than its session, while another one takes its partitions over, and wakes in the
    middle of its work: what it still writes does not appear, and what it still answers is right."""

    async def deeds(killer: Killer) -> None:
        for part in ("ledger", "ledger-2"):
            await asyncio.sleep(BEFORE_S)
            async with killer.frozen(part):
                await asyncio.sleep(ASLEEP_S)
            await asyncio.sleep(BEFORE_S)

    outcome = await trial(killed, SEED, deeds)
    print(summary(outcome, SEED))
    judge(outcome)


async def test_broker_is_killed(killed: LocalPlatform) -> None:
    """The broker is killed and comes back with what it had acknowledged: nothing is lost, nothing is there twice."""

    async def deeds(killer: Killer) -> None:
        await asyncio.sleep(BEFORE_S)
        killer.kill("kafka")
        await killer.back("kafka")
        await asyncio.sleep(3 * BEFORE_S)

    outcome = await trial(killed, SEED, deeds)
    print(summary(outcome, SEED))
    judge(outcome)
