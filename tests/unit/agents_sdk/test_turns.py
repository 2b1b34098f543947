"""A process has no more commands about a run under way than the ledger surely remembers, and keeps their order."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.commands import CallBody, Command, StateBody
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.inflight import ASK_AGAIN_AFTER, InFlight
from agents_sdk.turns import WINDOW, Turns


async def held(turns: Turns, run: str, name: int, log: list[int], *, counts: bool = True) -> int:
    """Takes a turn and notes it."""
    number = await turns.take(run, counts=counts)
    log.append(name)
    return number


async def settled() -> None:
    """All that is ready has run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_more_than_the_window_begin_after_the_oldest() -> None:
    """However many have been answered since: the oldest one must still be remembered."""
    turns, log = Turns(window=4), list[int]()
    numbers = [await turns.take("r", counts=True) for _ in range(4)]
    tasks = [asyncio.ensure_future(held(turns, "r", name, log)) for name in range(6)]
    other = asyncio.ensure_future(held(turns, "other", 99, log))
    for number in numbers[1:]:
        turns.done("r", number)
    await settled()
    assert log == [99]
    turns.done("r", numbers[0])
    await settled()
    assert log == [99, 0, 1, 2, 3]
    for task in (*tasks[:4], other):
        turns.done("other" if task is other else "r", await task)
    await settled()
    assert log == [99, 0, 1, 2, 3, 4, 5]
    for task in tasks[4:]:
        turns.done("r", await task)
    assert turns._runs == {}


async def test_who_does_not_count_waits_for_its_place_and_for_no_room() -> None:
    """A call that is issued after writes is sent after them, and its wait for the outcome keeps nobody out."""
    turns, log = Turns(window=1), list[int]()
    first = await turns.take("r", counts=True)
    tasks = [asyncio.ensure_future(held(turns, "r", name, log, counts=name != 1)) for name in range(3)]
    await settled()
    assert log == []
    turns.done("r", first)
    await settled()
    assert log == [0, 1]
    turns.done("r", await tasks[0])
    await settled()
    assert log == [0, 1, 2]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_order_and_window_hold_whatever_happens(seed: int, window: int) -> None:
    """Commands of two runs that are answered, cancelled and issued in any order: none overtakes, none is lost."""

    async def story() -> None:
        chance = random.Random(seed)
        turns, begun = Turns(window), {"a": list[int](), "b": list[int]()}
        under_way: dict[int, tuple[str, int]] = {}
        tasks: dict[int, asyncio.Task[Any]] = {}

        async def one(run: str, name: int, counts: bool) -> None:
            number = await turns.take(run, counts=counts)
            begun[run].append(name)
            under_way[name] = (run, number)

        for name in range(60):
            run = chance.choice("ab")
            tasks[name] = asyncio.ensure_future(one(run, name, chance.random() < 0.8))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                chance.choice(list(tasks.values())).cancel()
            if under_way and chance.random() < 0.5:
                turns.done(*under_way.pop(chance.choice(list(under_way))))
            for key in "ab":
                open_ = [number for of, number in under_way.values() if of == key and number >= 0]
                assert not open_ or max(open_) - min(open_) < window
        while any(not task.done() for task in tasks.values()):
            await settled()
            for name in list(under_way):
                turns.done(*under_way.pop(name))
        for names in begun.values():
            assert names == sorted(names)
        gone = sum(task.cancelled() for task in tasks.values())
        assert sum(map(len, begun.values())) == 60 - gone
        for name in list(under_way):
            turns.done(*under_way.pop(name))
        assert turns._runs == {}

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["CallCapability", "Ask", "AwaitChild", "AwaitRun"])
def test_a_slow_command_is_asked_for_again_by_count(kind: str) -> None:
    """Its outcome may have come, and its answer been lost, while many others were sent."""
    flight = InFlight()
    slow = Command(
        command_id=CommandId("slow"),
        kind=kind,
        run_id=RunId("r"),
        agent="a",
        correlation_id="",
        call=CallBody(capability="s"),
    )
    flight.add(slow, None, None, 0.0, None)
    for number in range(3 * ASK_AGAIN_AFTER):
        write = Command(
            command_id=CommandId(str(number)),
            kind="SetState",
            run_id=RunId("r"),
            agent="a",
            correlation_id="",
            state=StateBody(key="k", value="1"),
        )
        flight.add(write, None, None, 0.0, None)
        flight.take(str(number))
    assert {waiting.command.command_id for waiting in flight.due(0.1)[0]} == {"slow"}
    assert flight.due(0.2)[0] == []
    flight.take("slow")
    assert WINDOW < ASK_AGAIN_AFTER
