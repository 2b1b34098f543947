"""Agents that work together in a run, slowly enough to be killed in the middle. ``backplane agents run`` runs them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from agents_sdk import Agent, Context, Event, VersionConflict

WORKFLOWS: Final = ["faults.relay"]
PATIENCE: Final = 20
"""Deliveries: an answer that takes longer than 30 s fails a handler, and on a busy machine a few do."""
left = Agent("fault_left", workflows=WORKFLOWS, max_deliveries=PATIENCE)
right = Agent("fault_right", workflows=WORKFLOWS, max_deliveries=PATIENCE)
tally = Agent("fault_tally", workflows=WORKFLOWS, max_deliveries=PATIENCE)
digest = Agent("fault_digest", workflows=WORKFLOWS, max_deliveries=PATIENCE)
SIDES: Final = ("left", "right")


class NotToday(Exception):
    """Raised by a handler that is to be delivered its message again."""


async def work(ctx: Context, event: Event, side: str) -> None:
    """Each step writes, calls, tells: all of it has to be there once."""
    for step in range(event.data["steps"]):
        await ctx.state.set(f"{side}.{step}", step)
        await ctx.execute("journal", {"number": event.data["number"] + step, "takes_s": event.data["takes_s"]})
        await ctx.publish("relay.step", {"side": side, "step": step})
        await asyncio.sleep(event.data["takes_s"])


@left.on("relay.go")
async def work_left(ctx: Context, event: Event) -> None:
    await work(ctx, event, "left")


@right.on("relay.go")
async def work_right(ctx: Context, event: Event) -> None:
    await work(ctx, event, "right")


@tally.on("relay.step")
async def count(ctx: Context, event: Event) -> None:
    """Adds one, whoever adds at the same time; the last step of the left side fails at its first delivery, after its
    effect."""
    while True:
        now: Any = await ctx.state.entry("tally")
        try:
            await ctx.state.set("tally", (now.value or 0) + 1, expected_version=now.version)
            break
        except VersionConflict:
            continue
    if event.data["side"] == "left" and event.data["step"] == 0 and event.attempt == 1:
        raise NotToday("deliver it again")


@digest.on("dependency.satisfied")
async def summarise(ctx: Context, event: Event) -> None:
    """Writes down what it found of all that was written before it was triggered."""
    listed = await ctx.state.list()
    found = {entry.key: await ctx.state.get(entry.key) for entry in listed if entry.key.startswith(SIDES)}
    await ctx.state.set("digest", found)
