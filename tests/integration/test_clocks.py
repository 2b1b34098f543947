"""Clocks that jump, on the real platform: a typed error or nothing at all, and no effect on other runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings, StaleCommand
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import StateEvent
from agents_sdk.history import read_run
from agents_sdk.keys import Keys
from agents_sdk.signer import Signer
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_soon
from tests.support.ledgers import put
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)
DAY_MS = 86_400_000


@pytest.mark.parametrize("jump_s", [600.0, -600.0])
async def test_an_agent_whose_clock_jumps_loses_nothing_and_harms_nobody(
    settings: Settings, backplane: AsyncBackplane, jump_s: float
) -> None:
    """In the middle of a handler: what it says is refused as stale, its delivery stays open, messages behind it wait;
    another agent goes on. When the clock is right, the handler is run again and everything is done, once, in order."""
    workflow = own("w")
    lost, sound = Agent(own("lost"), workflows=[workflow]), Agent(own("sound"), workflows=[workflow])
    midway, go_on, stale = asyncio.Event(), asyncio.Event(), asyncio.Event()
    jump, skews = 0.0, list[float]()

    @lost.on("step")
    async def step(ctx: Context, event: Event) -> None:
        await ctx.state.set(f"begun.{event.data}", True)
        midway.set()
        await go_on.wait()
        try:
            await ctx.state.set(f"done.{event.data}", True, expected_version=0)
        except StaleCommand as error:
            skews.append(error.fields["skew_us"] / 1e6)
            stale.set()
            raise

    @sound.on("step")
    async def note(ctx: Context, event: Event) -> None:
        await ctx.state.set("sound", event.data)

    async with running(settings, lost) as runner, running(settings, sound):
        assert runner._transport is not None
        codec = runner._transport.codec
        runner._transport.signer = Signer(codec, Keys.of(settings), lambda: time.time() + jump)
        run, other = [await backplane.start_run(workflow, complete_when="explicit") for _ in range(2)]
        for number in range(3):
            await run.send(lost.name, "step", number)
        await asyncio.wait_for(midway.wait(), 30)
        jump = jump_s
        go_on.set()
        await asyncio.wait_for(stale.wait(), 30)
        told = await other.ask(sound.name, 7, name="step")
        assert (told, await other.state.get("sound")) == (None, 7)
        assert await run.state.get("done.0") is None
        assert abs(skews[0] - jump_s) < 60
        jump = 0.0

        async def done() -> None:
            assert await run.state.get("done.2")

        await assert_soon(done, 60)
        await asyncio.gather(run.complete(), other.complete())
    facts = await asyncio.to_thread(read_run, settings, codec, run.id)
    written = [fact.key for fact in facts if isinstance(fact, StateEvent) and fact.kind == "StateWritten"]
    assert written == [f"{what}.{number}" for number in range(3) for what in ("begun", "done")]


async def test_the_time_that_a_producer_gives_its_records_counts_for_nothing(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Ten years ahead, or from 1970: facts have the broker's time, deadlines are counted from that."""
    run = await backplane.start_run(own("w"), complete_when="explicit")
    codec = await asyncio.to_thread(connect_codec, settings)
    signer, scope = Signer(codec, Keys.of(settings)), backplane.scope(run.id)
    records = [
        {
            "key": run.id.encode(),
            "value": signer.encode(scope.command("SetState", StateBody(key="k", value=str(number), ttl_ms=DAY_MS))),
            "timestamp": timestamp,
        }
        for number, timestamp in enumerate((1, int(time.time() * 1000) + 3_650 * DAY_MS))
    ]
    await asyncio.to_thread(put, settings, records)
    await run.state.set("k", 2)
    await run.complete()
    facts = [
        fact
        for fact in await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10)
        if fact.kind in ("RunStarted", "StateWritten", "RunCompleted")
    ]
    times = [fact.at for fact in facts]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60_000_000
    written = [fact for fact in facts if isinstance(fact, StateEvent)]
    assert [fact.value for fact in written] == ["0", "1", "2"]
    assert [fact.expires_at - fact.at for fact in written[:2]] == [DAY_MS * 1_000] * 2
