"""An agent whose code changes between two processes: CODE is the version of it that a process runs."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from agents_sdk import Agent, Context, Event

CODE: Final = os.environ.get("CODE", "old")
changing = Agent("fault_changing", workflows=["faults.changing"], max_deliveries=20)


@changing.on("go")
async def go(ctx: Context, event: Event) -> None:
    """The old code never ends: its process is killed. The new one writes another key first."""
    if CODE == "new":
        await ctx.state.set("config", "new")
    await ctx.state.set("draft", CODE)
    if CODE == "old":
        await asyncio.Event().wait()
    await ctx.publish("changed", CODE)
