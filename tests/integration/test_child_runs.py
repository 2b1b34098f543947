"""Child runs on the real platform, over its partitions: work goes down, results come up, cancelling goes down."""

from __future__ import annotations

import asyncio

import pytest

from agents_sdk import (
    Agent,
    AsyncBackplane,
    Backplane,
    ChildCancelled,
    ChildFailed,
    Context,
    Event,
    RunExists,
    RunFinished,
    Settings,
    UnknownRun,
)
from agents_sdk.core.facts import RunEvent
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.replay.recorded import replay_run
from tests.support.eventually import assert_soon
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(300)


def family(settings: Settings, run_id: str) -> list[RunEvent]:
    """The run's facts about itself and its children."""
    facts = read_run(settings, connect_codec(settings), run_id)
    return [fact for fact in facts if isinstance(fact, RunEvent)]


async def known(backplane: AsyncBackplane, run_id: str) -> None:
    """Its own partition knows the run: a moment after its parent's does."""
    try:
        await backplane.run(run_id).state.list()
    except UnknownRun as unknown:
        raise AssertionError(f"{run_id} is not known yet") from unknown


async def test_a_handler_delegates_and_combines_what_comes_back(settings: Settings, backplane: AsyncBackplane) -> None:
    """Five children side by side, in whatever partitions, give their results to the one handler that awaits them; the
    tree is one, and replays identically."""
    boss, worker = Agent(own("boss"), workflows=[own("boss")]), Agent(own("worker"), workflows=[own("worker")])
    boss_flow, worker_flow = boss.workflows[0], worker.workflows[0]

    @boss.on("run.started")
    async def delegate(ctx: Context, event: Event) -> None:
        children = [await ctx.start_run(worker_flow, number, complete_when="explicit") for number in range(5)]
        results = await ctx.gather(*children)
        await ctx.complete_run([result.result for result in results])

    @worker.on("run.started")
    async def square(ctx: Context, event: Event) -> None:
        await ctx.complete_run(event.data**2)

    async with running(settings, boss, worker):
        run = await backplane.start_run(boss_flow, complete_when="explicit")
        ended = await run.wait(60)

    assert (ended.status, ended.result) == ("completed", [0, 1, 4, 9, 16])
    facts = await asyncio.to_thread(family, settings, run.id)
    children = [fact.child_run_id for fact in facts if fact.kind == "ChildStarted"]
    assert sorted(fact.child_run_id for fact in facts if fact.kind == "ChildEnded") == sorted(children)
    codec = connect_codec(settings)
    for run_id in (run.id, *children):
        assert (await asyncio.to_thread(replay_run, settings, codec, run_id)).identical
    for child in children:
        first = (await asyncio.to_thread(family, settings, child))[0]
        assert (first.parent_run_id, first.root_run_id, first.correlation_id) == (run.id, run.id, run.id)


async def test_a_child_that_fails_or_is_cancelled_is_the_handlers_to_judge(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """The error says which run and why; the parent goes on."""
    flow = own("judge")
    judge = Agent(flow, workflows=[flow])

    @judge.on("run.started")
    async def decide(ctx: Context, event: Event) -> None:
        failing = await ctx.start_run(own("nobody"), complete_when="explicit", deadline_seconds=0.2)
        seen = []
        try:
            await failing
        except ChildFailed as failed:
            seen.append([failed.fields["run_id"] == failing.id, failed.fields["status"], failed.fields["reason"]])
        stopped = await ctx.start_run(own("nobody"), complete_when="explicit")
        await stopped.cancel("enough")
        try:
            await stopped.wait()
        except ChildCancelled as cancelled:
            seen.append([cancelled.fields["run_id"] == stopped.id, "cancelled", cancelled.said])
        await ctx.complete_run(seen)

    async with running(settings, judge):
        ended = await (await backplane.start_run(flow, complete_when="explicit")).wait(60)
    assert ended.result == [[True, "failed", "the deadline of the run has passed"], [True, "cancelled", "enough"]]


async def test_a_client_starts_a_child_which_ends_with_its_parent(backplane: AsyncBackplane) -> None:
    """Grandchildren too; whoever still waits for a child of an ended parent is told."""
    run = await backplane.start_run(own("nobody"), complete_when="explicit")
    child = await run.start_run(own("nobody"), complete_when="explicit")
    await assert_soon(lambda: known(backplane, child.id))
    grandchild = await backplane.run(child.id).start_run(own("nobody"), complete_when="explicit")
    with pytest.raises(RunExists):
        await run.start_run("w", run_id=child.id)
    waiting = asyncio.ensure_future(child.wait(30))
    await asyncio.sleep(0)
    await run.cancel("no longer needed")
    with pytest.raises(RunFinished):
        await waiting
    for orphan in (child.id, grandchild.id):
        ended = await backplane.run(orphan).wait(30)
        assert (ended.status, ended.reason) == ("cancelled", "its parent ended first: RunCancelled")


def test_the_blocking_face_has_children_too(settings: Settings) -> None:
    """Started, cancelled, and waited for."""
    with Backplane.connect(settings) as backplane:
        run = backplane.start_run(own("nobody"), complete_when="explicit")
        child = run.start_run(own("nobody"), complete_when="explicit")
        child.cancel("enough")
        with pytest.raises(ChildCancelled, match="enough"):
            child.wait(30)
        run.cancel()


async def test_more_handlers_wait_for_children_of_their_own_agent_than_it_has_room_for(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Twenty parents, two at a time, each child handled by the same agent in the same process, and grandchildren."""
    name, workflow = own("nested"), own("w")
    nested = Agent(name, workflows=[workflow])

    @nested.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        depth: int = event.data
        below = 0
        if depth:
            child = await ctx.start_run(workflow, depth - 1)
            below = (await child).result
        await ctx.complete_run(below + 1)

    async with running(settings, nested, concurrency=2):
        runs = await asyncio.gather(*(backplane.start_run(workflow, 2, complete_when="explicit") for _ in range(20)))
        ends = await asyncio.gather(*(run.wait(60) for run in runs))
    assert [end.result for end in ends] == [3] * 20
