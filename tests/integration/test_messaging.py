"""Messages between agents on the real platform: who hears what, in which order, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agents_sdk import (
    Agent,
    AsyncBackplane,
    Backplane,
    Context,
    ContractBroken,
    Event,
    InvalidCommand,
    RequestExpired,
    RequestFailed,
    Settings,
    UnknownAgent,
)
from agents_sdk.core.facts import Fact
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_eventually
from tests.support.live_agents import Process, own, processes, running

pytestmark = pytest.mark.timeout(120)


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
        assert await run.publish("search.web.failed") == 1
        assert await run.publish("image.done") == 0
        assert await run.publish("search.done") == 1
        assert [await soon(heard), await soon(heard)] == [
            ("search.*", "search.web.failed"),
            ("search.done", "search.done"),
        ]
    # another subscription is a wider declaration, which somebody has to grant
    async with running(settings, listening("image.*"), trust=True):
        assert await run.publish("search.done") == 0
        assert await run.publish("image.done") == 1
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
        await run.declare_dependency(sink.name, terms, name="all.there")
        await run.declare_dependency(sink.name, [*terms, "state:no"], trigger_when="any_completed", name="one")
        some = await run.declare_dependency(
            sink.name, [*terms, "state:no"], trigger_when="n_completed", count=2, name="two"
        )
        ended = await run.wait(30)
    assert ended.status == "completed", ended
    assert isinstance(some, bool)
    seen = {name: (data, value) for name, data, value in (triggered.get_nowait() for _ in range(triggered.qsize()))}
    assert seen.pop("search.completed") == (None, 7)
    assert set(seen) == {"all.there", "one", "two"}
    assert seen["all.there"] == ({"depends_on": terms}, 7)
    assert all(value == 7 for _, value in seen.values()), seen


class Question(BaseModel):
    text: str


class Reply(BaseModel):
    length: int
    by: str


async def test_an_agent_asks_another_and_both_have_types(settings: Settings, backplane: AsyncBackplane) -> None:
    """What the handler returns comes back as the type asked for; an answer of another shape names the field."""
    workflow = own("w")
    expert, asker = Agent(own("expert"), workflows=[workflow]), Agent(own("asker"), workflows=[workflow])

    @expert.on("clarify")
    async def clarify(ctx: Context, event: Event) -> Reply:
        assert event.wants_answer
        question = event.data_as(Question)
        await ctx.state.set("asked", question)
        return Reply(length=len(question.text), by=ctx.agent)

    @expert.on("count")
    async def count(ctx: Context, event: Event) -> Any:
        return {"length": "many"}

    @asker.on("run.started")
    async def ask(ctx: Context, event: Event) -> None:
        answer = await ctx.ask(expert.name, Question(text="why?"), name="clarify", type_=Reply)
        with pytest.raises(ContractBroken) as broken:
            await ctx.ask(expert.name, name="count", type_=Reply)
        await ctx.complete_run({"length": answer.length, "by": answer.by, "path": broken.value.fields["path"]})

    async with running(settings, expert, asker):
        run = await backplane.start_run(workflow, complete_when="explicit")
        ended = await run.wait(30)
    assert ended.result == {"length": 4, "by": expert.name, "path": "length"}


async def test_a_client_asks_and_is_told_when_no_answer_comes(settings: Settings, backplane: AsyncBackplane) -> None:
    """A handler that raises, one that is too slow, an agent there is none of; the run lives on."""
    workflow = own("w")
    expert = Agent(own("expert"), workflows=[workflow], max_deliveries=2)
    release = asyncio.Event()

    @expert.on("fail")
    async def fail(ctx: Context, event: Event) -> None:
        raise LookupError("not in the book")

    @expert.on("sleep")
    async def sleep(ctx: Context, event: Event) -> str:
        await release.wait()
        return "late"

    @expert.on("request")
    async def greet(ctx: Context, event: Event) -> str:
        return f"hello {event.data}"

    async with running(settings, expert):
        run = await backplane.start_run(workflow, complete_when="explicit")
        assert await run.ask(expert.name, "you") == "hello you"
        with pytest.raises(RequestFailed, match="LookupError: not in the book") as failed:
            await run.ask(expert.name, name="fail")
        assert failed.value.fields["cause"] == "handler_failed"
        with pytest.raises(RequestExpired) as expired:
            await run.ask(expert.name, name="sleep", timeout=0.5)
        assert (expired.value.fields["agent"], expired.value.fields["name"]) == (expert.name, "sleep")
        assert 500 <= expired.value.fields["waited_ms"] < 5_000
        release.set()  # its answer is too late, and the agent free again
        with Backplane.connect(settings) as blocking:
            assert await asyncio.to_thread(blocking.run(run.id).ask, expert.name, "me") == "hello me"
        with pytest.raises(UnknownAgent):
            await run.ask("nobody")
        await run.complete()
    assert (await run.wait(10)).status == "completed"


async def test_an_agent_that_asks_back_is_refused_instead_of_waiting_for_itself(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """The refusal names the cycle; the one that was asked can still answer otherwise."""
    workflow = own("w")
    first, second = Agent(own("first"), workflows=[workflow]), Agent(own("second"), workflows=[workflow])

    @first.on("run.started")
    async def begin(ctx: Context, event: Event) -> None:
        await ctx.complete_run(await ctx.ask(second.name))

    @second.on("request")
    async def ask_back(ctx: Context, event: Event) -> Any:
        with pytest.raises(InvalidCommand) as refused:
            await ctx.ask(event.sender)
        return refused.value.fields["cycle"]

    async with running(settings, first, second):
        run = await backplane.start_run(workflow, complete_when="explicit")
        assert (await run.wait(30)).result == [second.name, first.name, second.name]


def facts_of(settings: Settings, run_id: str) -> list[Any]:
    """The run's facts, in its order."""
    found: list[Fact] = read_run(settings, connect_codec(settings), run_id)
    return found


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Its process says so; the last attempt that is too slow is a dead letter with its cause."""
    workflow = own("w")
    slow = Agent(own("slow"), workflows=[workflow], max_deliveries=2, handler_timeout_seconds=0.2)
    cancelled: asyncio.Queue[int] = asyncio.Queue()

    @slow.on("run.started")
    async def dawdle(ctx: Context, event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await cancelled.put(event.attempt)

    async with running(settings, slow):
        run = await backplane.start_run(workflow)
        ended = await run.wait(30)
        assert [await soon(cancelled), await soon(cancelled)] == [1, 2]
    assert ended.status == "failed"
    assert "HandlerTimedOut: the handler took longer than 0.2 s" in ended.said
    assert (ended.code, ended.said_by) == ("handler_timeout", slow.name)
    facts = facts_of(settings, run.id)
    assert [(fact.agent, fact.cause) for fact in facts if fact.kind == "HandlerFailed"] == [
        (slow.name, "handler_timeout")
    ] * 2


async def test_a_handler_in_a_process_that_hangs_is_given_up_by_the_ledger(
    settings: Settings, backplane: AsyncBackplane, tmp_path: Path
) -> None:
    """No word from the process: the ledger fails the attempt and delivers again; a new process finishes the run."""
    hung = Process(settings, "stuck", instance="a")
    with processes(hung):
        run = await backplane.start_run("stuck", {"marker": str(tmp_path / "marker")})

        def given_up() -> None:
            facts = facts_of(settings, run.id)
            failed = [(fact.agent, fact.cause) for fact in facts if fact.kind == "HandlerFailed"]
            assert ("bp.ledger", "handler_timeout") in failed
            assert [fact.attempt for fact in facts if fact.kind == "MessageDelivered"][:2] == [1, 2]

        await asyncio.to_thread(assert_eventually, given_up)
        hung.end(signal.SIGKILL)
        with processes(Process(settings, "stuck", instance="a")):
            ended = await run.wait(30)
    assert ended.status == "completed", ended


async def test_deadlines_fire_on_time_and_survive_nobody_listening(
    settings: Settings, backplane: AsyncBackplane, record_property: Any
) -> None:
    """Twenty messages that nobody handles expire at their deadlines, spread over a second, by the broker's clock."""
    absent = Agent(own("absent"))

    @absent.on("go")
    async def never(ctx: Context, event: Event) -> None:
        """Not running when the messages come."""

    async with running(settings, absent):
        pass
    run = await backplane.start_run(own("w"), complete_when="explicit")
    sent = [run.send(absent.name, "go", deadline_seconds=0.5 + number / 20) for number in range(20)]
    await asyncio.gather(*sent)

    def expired() -> list[float]:
        facts = facts_of(settings, run.id)
        due = {fact.delivery_id: fact.deadline_at for fact in facts if fact.kind == "MessageDelivered"}
        letters = [fact for fact in facts if fact.kind == "MessageDeadLettered"]
        assert len(letters) == len(due) == 20
        assert {fact.cause for fact in letters} == {"expired"}
        return sorted((fact.at - due[fact.delivery_id]) / 1_000 for fact in letters)

    late_ms = await asyncio.to_thread(assert_eventually, expired)
    record_property("deadline_late_ms", late_ms)
    print(f"deadlines late by ms: median {late_ms[10]:.0f}, max {late_ms[-1]:.0f}")
    assert late_ms[0] >= 0
    assert late_ms[-1] < 2_000
    await run.complete()


