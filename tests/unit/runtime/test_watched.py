"""A worker whose event loop stands still ends, also where nothing gives the interpreter's lock back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, re
from backplane.runtime import app
app.HANG_S = 1.0
async def main():
    task = asyncio.create_task(app.watched())
    await asyncio.sleep(3 * app.HANG_S)
    print("works", flush=True)
    re.match("(a+)+$", "a" * 64 + "b")  # for ever, and it holds the lock
asyncio.run(main())
"""


def test_worker_that_stands_still_ends_and_says_where() -> None:
    """One that works on goes on for longer than the limit; one that hangs says in its log what it was at."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (1, "works")
    assert "Timeout" in done.stderr
    assert "in main" in done.stderr
