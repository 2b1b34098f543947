"""One agent in one process: how much it works on at a time, on the ledger's core in memory."""

from __future__ import annotations

import asyncio

from agents_sdk import Agent, Context, Event
from tests.support.inbox_world import WIDTH, Process, World


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
        assert [run for run in runs if "done" in world.desk.book.runs[run].state] == runs[-1:]
        for asked in [fact for fact in world.desk.facts if fact.kind == "MessageDelivered"]:
            if asked.recipient == "expert":  # type: ignore[attr-defined]  # the kind says it is a MessageEvent
                world.put(world.desk.within, asked, "CompleteHandler", attempt=1, result='"yes"')
        await turns()
        assert all("done" in world.desk.book.runs[run].state for run in runs)
        assert process.worker._lanes.waits == process.worker._lanes.busy == 0
    finally:
        process.kill()
