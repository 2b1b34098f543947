"""Agents of tests of the console: their processes, and one that comes too late."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backplane.platform.platform import LocalPlatform

LATE: Final = """
from agents_sdk import Agent

late = Agent("late_console_agent", workflows=["late"], writes=["heard"])


@late.on("go")
async def note(ctx, event):
    await ctx.state.set("heard", event.attempt)
"""


PARKED: Final = """
import asyncio

from agents_sdk import Agent

parking = Agent("parking_console_agent", workflows=["parks"], reads=["*"], writes=["*"], publishes=["*"])
CODE = "{code}"


@parking.on("go")
async def go(ctx, event):
    if CODE == "other":
        await ctx.state.get("config")
        await ctx.state.set("other", 1)
        return
    await ctx.state.set("draft", 1)
    if event.data:
        await ctx.publish("told")
    if CODE == "first":
        await asyncio.Event().wait()
    await ctx.state.set("corrected", 1)
"""
"""Its second code takes another path than the first, and the third goes on as the first."""


@contextmanager
def agents(platform: LocalPlatform, module: Path, *, killed: bool = False) -> Iterator[None]:
    """A process with the agents of a module, from ready to ended; ``killed``: its end is SIGKILL."""
    argv = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(module)]
    where = ["--data-dir", str(platform.settings.data_dir)]
    process = subprocess.Popen([*argv, *where], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while "agents: ready" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield
    finally:
        process.kill() if killed else process.terminate()
        process.wait(20)
        process.stderr.close()
