"""Messages between agents on the real platform: who hears what, in which order, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def settings(platform: Any) -> Settings:
    """The running platform's."""
    found: Settings = platform.settings
    return found


@pytest.fixture
async def backplane(settings: Settings) -> AsyncIterator[AsyncBackplane]:
    """An open connection."""
    async with AsyncBackplane.connect(settings, name="tester") as opened:
        yield opened


async def soon(queue: asyncio.Queue[Any]) -> Any:
    """The next thing that a handler put in the queue."""
    return await asyncio.wait_for(queue.get(), 30)


async def test_subscriptions_change_while_a_run_is_under_way(settings: Settings, backplane: AsyncBackplane) -> None:
    """An agent that comes back with another pattern hears what is published from then on, in runs begun before."""
    name, workflow = own("hearing"), own("w")
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def listening(*patterns: str) -> Agent:
        agent = Agent(name, workflows=[workflow])
        for pattern in patterns:

            async def note(ctx: Context, event: Event, pattern: str = pattern) -> None:
                await heard.put((pattern, event.name))

            agent.on(pattern)(note)
        return agent

    run = await backplane.start_run(workflow, complete_when="explicit")
    async with running(settings, listening("search.*", "search.done")):
        assert await backplane.comms.publish("search.web.failed", run=run) == 1
        assert await backplane.comms.publish("image.done", run=run) == 0
        assert await backplane.comms.publish("search.done", run=run) == 1
        assert [await soon(heard), await soon(heard)] == [
            ("search.*", "search.web.failed"),
            ("search.done", "search.done"),
        ]
    async with running(settings, listening("image.*")):
        assert await backplane.comms.publish("search.done", run=run) == 0
        assert await backplane.comms.publish("image.done", run=run) == 1
        assert await soon(heard) == ("image.*", "image.done")
    await run.complete()


async def test_dependencies_on_agents_events_and_keys(settings: Settings, backplane: AsyncBackplane) -> None:
    """Whoever is triggered reads what it waited for; two of three are enough where two were asked for."""
    workflow = own("w")
    source, sink = Agent(own("source"), workflows=[workflow]), Agent(own("sink"), workflows=[workflow])
    triggered: asyncio.Queue[tuple[str, Any, Any]] = asyncio.Queue()

    @source.on("run.started")
    async def work(ctx: Context, event: Event) -> None:
        await ctx.state.set("findings", 7)
        await ctx.publish("search.completed")

    @sink.on("*")
    async def read(ctx: Context, event: Event) -> None:
        if event.name != "run.started":
            await triggered.put((event.name, event.data, await ctx.state.get("findings")))

    terms = [source.name, "event:search.completed", "state:findings"]
    async with running(settings, source, sink):
        run = await backplane.start_run(workflow)
        comms = backplane.comms
        await comms.declare_dependency(sink.name, terms, run=run, name="all.there")
        await comms.declare_dependency(
            sink.name, [*terms, "state:no"], trigger_when="any_completed", run=run, name="one"
        )
        some = await comms.declare_dependency(
            sink.name, [*terms, "state:no"], trigger_when="n_completed", count=2, run=run, name="two"
        )
        ended = await run.wait(30)
    assert ended.status == "completed", ended
    assert isinstance(some, bool)
    seen = {name: (data, value) for name, data, value in (triggered.get_nowait() for _ in range(triggered.qsize()))}
    assert seen.pop("search.completed") == (None, 7)
    assert set(seen) == {"all.there", "one", "two"}
    assert seen["all.there"] == ({"depends_on": terms, "met": terms}, 7)
    assert all(value == 7 for _, value in seen.values()), seen
