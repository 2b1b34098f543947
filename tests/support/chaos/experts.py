"""Who answers ``askers``."""

from __future__ import annotations

import asyncio
from typing import Final

from agents_sdk import Agent, Context, Event

TAKES_S: Final = 0.15
"""Long enough that most of an asker's time is spent waiting, which is when it is to be killed."""
LONG_S: Final = 4.0
"""Every tenth: longer than a process takes to come back and ask again."""
expert = Agent("fault_expert", workflows=["faults.asking"], max_deliveries=20)


@expert.on("asking.double")
async def double(ctx: Context, event: Event) -> int:
    """An effect that there may be one of."""
    await ctx.state.set(f"asked.{event.data}", event.data, expected_version=0)
    number: int = event.data
    await asyncio.sleep(TAKES_S if number % 10 else LONG_S)
    return number * 2
