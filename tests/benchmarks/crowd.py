"""A hundred agents that hear one message, and one that waits for all of them."""

from __future__ import annotations

import time
from typing import Final

from agents_sdk import Agent, Context, Event

FAN: Final = 100
WORKFLOW: Final = "bench.fan"
_done: dict[str, float] = {}
"""Run → when its last handler ended."""
_taken: dict[str, list[float]] = {}
"""Run → seconds until each had the message."""

gatherer = Agent("bench_gatherer", workflows=[WORKFLOW])
fan = [Agent(f"bench_fan_{number:03}", workflows=[WORKFLOW]) for number in range(FAN)]


async def take(ctx: Context, event: Event) -> None:
    """One of a hundred."""
    _done[ctx.run_id] = time.perf_counter()
    _taken.setdefault(ctx.run_id, []).append(_done[ctx.run_id] - event.data)


for one in fan:
    one.on("fan.out")(take)


@gatherer.on("dependency.satisfied")
async def gathered(ctx: Context, event: Event) -> None:
    """When the last of a hundred had the message, and how long after the last of them was done this one was told."""
    since = time.perf_counter() - _done.pop(ctx.run_id)
    await ctx.complete_run({"out": max(_taken.pop(ctx.run_id)), "in": since})
