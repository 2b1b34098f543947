"""Ledgers are killed while parents in some partitions start, hear of and outlive children in others."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane, ChildCancelled, UnknownRun
from agents_sdk.child import Child
from agents_sdk.core.facts import RunEvent
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.partition import partition_of
from agents_sdk.run import AsyncRun
from agents_sdk.topics import RUNS
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.support.chaos import log
from tests.support.chaos.platform import LEDGERS
from tests.support.chaos.schedule import Killer
from tests.support.eventually import assert_soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SEED: Final = int(os.environ.get("SEED", "1"))
WORKFLOW: Final = "family"
FAMILIES: Final = 30
CHILDREN: Final = 5
KILLS: Final = 8
SHOT_EVERY_S: Final = (0.5, 2.0)


async def family(backplane: AsyncBackplane, chance: random.Random) -> None:
    """A parent and its children: some complete and are heard of, some have children, and the parent ends before others
    do. Every answer is asked for until it is there."""
    run = await backplane.start_run(WORKFLOW, complete_when="explicit")
    children: list[Child] = []
    for _ in range(CHILDREN):
        await asyncio.sleep(chance.uniform(0, 0.8))
        children.append(await run.start_run(WORKFLOW, complete_when="explicit"))
    for number, child in enumerate(children):
        of_its_own = backplane.run(child.id)
        await assert_soon(lambda of_its_own=of_its_own: known(of_its_own), 120)  # type: ignore[misc]
        await asyncio.sleep(chance.uniform(0, 0.5))
        if number % 3 == 0:
            await of_its_own.complete(number)
            assert (await child.wait(120)).result == number
        elif number % 3 == 1:
            await of_its_own.start_run(WORKFLOW, complete_when="explicit")
        else:
            await child.cancel("not needed")
            with pytest.raises(ChildCancelled):
                await child.wait(120)
    await asyncio.sleep(chance.uniform(0, 0.5))
    await (run.fail("over") if chance.random() < 0.5 else run.complete())


async def known(run: AsyncRun) -> None:
    try:
        await run.state.list()
    except UnknownRun as unknown:
        raise AssertionError from unknown


def persistent(backplane: AsyncBackplane) -> None:
    """Answers may take as long as a takeover, and longer on a busy machine."""
    transport = backplane.transport
    request = transport.request

    async def patient(command: Any, timeout: float | None, **options: Any) -> Any:
        return await request(command, timeout and max(timeout, 120.0), **options)

    transport.request = patient  # type: ignore[method-assign]  # every command passes here


async def kill(killer: Killer, chance: random.Random) -> None:
    for _ in range(KILLS):
        victim = chance.choice(LEDGERS)
        await killer.back(victim)
        await asyncio.sleep(chance.uniform(*SHOT_EVERY_S))
        killer.kill(victim)


async def test_each_child_starts_once_is_reported_once_and_does_not_outlive_its_parent(platform: LocalPlatform) -> None:
    """Whatever is killed in between: one start, one report to a parent that goes on, and nobody is left alive."""
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    killer = Killer(platform, {})
    async with AsyncBackplane.connect(platform.settings, name="kin") as backplane:
        persistent(backplane)
        async with asyncio.TaskGroup() as group:
            group.create_task(kill(killer, chance))
            for number in range(FAMILIES):
                group.create_task(family(backplane, random.Random(f"{SEED}/{number}")))
        assert len(killer.hits) == KILLS
        await assert_soon(lambda: judged(platform), 120)


async def judged(platform: LocalPlatform) -> None:
    await asyncio.to_thread(judge, platform)


def judge(platform: LocalPlatform) -> None:
    """Raises what is wrong with the families in the log as it is now."""
    codec = connect_codec(platform.settings)
    facts = [codec.decode(one.value) for one in log.read(platform.settings, [RUNS])]
    of_families = {fact.run_id for fact in facts if isinstance(fact, RunEvent) and fact.workflow == WORKFLOW}
    runs = [fact for fact in facts if isinstance(fact, RunEvent) and fact.run_id in of_families]
    wanted = {fact.child_run_id: fact.run_id for fact in runs if fact.kind == "ChildStarted"}
    starts = Counter(fact.run_id for fact in runs if fact.kind == "RunStarted")
    ends = {fact.run_id: fact.kind for fact in runs if fact.kind in RUN_ENDS}
    reports = Counter(fact.child_run_id for fact in runs if fact.kind == "ChildEnded")

    assert len(wanted) >= FAMILIES * CHILDREN
    assert set(starts.values()) == {1}
    assert starts.keys() == ends.keys(), "somebody is left alive"
    assert wanted.keys() <= starts.keys()
    assert set(reports.values()) == {1}
    assert {
        fact.run_id: fact.parent_run_id for fact in runs if fact.kind == "RunStarted" and fact.parent_run_id
    } == wanted
    count = platform.settings.topics.partitions
    crossing = sum(partition_of(child, count) != partition_of(parent, count) for child, parent in wanted.items())
    assert crossing > len(wanted) / 2
    print(f"{len(starts)} runs, {len(wanted)} children, {crossing} elsewhere, {len(reports)} reports")
