"""Code changed while a handler was under way, on the real platform: an agent stops in the middle and comes back with
other code. Its delivery is parked, everybody who has to know is told, and a person decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings, worker
from agents_sdk.agent import OnDivergence
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.dlq.letters import Letter
from backplane.dlq.log import read_letters
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(300)
Step = Callable[[Context], Awaitable[Any]]


@pytest.fixture(autouse=True)
def no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that stops does not wait for its handlers: they are interrupted."""
    monkeypatch.setattr(worker, "DRAIN_S", 0.1)


def agent_of(name: str, step: Step, *, on_divergence: OnDivergence = "park", supervisor: str = "") -> Agent:
    """An agent whose handler of ``go`` does this."""
    agent = Agent(name, on_divergence=on_divergence, supervisor=supervisor)

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        await step(ctx)

    return agent


async def interrupted(settings: Settings, backplane: AsyncBackplane, agent_name: str, first: Step, **more: Any) -> Any:
    """A run whose agent was stopped after its first steps, before its handler ended."""
    reached = asyncio.Event()

    async def stops(ctx: Context) -> None:
        await first(ctx)
        reached.set()
        await asyncio.Event().wait()

    async with running(settings, agent_of(agent_name, stops, **more)):
        run = await backplane.start_run(own("wf"))
        await run.send(agent_name, "go")
        await asyncio.wait_for(reached.wait(), 60)
    return run


def letters_of(settings: Settings, run_id: str) -> list[Letter]:
    codec = connect_codec(settings)
    return [letter for letter in read_letters(settings, codec).letters if letter.run == run_id]


async def parked(settings: Settings, run_id: str) -> Letter:
    """The letter of the run's parked delivery, as soon as there is one."""
    found: list[Letter] = []

    def there() -> None:
        found[:] = letters_of(settings, run_id)
        assert found

    await asyncio.to_thread(assert_eventually, there)
    return found[0]


async def draft(ctx: Context) -> None:
    await ctx.state.set("draft", "first")


async def other_code(ctx: Context) -> None:
    assert await ctx.state.get("config") is None, "the answer of another command"
    await ctx.state.set("wrong", 1)


async def test_other_code_is_parked_and_the_corrected_agent_goes_on(settings: Settings) -> None:
    """A read in the place of a write gets no answer; nothing of that attempt has an effect; then the right code."""
    name = own("changed")

    async def corrected(ctx: Context) -> None:
        await ctx.state.set("draft", "first")
        await ctx.state.set("done", value=True)

    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, draft)
        async with running(settings, agent_of(name, other_code)):
            letter = await parked(settings, run.id)
        assert (letter.parked, letter.cause, letter.agent) == (True, "diverged", name)
        told = letter.difference
        assert (told["agent"], told["handler"], told["attempt"], told["place"]) == (name, "go", 1, "0")
        assert (told["recorded"].split()[:2], told["asked"]) == (["SetState", "draft"], "GetState config")
        async with running(settings, agent_of(name, corrected)):
            await run.redrive(letter.delivery_id)
            ended = await run.wait(60)
        assert ended.status == "completed"
        assert (await run.state.entry("draft")).version == 1, "written once"
        assert await run.state.get("wrong") is None
        assert await asyncio.to_thread(letters_of, settings, run.id) == []


async def test_a_restart_begins_from_nothing(settings: Settings) -> None:
    """The other code is what was meant: it has the answers of its own commands."""
    name = own("restarted")
    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, draft)
        async with running(settings, agent_of(name, other_code)):
            letter = await parked(settings, run.id)
            await run.redrive(letter.delivery_id, restart=True)
            assert (await run.wait(60)).status == "completed"
        assert await run.state.get("wrong") == 1


async def test_an_agent_may_restart_by_itself(settings: Settings) -> None:
    """``on_divergence="restart"``: nobody has to decide, and the facts say that it began again."""
    name = own("itself")
    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, draft, on_divergence="restart")
        async with running(settings, agent_of(name, other_code, on_divergence="restart")):
            assert (await run.wait(60)).status == "completed"
        facts = await asyncio.to_thread(read_run, settings, await asyncio.to_thread(connect_codec, settings), run.id)
        assert [fact.kind for fact in facts].count("MessageRestarted") == 1


async def test_a_failed_one_fails_its_run(settings: Settings) -> None:
    """A person gives it up, and the run says who and why."""
    name = own("failed")
    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, draft)
        async with running(settings, agent_of(name, other_code)):
            letter = await parked(settings, run.id)
            await run.discard(letter.delivery_id, "not worth it")
            ended = await run.wait(60)
        assert (ended.status, ended.code, ended.said) == ("failed", "diverged", "not worth it")


async def test_named_steps_do_not_mind_what_is_inserted_or_moved(settings: Settings) -> None:
    """The second code has a step before and the others in another order; each has its own answer."""
    name = own("named")

    async def before(ctx: Context) -> None:
        await ctx.named("title").state.set("title", "t")
        await ctx.named("draft").state.set("draft", "d")

    async def after(ctx: Context) -> None:
        await ctx.named("config").state.get("config")
        await ctx.named("draft").state.set("draft", "d")
        task = asyncio.create_task(ctx.named("title").state.set("title", "t"))
        assert await task == 1

    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, before)
        async with running(settings, agent_of(name, after)):
            assert (await run.wait(60)).status == "completed"
        assert [listed.version for listed in await run.state.list()] == [1, 1]


async def test_a_removed_step_is_found_when_the_handler_completes(settings: Settings) -> None:
    """What the first code did would stand beside what the second says; so it is parked."""
    name = own("removed")

    async def nothing(ctx: Context) -> None: ...

    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, draft)
        async with running(settings, agent_of(name, nothing)):
            letter = await parked(settings, run.id)
        assert (letter.difference["place"], letter.difference["asked"]) == ("0", "nothing")


async def test_a_divergence_in_a_memory_parks_the_delivery_too(settings: Settings) -> None:
    """A memory lies in another partition, and the process tells the run of it."""
    name, namespace = own("remembering"), own("shelf")

    async def first(ctx: Context) -> None:
        await ctx.memory(namespace).set("k", 1)

    async def second(ctx: Context) -> None:
        await ctx.memory(namespace).set("k", 2)

    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, name, first)
        async with running(settings, agent_of(name, second)):
            letter = await parked(settings, run.id)
        assert letter.difference["memory"] == f"memory/{namespace}"
        assert await backplane.memory(namespace).get("k") == 1


async def test_the_supervisor_is_told_with_the_difference(settings: Settings) -> None:
    """As of any failure: it may decide, too."""
    name, heard = own("watched"), asyncio.Queue[Any]()
    boss = Agent(own("boss"))

    @boss.on("escalation.raised")
    async def raised(ctx: Context, event: Event) -> None:
        heard.put_nowait(event.data)
        await ctx.redrive(event.data["delivery_id"], restart=True)

    async with AsyncBackplane.connect(settings) as backplane, running(settings, boss):
        run = await interrupted(settings, backplane, name, draft, supervisor=boss.name)
        async with running(settings, agent_of(name, other_code, supervisor=boss.name)):
            assert (await run.wait(60)).status == "completed"
    story = heard.get_nowait()
    assert (story["cause"], story["difference"]["asked"]) == ("diverged", "GetState config")
    assert json.dumps(story["words_of"])
