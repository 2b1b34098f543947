"""The agent that is killed: it knows the answer at once."""

from __future__ import annotations

from agents_sdk import Agent, Context, Event

taker = Agent("bench_taker", workflows=["bench.taking"])


@taker.on("take")
async def take(ctx: Context, event: Event) -> int:
    """Adds one."""
    number: int = event.data
    return number + 1
