"""Whatever a handler does and whatever the ledger says, each message comes to an end, and no process does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from agents_sdk import Agent, Context, Event, worker
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.errors import InvalidCommand
from tests.support.inbox_world import Process, World
from tests.support.message_ends import unended

TURNS = 400


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """What these errors say is no text, and test reports travel between processes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Unsayable(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Outside(BaseException):
    """No Exception."""


def exiting() -> None:
    """As a script would."""
    raise SystemExit(3)


def raising(error: BaseException) -> Callable[[], None]:
    """Raises it."""

    def run() -> None:
        raise error

    return run


class Checked(Process):
    """Refuses what cannot be encoded, as the real transport does; and may be told what to answer."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.answers: list[Reply] = []
        self.buried: list[str] = []

    async def request(self, command: Command, timeout: float | None) -> Reply:
        try:
            msgspec.json.encode(command)
        except ValueError as error:
            raise InvalidCommand(f"cannot be encoded: {error}", field="") from error
        if self.answers and command.kind == "CompleteHandler":
            return msgspec.structs.replace(self.answers.pop(0), command_id=command.command_id)
        return await super().request(command, timeout)

    async def write(self, topic: str, key: Any, value: Any, headers: Any) -> None:
        """The transport's, of dead letters."""
        self.buried.append(topic)


async def handled(agent: Agent, *, answers: tuple[Reply, ...] = (), foreign: bool = False) -> tuple[World, Checked]:
    """Two messages to the agent, the second of which is harmless; when both have ended."""
    world = World(agent)
    world.desk.register("boss")
    world.put(world.desk.start, rules=1)
    for number in range(2):
        world.put(world.desk.send, "SendMessage", name="work", recipient=agent.name, data=str(number))
    process = Checked(world)
    process.answers = list(answers)
    if foreign:
        made = world.inbox[0]
        world.inbox.insert(0, msgspec.structs.replace(made, delivery_id="nobody's", event_id="nobody's"))
        process.memory.end = len(world.inbox)
    for _ in range(TURNS):
        process.feed()
        await asyncio.sleep(0)
    pending = world.desk.book.runs[RunId("r")].pending.get(agent.name) if "r" in world.desk.book.runs else 0
    assert not pending
    assert process.memory.tracker.unfinished == 0
    process.kill()
    return world, process


def working(act: Callable[[], None], *, gathered: bool = False) -> Agent:
    """An agent that does so with its first message; its failures are its supervisor's."""
    agent = Agent("worker", max_deliveries=1, supervisor="boss")

    async def first(ctx: Context) -> None:
        act()

    @agent.on("work")
    async def handle(ctx: Context, event: Event) -> None:
        if event.data == 0:
            await (ctx.gather(first(ctx), first(ctx)) if gathered else first(ctx))

    return agent


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize(
    "act",
    [
        raising(ValueError("\ud800 is no text")),
        raising(Unsayable()),
        raising(Outside()),
        raising(ValueError("x" * 3_000_000)),
        raising(ValueError("\udfff" * 3_000_000)),
        exiting,
    ],
)
async def test_a_handler_may_raise_what_it_likes(act: Callable[[], None], gathered: bool) -> None:
    """Its message is a dead letter, the next one is handled, and the process goes on."""
    world, _ = await handled(working(act, gathered=gathered))

    assert [fact.data for fact in world.facts("MessageDelivered") if fact.recipient == "worker"] == ["0", "1"]
    assert len(world.facts("MessageDeadLettered")) == len(world.facts("HandlerCompleted")) == 1
    assert unended(world.desk.facts) == []


def refused(code: str) -> Reply:
    """What the ledger may say without it being the end of the delivery."""
    return Reply(command_id=CommandId(""), reply_to="", status="refused", code=code, message=code)


@pytest.mark.parametrize("code", ["overloaded", "internal_error", "forged", "stale", "a code of tomorrow"])
async def test_what_the_ledger_does_not_take_yet_is_said_again(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the message would be passed over: neither handled nor a dead letter."""
    monkeypatch.setattr(worker, "TELL_AGAIN_S", 0.0)

    world, _ = await handled(working(lambda: None), answers=(refused(code), refused(code), refused(code)))

    assert len(world.facts("HandlerCompleted")) == 2


async def test_an_end_that_the_ledger_does_not_take_fails_the_attempt() -> None:
    """A result that it cannot keep, say: the message is a dead letter, not open for ever."""
    world, _ = await handled(working(lambda: None), answers=(refused("oversize"),))

    assert [fact.error_type for fact in world.facts("HandlerFailed")] == ["Oversize"]
    assert len(world.facts("MessageDeadLettered")) == len(world.facts("HandlerCompleted")) == 1


async def test_a_delivery_that_the_ledger_does_not_know_is_buried_and_holds_nothing_up() -> None:
    """Somebody wrote it into the inbox."""
    world, process = await handled(working(lambda: None), foreign=True)

    assert process.buried == ["dlq.bp.inbox"]
    assert len(world.facts("HandlerCompleted")) == 2
