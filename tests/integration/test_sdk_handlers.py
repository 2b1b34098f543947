"""Handlers on the real platform: what becomes of a delivery that fails, is not understood, or was settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from agents_sdk import (
    Agent,
    AsyncBackplane,
    Context,
    Event,
    InvalidCommand,
    Settings,
)
from agents_sdk.context import HandlerStopped
from agents_sdk.core.commands import HandlerBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.errors import DeliverySettled
from agents_sdk.history import read_run
from agents_sdk.scope import Scope
from agents_sdk.topics import MESSAGES, dead_letter, inbox
from agents_sdk.wire.headers import read_dead_letter
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(300)


async def test_deliveries_of_a_run_are_handled_in_order_and_runs_side_by_side(settings: Settings) -> None:
    """One agent, many runs: order within, concurrency over."""
    agent = Agent(own("orderly"))
    handled: dict[str, list[int]] = {}
    busy: set[str] = set()
    most = 0

    @agent.on("number")
    async def number(ctx: Context, event: Event) -> None:
        nonlocal most
        assert ctx.run_id not in busy
        busy.add(ctx.run_id)
        most = max(most, len(busy))
        await asyncio.sleep(0.001)
        handled.setdefault(ctx.run_id, []).append(event.data)
        await ctx.state.set("last", event.data)
        busy.discard(ctx.run_id)

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        runs = [await backplane.start_run(own("wf"), complete_when="explicit") for _ in range(12)]
        for value in range(20):
            await asyncio.gather(*(run.send(agent.name, "number", value) for run in runs))
        await _until(lambda: all(len(handled.get(run.id, ())) == 20 for run in runs))
        await asyncio.gather(*(run.complete() for run in runs))

    assert all(values == list(range(20)) for values in handled.values())
    assert most > 1


async def test_failing_handler_is_retried_and_then_ends_the_run_with_its_error(settings: Settings) -> None:
    """max_deliveries attempts, the cause in the reason, nothing silent."""
    agent = Agent(own("failing"), max_deliveries=2)
    attempts = []

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        attempts.append(event.attempt)
        await ctx.state.set("tried", value=True)
        raise LookupError("the shelf is empty")

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"))
        await run.send(agent.name, "go")
        ended = await run.wait(30)

        assert ended.status == "failed"
        assert "LookupError: the shelf is empty" in ended.said
        assert attempts == [1, 2]
        assert (await run.state.entry("tried")).version == 1, "the second attempt got the first one's answer"


async def test_message_that_this_version_does_not_handle_is_reported(settings: Settings) -> None:
    """An agent that lost a handler in an upgrade does not swallow what is on its way."""
    name = own("upgraded")
    old, new = Agent(name, max_deliveries=1), Agent(name, max_deliveries=1)

    async def handle(ctx: Context, event: Event) -> None: ...

    old.on("old.name")(handle)
    new.on("new.name")(handle)
    async with AsyncBackplane.connect(settings) as backplane:
        async with running(settings, old):
            pass
        run = await backplane.start_run(own("wf"))
        await run.send(name, "old.name")
        async with running(settings, new):
            ended = await run.wait(30)

    assert ended.status == "failed"
    assert "UnknownMessage" in ended.said
    assert "it handles new.name" in ended.said


async def test_settled_delivery_is_refused_and_stops_the_handler(settings: Settings) -> None:
    """A second handling, by a process that was thought dead, can do nothing more."""
    agent = Agent(own("twice"))
    contexts: list[Context] = []

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        contexts.append(ctx)
        await ctx.state.set("k", 1)

    async with running(settings, agent) as runner, AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), complete_when="explicit")
        await run.send(agent.name, "go")
        await _until(lambda: bool(contexts))
        await run.state.get("k")
        delivered = await asyncio.to_thread(_delivery, settings, run.id)
        assert runner._transport is not None
        late = Context(runner._transport, agent.name, delivered)
        await _settled(backplane, delivered)

        with pytest.raises(HandlerStopped):
            await late.state.set("k", 2)
        await run.complete()


async def _settled(backplane: AsyncBackplane, delivered: MessageEvent) -> None:
    """Returns when the ledger has the delivery as handled."""
    scope = Scope(
        backplane.transport,
        delivered.run_id,
        delivered.recipient,
        correlation_id=delivered.correlation_id,
        delivery_id=delivered.delivery_id,
    )

    async def refused_as_settled() -> None:
        try:
            # of attempt 0, which there never is: it changes nothing
            await scope.ask("FailHandler", HandlerBody(attempt=0, error_type="Test"))
        except DeliverySettled:
            return
        except InvalidCommand as open_yet:
            raise AssertionError from open_yet

    await assert_soon(refused_as_settled, 60)


def _delivery(settings: Settings, run_id: str) -> MessageEvent:
    def found() -> MessageEvent:
        facts = read_run(settings, connect_codec(settings), run_id, (MESSAGES,))
        delivered = [fact for fact in facts if fact.kind == "MessageDelivered"]
        assert delivered
        assert isinstance(delivered[0], MessageEvent)
        return delivered[0]

    return assert_eventually(found)


async def test_undecodable_record_in_an_inbox_is_a_dead_letter_and_stops_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes and key as they were, the cause in the headers, the next delivery handled."""
    caplog.set_level(logging.CRITICAL, logger="backplane.agents")
    agent = Agent(own("poisoned"))
    handled = asyncio.Event()

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        handled.set()

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        producer = Producer(settings.kafka)
        for partition in range(settings.topics.partitions):
            producer.produce(inbox(agent.name), b"\xffnonsense", b"some-key", partition, headers=[("mine", b"1")])
        producer.flush()
        run = await backplane.start_run(own("wf"))
        await run.send(agent.name, "go")
        await asyncio.wait_for(handled.wait(), 20)
        assert (await run.wait(20)).status == "completed"
        letters = await asyncio.to_thread(_letters, settings, inbox(agent.name), settings.topics.partitions)

    for message in letters:
        letter = read_dead_letter(message.headers())
        assert letter is not None
        assert (message.key(), message.value()) == (b"some-key", b"\xffnonsense")
        assert letter.stage == "decode"
        assert letter.group == f"bp.agent.{agent.name}"
        assert ("mine", b"1") in message.headers()


def _letters(settings: Settings, topic: str, count: int) -> list[Any]:
    """The dead letters that came from a topic, once there are ``count`` of them."""
    found: list[Any] = []
    consumer = Consumer({**settings.kafka, "group.id": own("letters"), "auto.offset.reset": "earliest"})
    consumer.subscribe([dead_letter(topic)])

    def all_there() -> None:
        for message in consumer.consume(100, 0.2):
            letter = read_dead_letter(message.headers()) if message.error() is None else None
            if letter is not None and letter.topic == topic:
                found.append(message)
        assert len(found) == count

    try:
        assert_eventually(all_there)
    finally:
        consumer.close()
    return found


async def _until(check: Callable[[], bool]) -> None:
    async def holds() -> None:
        assert check()

    await assert_soon(holds, 30)
