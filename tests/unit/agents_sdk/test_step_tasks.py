"""``ctx`` in tasks that a handler starts: places of their own, however they are started."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agents_sdk.context import Context, entered
from tests.support.step_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_tasks_of_a_handler_have_places_of_their_own(place: Place) -> None:
    """However they are started, and however fast; names within them too."""

    async def work(ctx: Context, topic: str, turns: int) -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        await ctx.state.set(topic, topic)
        return await ctx.step("draft", place.draft, topic)

    async def handler(ctx: Context, *turns: int) -> list[str]:
        with entered(ctx):
            tasks = [asyncio.create_task(work(ctx, f"a{index}", turns[index])) for index in range(2)]
            async with asyncio.TaskGroup() as group:
                grouped = [group.create_task(work(ctx, f"b{index}", turns[index])) for index in range(2)]
            waited = await asyncio.wait_for(work(ctx, "c", 1), 5)
            gathered = await asyncio.gather(work(ctx, "d0", turns[0]), work(ctx, "d1", turns[1]))
            return [await tasks[0], await tasks[1], *(task.result() for task in grouped), waited, *gathered]

    first = await handler(place.attempt(first=True), 0, 5)
    assert first == ["a0", "a1", "b0", "b1", "c", "d0", "d1"]
    assert await handler(place.attempt(), 5, 0) == first
    assert len(place.made) == 7


async def test_tasks_that_a_step_starts_move_nothing(place: Place) -> None:
    """They are not there when the step is given from the record."""

    async def inner() -> int:
        return 1

    async def many() -> int:
        return sum(await asyncio.gather(*(inner() for _ in range(3))))

    async def work(ctx: Context) -> None:
        await ctx.state.set("x", 1)

    for first in (True, False):
        ctx = place.attempt(first=first)
        with entered(ctx):
            assert await ctx.step("many", many) == 3
            await asyncio.create_task(work(ctx))
    assert len(place.facts("StateWritten")) == 1


async def test_a_context_in_a_foreign_task_says_how_to_name_it(place: Place) -> None:
    """A task that was started outside the handler."""
    ctx = place.attempt(first=True)
    go = asyncio.Event()

    async def foreign() -> None:
        await go.wait()
        await ctx.state.set("x", 1)

    other = asyncio.create_task(foreign())
    with entered(ctx):
        go.set()
        with pytest.raises(RuntimeError, match=r"ctx\.named\(…\)"):
            await other
    assert await asyncio.create_task(ctx.named("by hand").step("draft", place.draft, "x")) == "x"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of 3.12")
async def test_eager_tasks_have_places_too(place: Place) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    try:
        await test_tasks_of_a_handler_have_places_of_their_own(place)
    finally:
        loop.set_task_factory(before)
