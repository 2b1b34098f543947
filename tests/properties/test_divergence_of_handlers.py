"""Random handlers by the real ``ctx``, edited and killed at random: what completes is one uninterrupted attempt.

Other than in ``test_divergence``, the ids, names and counts are those that the SDK makes: in order, under names, in
``gather`` and in tasks of their own. Branches that run side by side write keys of their own, since their order is free.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Final, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from agents_sdk.context import Context, HandlerStopped, attempt_of
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import MessageEvent, Reply, StateEvent
from agents_sdk.core.ids import RunId
from tests.support.ledger_desk import Desk

RUN: Final = RunId("r")
WAYS: Final = ("plain", "named", "task", "gather")


class Operation(NamedTuple):
    """One thing that a handler does."""

    way: str
    name: str
    kind: str
    value: int


class Killed(BaseException):
    """The process is gone: its handler does nothing more."""


class Wire:
    """Carries commands to the desk until the process is killed; answers come after a random moment."""

    client_id, reply_partition, max_value_bytes = "me", 0, 10_000

    def __init__(self, desk: Desk, seed: int, limit: int) -> None:
        self._desk, self._chance, self._left = desk, random.Random(seed), limit

    async def request(self, command: Command, timeout: float | None) -> Reply:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        if not self._left:
            raise Killed
        self._left -= 1
        step = self._desk.put(command)
        if not self._left and self._chance.randrange(2):
            raise Killed  # the command has arrived, and its answer is lost
        (told,) = (each.reply for each in step.replies if each.reply.command_id == command.command_id)
        return told

    def send(self, command: Command) -> None:
        raise AssertionError("nothing here is withdrawn")

    @property
    def artifacts(self) -> Any:
        raise AssertionError("no file is kept here")


OPERATIONS: Final = st.builds(
    Operation,
    st.sampled_from(WAYS),
    st.sampled_from("abc"),
    st.sampled_from(("set", "get", "publish")),
    st.integers(1, 2),
)
CODES: Final = st.lists(OPERATIONS, max_size=5).map(tuple)


def _keeps_order(code: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The code with each name once: a name that is used twice is numbered by its order, which an edit may change."""
    seen: set[str] = set()
    kept = []
    for each in code:
        if each.way in ("named", "task"):
            if each.name in seen:
                continue
            seen.add(each.name)
        kept.append(each)
    return tuple(kept)


class Process(NamedTuple):
    """A process that handles the delivery."""

    code: tuple[Operation, ...]
    limit: int
    """It is killed after so many commands."""
    decision: str
    """What is decided of a parked delivery before it begins."""


@st.composite
def processes(draw: st.DrawFn) -> list[Process]:
    """Several in a row; the code of most is that of the one before, or nearly."""
    code, found = _keeps_order(draw(CODES)), list[Process]()
    for _ in range(draw(st.integers(1, 5))):
        edit = draw(st.sampled_from(("same", "same", "insert", "remove", "move", "other")))
        place = draw(st.integers(0, max(len(code) - 1, 0)))
        if edit == "insert":
            code = (*code[:place], draw(OPERATIONS), *code[place:])
        elif edit == "remove":
            code = code[:place] + code[place + 1 :]
        elif edit == "move" and code:
            code = (code[place], *code[:place], *code[place + 1 :])
        elif edit == "other":
            code = draw(CODES)
        code = _keeps_order(code)
        decision = draw(st.sampled_from(("continue", "restart", "")))
        found.append(Process(code, draw(st.integers(0, 2 * len(code) + 1)), decision))
    return found


async def _do(ctx: Context, operation: Operation, prefix: str) -> Any:
    key = f"{prefix}{operation.name}"
    if operation.kind == "set":
        return await ctx.state.set(key, operation.value)
    if operation.kind == "get":
        return await ctx.state.get(key)
    return await ctx.publish(f"said.{operation.name}", operation.value)


