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


@contextmanager
def agents(platform: LocalPlatform, module: Path) -> Iterator[None]:
    """A process with the agents of a module, from ready to ended."""
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
        process.terminate()
        process.wait(20)
        process.stderr.close()
