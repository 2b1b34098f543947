"""The agent of the canary: it writes, decides and ends its run."""

from __future__ import annotations

from agents_sdk import Agent, Context, Event

canary = Agent("canary", workflows=["canary"])


@canary.on("run.started")
async def sing(ctx: Context, event: Event) -> None:
    """A few commands of a handler, and the end of the run."""
    await ctx.state.set("song", event.data)
    await ctx.decide("sing", rationale="it is morning", context_used=["song"])
    await ctx.complete_run(await ctx.state.get("song"))