async def handler(ctx: Context, code: tuple[Operation, ...]) -> list[Any]:
    """What the code says, and what it is answered."""
    heard: list[Any] = []
    for each in code:
        if each.way == "plain":
            heard.append(await _do(ctx, each, ""))
        elif each.way == "named":
            heard.append(await _do(ctx.named(each.name), each, f"of.{each.name}."))
        elif each.way == "task":
            heard.append(await asyncio.create_task(_do(ctx.named(each.name), each, f"of.{each.name}.")))
        else:
            heard.append(await ctx.gather(_do(ctx, each, "left."), _do(ctx, each, "right.")))
    return heard


class World:
    """A desk, one delivery, and the processes that handle it."""

    def __init__(self, seed: int) -> None:
        self.desk, self._seed = Desk(), seed
        self.desk.register("one")
        self.desk.start()
        self.delivery: MessageEvent = self.desk.deliver("one")
        self.since = len(self.desk.facts)
        self.restarted = False

    @property
    def parked(self) -> bool:
        delivery = self.desk.book.runs[RUN].deliveries.get(self.delivery.delivery_id)
        return delivery is not None and bool(delivery.parked)

    def decide(self, decision: str) -> None:
        if self.parked and decision:
            asked: dict[str, Any] = {
                "name": "",
                "dead_delivery_id": self.delivery.delivery_id,
                "restart": decision == "restart",
            }
            step = self.desk.send("Redrive", **asked)
            if step.facts[0].kind != "CommandRefused":
                self.delivery = step.facts[-1]  # type: ignore[assignment]  # the next attempt
                if decision == "restart":
                    self.since, self.restarted = len(self.desk.facts), True

    def process(self, code: tuple[Operation, ...], limit: int) -> list[Any] | None:
        """What the handler was answered where its delivery is handled by it; None: killed, or diverged."""
        return asyncio.run(self._process(code, limit))

    async def _process(self, code: tuple[Operation, ...], limit: int) -> list[Any] | None:
        ctx = Context(Wire(self.desk, self._seed + limit, limit), "one", self.delivery)
        try:
            heard = await handler(ctx, code)
        except (Killed, HandlerStopped):
            return None
        fields = {"attempt": self.delivery.attempt, "counted": True, "commands": len(attempt_of(ctx).asked)}
        step = self.desk.within(self.delivery, "CompleteHandler", **fields)
        return heard if step.facts[0].kind == "HandlerCompleted" else None

    def effects(self) -> tuple[dict[str, list[str]], Counter[tuple[str, str]]]:
        """The writes of each key, and the messages, since the delivery began or was restarted."""
        writes: dict[str, list[str]] = {}
        for fact in self.desk.facts[self.since :]:
            if isinstance(fact, StateEvent) and fact.kind == "StateWritten":
                writes.setdefault(fact.key, []).append(fact.value)
        messages = Counter(
            (fact.name, fact.data)
            for fact in self.desk.facts[self.since :]
            if isinstance(fact, MessageEvent) and fact.kind == "MessagePublished"
        )
        return writes, messages


@settings(deadline=None, max_examples=150)
@given(processes(), st.integers(0, 1_000))
def test_what_completes_is_one_uninterrupted_attempt(found: list[Process], seed: int) -> None:
    """Inserted, removed and moved steps, named or not; parked, continued and restarted deliveries; kills anywhere."""
    world = World(seed)
    for code, limit, decision in found:
        world.decide(decision)
        heard = world.process(code, limit)
        if heard is None:
            continue
        alone = World(seed + 1)
        told = alone.process(code, 1_000)
        event("completed after a restart" if world.restarted else "completed")
        assert world.effects() == alone.effects()
        if not world.restarted:
            assert heard == told
        return
    event("parked at the end" if world.parked else "killed")


@settings(deadline=None, max_examples=100)
@given(CODES.map(_keeps_order), st.integers(0, 10), st.integers(0, 1_000))
def test_the_same_code_never_diverges(code: tuple[Operation, ...], limit: int, seed: int) -> None:
    """Whoever is faster, and wherever it is killed, twice."""
    world = World(seed)
    for commands in (limit, limit + 1, 1_000):
        if world.process(code, commands) is not None:
            return
        assert not world.parked
    raise AssertionError("the last process is not killed")
