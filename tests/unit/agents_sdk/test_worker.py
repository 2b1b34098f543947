"""One agent in one process: how much it works on at a time, on the ledger's core in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import pytest

from agents_sdk import Agent, CallFailed, Context, Event, Retry
from agents_sdk.core.ids import RunId
from tests.support.inbox_world import WIDTH, Process, World
from tests.support.ledger_desk import EXECUTOR


async def test_handlers_that_wait_for_answers_take_up_no_room() -> None:
    """More of them than there is room for, and then one that does not wait: all are begun, and all end."""
    begun: list[str] = []
    agent = Agent("worker")

    @agent.on("work")
    async def handle(ctx: Context, event: Event) -> None:
        begun.append(ctx.run_id)
        if event.data:
            assert await ctx.ask("expert") == "yes"
        await ctx.state.set("done", True)

    world = World(agent)
    world.desk.register("expert")
    runs = [f"run-{number}" for number in range(2 * WIDTH + 1)]
    for run_id in runs:
        world.put(world.desk.start, run_id=run_id)
        data = "false" if run_id == runs[-1] else "true"
        world.put(world.desk.send, "SendMessage", run_id=run_id, name="work", recipient="worker", data=data)
    process = Process(world)

    async def turns() -> None:
        for _ in range(200):
            process.feed()
            await asyncio.sleep(0)

    try:
        await turns()
        assert sorted(begun) == sorted(runs)
        assert [run for run in runs if "done" in world.desk.book.runs[RunId(run)].state] == runs[-1:]
        for asked in [fact for fact in world.desk.facts if fact.kind == "MessageDelivered"]:
            if asked.recipient == "expert":  # type: ignore[attr-defined]  # the kind says it is a MessageEvent
                world.put(world.desk.within, asked, "CompleteHandler", attempt=1, result='"yes"')
        await turns()
        assert all("done" in world.desk.book.runs[RunId(run)].state for run in runs)
        assert process.worker._lanes.waits == process.worker._lanes.busy == 0
    finally:
        process.kill()


async def played(world: World, until: Callable[[], bool]) -> None:
    """One process works until something is so; it fails after 10 s."""
    process = Process(world)
    try:
        async with asyncio.timeout(10):
            while not until():
                process.feed()
                await asyncio.sleep(0.001)
    finally:
        process.kill()


async def test_a_failed_attempt_is_made_again_when_it_is_due_and_nothing_later_before() -> None:
    """Its wait is on the record; what the same run has for the agent waits behind it, other runs do not."""
    handled: list[tuple[str, str]] = []
    began: list[float] = []
    agent = Agent("worker", retry=Retry(initial_seconds=0.05, factor=1.0, jitter=0.0))

    @agent.on("work")
    async def handle(ctx: Context, event: Event) -> None:
        handled.append((ctx.run_id, event.data))
        if event.data == "first":
            began.append(asyncio.get_running_loop().time())
        if event.data == "first" and handled.count((ctx.run_id, "first")) < 3:
            raise ValueError("not yet")

    world = World(agent)
    for run_id in ("one", "two"):
        world.put(world.desk.start, run_id=run_id)
    for run_id, data in (("one", "first"), ("one", "second"), ("two", "other")):
        world.put(world.desk.send, "SendMessage", run_id=run_id, name="work", recipient="worker", data=f'"{data}"')

    await played(world, lambda: len(world.facts("HandlerCompleted")) == 3)

    assert [data for run_id, data in handled if run_id == "one"] == ["first", "first", "first", "second"]
    assert handled.index(("two", "other")) < 3
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(began))
    again = [fact for fact in world.facts("MessageDelivered") if fact.attempt > 1]
    assert [fact.not_before - fact.at for fact in again] == [50_000, 50_000]
    failed = world.facts("HandlerFailed")
    assert all(
        'raise ValueError("not yet")' in fact.traceback and "agents_sdk/worker.py" not in fact.traceback
        for fact in failed
    )


async def test_whoever_takes_the_inbox_over_waits_as_well() -> None:
    """The first process is killed while it waits; the second makes the attempt, once, when it is due."""
    attempts: list[int] = []
    began: list[float] = []
    agent = Agent("worker", retry=Retry(initial_seconds=0.2, jitter=0.0))

    @agent.on("work")
    async def handle(ctx: Context, event: Event) -> None:
        attempts.append(event.attempt)
        began.append(asyncio.get_running_loop().time())
        if event.attempt == 1:
            raise ValueError("not yet")

    world = World(agent)
    world.put(world.desk.start)
    world.put(world.desk.send, "SendMessage", name="work", recipient="worker", data="1")
    await played(world, lambda: bool(world.facts("HandlerFailed")))
    assert attempts == [1]
    await played(world, lambda: bool(world.facts("HandlerCompleted")))
    assert attempts == [1, 2]
    # what was left of the wait is reckoned by the ledger's clock, which here moves a millisecond with each command
    assert began[1] - began[0] >= 0.15


async def test_a_call_that_failed_is_asked_again_by_the_next_attempt_where_the_author_says_so() -> None:
    """As a call of its own that names the failed one; the calls before and behind it are answered as they were."""
    agent = Agent("worker", retry=Retry(initial_seconds=0))
    seen: list[tuple[str, str]] = []

    @agent.on("work")
    async def handle(ctx: Context, event: Event) -> None:
        first = await ctx.execute("search", {"q": 1})
        with pytest.raises(CallFailed) if event.attempt == 1 else nullcontext():
            second = await ctx.execute("search", {"q": 2}, retry_failed=True)
        if event.attempt == 1:
            await ctx.state.set("before", 1)
            raise ValueError("not yet")
        await ctx.state.set("before", 1)
        seen.append((first.call_id, second.call_id))

    world = World(agent)
    world.put(world.desk.start)
    world.put(world.desk.send, "SendMessage", name="work", recipient="worker", data="1")
    report = '{"action":"wait"}'

    def executed() -> bool:
        calls = world.facts("CallRequested")
        settled = {fact.call_id for fact in world.facts("CallCompleted", "CallFailed")}
        for call in calls:
            if call.call_id in settled:
                continue
            if '"q":2' in call.params and not call.redrive_of:
                outcome = {"error_class": "outage", "error_message": "down", "report": report}
                world.put(world.desk.send, "FailCall", agent=EXECUTOR, call_id=call.call_id, **outcome)
            else:
                world.put(world.desk.send, "CompleteCall", agent=EXECUTOR, call_id=call.call_id, result="1")
        return bool(world.facts("HandlerCompleted"))

    await played(world, executed)

    one, failed, again = world.facts("CallRequested")
    assert seen == [(one.call_id, again.call_id)]
    assert (again.redrive_of, again.redrives) == (failed.call_id, 1)
    assert [fact.call_id for fact in world.facts("CallRedriven")] == [failed.call_id]
    assert len(world.facts("StateWritten")) == 1, "the command behind the call has the id it had"
