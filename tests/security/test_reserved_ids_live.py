"""An agent that works ids out beforehand, on a real platform: it holds up nobody's handler and nobody's resumption."""

from __future__ import annotations

import asyncio
import itertools

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.core import ids
from agents_sdk.core.commands import MessageBody, RunBody, StateBody
from agents_sdk.core.facts import MessageEvent, RefusalEvent
from agents_sdk.history import read_run
from agents_sdk.resume import resumed_as
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_soon
from tests.support.live_agents import own, running

PLACES = [f"{n}" for n in range(8)] + [f"{word}/{n}" for word in ("complete", "fail", "start") for n in (1, 2)]
"""The places in the order of a handler's calls, and what is said of its attempts."""


async def test_who_knows_a_delivery_does_not_know_the_ids_of_its_handler(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """The attacker takes part, has worked out the id of the delivery, and uses up all that would follow from it."""
    workflow = own("reserved")
    victim = Agent(own("victim"), workflows=[workflow], writes=["done"], reads=["done"], publishes=["*"])
    attacker = Agent(own("attacker"), workflows=[workflow], writes=["taken/*"], publishes=["*"])
    gate = asyncio.Event()

    @victim.on("work.given")
    async def work(ctx: Context, event: Event) -> None:
        await gate.wait()
        await ctx.state.set("done", 1)
        await ctx.publish("work.done", {})

    @attacker.on("work.done")
    async def idle(ctx: Context, event: Event) -> None:
        pass

    async with running(settings, victim, attacker, trust=True) as runner:
        run = await backplane.start_run(workflow, complete_when="explicit")
        scope = backplane.scope(run.id)
        scope.agent = attacker.name
        command = scope.command("Publish", MessageBody(name="work.given", data="{}"))
        await scope.sent(command)
        codec = connect_codec(settings)

        async def delivered() -> MessageEvent:
            facts = await asyncio.to_thread(read_run, settings, codec, run.id)
            found = [f for f in facts if isinstance(f, MessageEvent) and f.kind == "MessageDelivered"]
            assert found
            return found[0]

        delivery = await assert_soon(delivered, 20)
        assert delivery.delivery_id == ids.derive(command.command_id, f"{run.id}/{delivery.run_seq}")
        for number, place in enumerate(PLACES):
            body = StateBody(key=f"taken/{number}", value="1")
            await scope.sent(scope.command("SetState", body, ids.derive(delivery.delivery_id, place)))
        gate.set()

        async def done() -> None:
            assert await run.state.get("done") == 1
            facts = await asyncio.to_thread(read_run, settings, codec, run.id)
            assert [fact.kind for fact in facts].count("HandlerCompleted") == 2
            assert [fact for fact in facts if isinstance(fact, RefusalEvent) and fact.agent == victim.name] == []

        await assert_soon(done, 30)
        assert runner.agents
        await run.complete()


async def test_a_run_is_resumed_though_another_run_has_the_id_that_follows(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Whoever may start runs of any kind may give them any id: such a run is passed over."""
    run = await backplane.start_run(own("ended"), complete_when="explicit", state={"a": 1})
    await run.fail("no reason")
    for number in itertools.islice(itertools.count(), 2):
        scope = backplane.scope(resumed_as(run.id, number))
        await scope.sent(scope.command("StartRun", RunBody(workflow=own("squatter"), complete_when="explicit")))
    resumed = await backplane.resume_run(run.id)
    assert resumed.id == resumed_as(run.id, 2)
    assert await resumed.state.get("a") == 1
    async with AsyncBackplane.connect(settings, name=own("another")) as other:
        assert (await other.resume_run(run.id)).id == resumed.id
    await resumed.complete()
