"""A provider whose effect can be seen from outside, whoever was killed meanwhile: a line in a file, in one write."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.capabilities.outcome import ProviderError

FILE: Final = "journal.jsonl"
FAILS_ONCE: Final = 5
"""One in so many calls fails at its first attempt."""


@dataclass(frozen=True)
class Execution:
    """One time that a provider was called."""

    call_id: str
    attempt: int
    pid: int
    began_ns: int
    """Wall clock, before the effect."""


async def note(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """The effect, and then a while in which a kill finds it."""
    line = json.dumps([context.call_id, context.attempt, os.getpid(), time.time_ns()]) + "\n"
    file = os.open(context.data_dir / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    await asyncio.sleep(params.get("takes_s", 0.0))
    if params.get("number", 1) % FAILS_ONCE == 0 and context.attempt == 1:
        # refused before anything happened, so that an unsafe call may be tried again as well
        raise ProviderError("rate_limited", "not now")
    return {"number": params.get("number")}


def executions(data_dir: Path) -> list[Execution]:
    """All there have been, in the order in which they began."""
    path = data_dir / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [Execution(*json.loads(line)) for line in lines]
