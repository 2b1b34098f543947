"""Agents whose handlers end the process, and one that counts on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agents_sdk import Agent, Context, Event

deadly = Agent("deadly", workflows=["deadly"], writes=["*"], max_deliveries=2)


def _note(path: Path) -> None:
    with path.open("a") as journal:
        journal.write(f"{os.getpid()}\n")


@deadly.on("run.started")
async def die(ctx: Context, event: Event) -> None:
    """In the way that the run says; a run that says none is handled."""
    await ctx.state.set("begun", True)
    await asyncio.to_thread(_note, Path(event.data["journal"]))
    if event.data["how"] == "exit":
        os._exit(1)
    await ctx.state.set("done", True)
