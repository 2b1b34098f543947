"""An asker that waits no longer, on the real platform."""

from __future__ import annotations

import asyncio

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)


async def test_an_asker_that_gave_up_by_a_limit_of_its_own_can_be_asked(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """It has said nothing since: that it waits no longer is told the ledger by itself."""
    workflow = own("w")
    first, second = Agent(own("first"), workflows=[workflow]), Agent(own("second"), workflows=[workflow])
    given_up, asked_back = asyncio.Event(), asyncio.Event()

    @first.on("run.started")
    async def begin(ctx: Context, event: Event) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ctx.ask(second.name, timeout=None), 0.5)
        given_up.set()
        await asked_back.wait()

    @first.on("name")
    async def name(ctx: Context, event: Event) -> str:
        return "first"

    @second.on("request")
    async def ask_back(ctx: Context, event: Event) -> None:
        async def behind() -> None:
            await ctx.state.set("asked", True)  # answered once the question is decided, in the order of the run
            asked_back.set()

        await given_up.wait()
        answer, _ = await ctx.gather(ctx.ask(event.sender, name="name"), behind())
        await ctx.state.set("answer", answer)

    async with running(settings, first, second):
        run = await backplane.start_run(workflow)
        assert (await run.wait(60)).status == "completed"
    kinds = [fact.kind for fact in await asyncio.to_thread(read_run, settings, connect_codec(settings), run.id)]
    assert kinds.count("RequestWithdrawn") == 1
    assert await run.state.get("answer") == "first"