async def test_a_supervisor_is_told_and_puts_the_message_back(settings: Settings, backplane: AsyncBackplane) -> None:
    """It hears who failed on what and why, mends the cause and redrives; the run ends well."""
    workflow = own("w")
    boss = Agent(own("boss"), workflows=[workflow])
    worker = Agent(own("worker"), workflows=[workflow], max_deliveries=2, supervisor=boss.name)
    stories: asyncio.Queue[Any] = asyncio.Queue()

    @worker.on("run.started")
    async def work(ctx: Context, event: Event) -> None:
        if not await ctx.state.get("mended"):
            raise ValueError("broken")

    @boss.on("escalation.raised")
    async def mend(ctx: Context, event: Event) -> None:
        await stories.put(event.data)
        await ctx.state.set("mended", True)
        await ctx.redrive(event.data["delivery_id"])

    async with running(settings, worker, boss):
        run = await backplane.start_run(workflow, {"n": 1})
        ended = await run.wait(30)
        story = await soon(stories)
    assert (ended.status, ended.reason) == ("completed", "idle"), ended
    assert (story["agent"], story["cause"], story["attempts"]) == (worker.name, "handler_failed", 2)
    assert (story["error_type"], story["error_message"], story["data"]) == ("ValueError", "broken", {"n": 1})


