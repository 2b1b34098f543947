"""The end of a run reaches what it left open, on the real platform: handlers, queued deliveries and calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event
from agents_sdk.core.facts import MessageEvent
from agents_sdk.history import read_run
from agents_sdk.topics import MESSAGES
from agents_sdk.wire.registry import connect_codec
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)


async def test_cancelling_a_run_stops_its_handler_and_drops_what_is_queued(
    platform: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """``finally`` runs, nothing is reported as a failure, what waited in the lane never starts, and the agent goes on
    with its other runs."""
    flow = own("sleeper")
    sleeper = Agent(flow, workflows=[flow])
    begun, ended = asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    @sleeper.on("run.started")
    async def sleep(ctx: Context, event: Event) -> None:
        handled.append("run.started")
        if event.data == "quick":
            return
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    @sleeper.on("more")
    async def more(ctx: Context, event: Event) -> None:
        handled.append("more")

    async with AsyncBackplane.connect(platform.settings) as backplane, running(platform.settings, sleeper):
        run = await backplane.start_run(flow)
        await run.send(flow, "more")
        await asyncio.wait_for(begun.wait(), 30)
        await run.cancel("no longer needed")
        await asyncio.wait_for(ended.wait(), 30)
        quick = await backplane.start_run(flow, "quick")
        assert (await quick.wait(30)).status == "completed"

    assert handled == ["run.started", "run.started"]
    assert "failed" not in caplog.text
    facts = await asyncio.to_thread(read_run, platform.settings, connect_codec(platform.settings), run.id, (MESSAGES,))
    told = [fact.name for fact in facts if isinstance(fact, MessageEvent) and fact.kind == "DeliveryCancelled"]
    assert sorted(told) == ["more", "run.started"]


async def test_a_parents_end_stops_the_handlers_of_its_children(platform: Any) -> None:
    """Two levels down, by the deadline of the root."""
    flow = own("deep")
    deep = Agent(flow, workflows=[flow])
    levels: list[int] = []
    stopped: list[int] = []
    all_stopped = asyncio.Event()

    @deep.on("run.started")
    async def descend(ctx: Context, event: Event) -> None:
        levels.append(event.data)
        try:
            if event.data < 2:
                await (await ctx.start_run(flow, event.data + 1))
            await asyncio.Event().wait()
        finally:
            stopped.append(event.data)
            if len(stopped) == 3:
                all_stopped.set()

    async with AsyncBackplane.connect(platform.settings) as backplane, running(platform.settings, deep):
        run = await backplane.start_run(flow, 0, deadline_seconds=2)
        result = await run.wait(30)
        await asyncio.wait_for(all_stopped.wait(), 30)
    assert (result.status, sorted(levels), sorted(stopped)) == ("failed", [0, 1, 2], [0, 1, 2])
