"""A provider whose effect can be seen from outside, whoever was killed meanwhile: a line in a file, in one write."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backplane.recovery.outcome import ProviderError

FILE: Final = "journal.jsonl"
PAID: Final = "paid.jsonl"
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


def _now_ns() -> int:
    """The machine's clock, whatever the process is told of the time (``site/sitecustomize``)."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def _line(path: Path, line: str) -> None:
    """Whole or not at all, whoever is killed."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


async def pay(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """A provider that works for a while, has its effect, and works on before it answers."""
    await asyncio.sleep(params["takes_s"] * params["before"])
    _line(context.data_dir / PAID, json.dumps([context.call_id, os.getpid(), _now_ns()]) + "\n")
    await asyncio.sleep(params["takes_s"] * (1 - params["before"]))
    return {"number": params["number"]}


def payments(data_dir: Path) -> list[str]:
    """The call of each effect there has been, in order."""
    path = data_dir / PAID
    return [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []


async def note(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """The effect, and then a while in which a kill finds it."""
    line = json.dumps([context.call_id, context.attempt, os.getpid(), _now_ns()]) + "\n"
    _line(context.data_dir / FILE, line)
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