async def test_a_subscriber_that_always_raises_ends_its_own_run_alone(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Ten other runs of the same agent, begun before and after, complete."""
    workflow = own("w")
    moody = Agent(own("moody"), workflows=[workflow], max_deliveries=3)

    @moody.on("run.started")
    async def work(ctx: Context, event: Event) -> None:
        if event.data == "bad":
            raise RuntimeError("always")
        await ctx.state.set("done", True)

    async with running(settings, moody):
        runs = [await backplane.start_run(workflow, "bad" if number == 5 else "good") for number in range(11)]
        ends = await asyncio.gather(*(run.wait(30) for run in runs))
    assert [end.status for end in ends] == ["failed" if number == 5 else "completed" for number in range(11)]
    assert "failed 3 times on 'run.started'" in ends[5].reason
    assert (ends[5].code, ends[5].said, ends[5].said_by) == ("handler_failed", "RuntimeError: always", moody.name)


async def test_a_slow_agent_slows_nobody_else(settings: Settings, backplane: AsyncBackplane) -> None:
    """While one agent sits on hundreds of messages, another one that hears the same answers all of them."""
    workflow = own("w")
    slow, quick = Agent(own("slow"), workflows=[workflow]), Agent(own("quick"), workflows=[workflow])
    release, count, done = asyncio.Event(), 300, asyncio.Event()
    handled: list[int] = []

    @slow.on("tick")
    async def wait(ctx: Context, event: Event) -> None:
        await release.wait()

    @quick.on("tick")
    async def note(ctx: Context, event: Event) -> None:
        handled.append(event.data)
        if len(handled) == count:
            done.set()

    async with running(settings, slow, quick):
        run = await backplane.start_run(workflow, complete_when="explicit")
        told = await asyncio.gather(*(run.publish("tick", number) for number in range(count)))
        assert set(told) == {2}
        await asyncio.wait_for(done.wait(), 60)
        assert handled == list(range(count)), "one sender's messages are handled in the order they were sent"
        await run.complete()
        release.set()
