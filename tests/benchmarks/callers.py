"""The agent of calls that are made in its own process: it takes the times itself, and ends its run with them."""

from __future__ import annotations

import time

from agents_sdk import Agent, Context, Event

caller = Agent("bench_caller", workflows=["bench.calling"], capabilities=["noop"])


@caller.on("run.started")
async def call(ctx: Context, event: Event) -> None:
    """Makes one call after the other."""
    taken = []
    for _ in range(event.data["rounds"]):
        began = time.perf_counter()
        await ctx.execute("noop", {})
        taken.append(time.perf_counter() - began)
    await ctx.complete_run(taken)
