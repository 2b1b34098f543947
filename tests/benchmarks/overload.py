"""Ten times what can be done, from twenty clients for a minute, with a slow agent beside; then shorter floods.

What a part keeps of a flood is bounded, so a part that has seen a few floods takes no more memory in the next one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psutil

from tests.benchmarks.stage import Figures, Stage, quantiles
from tests.support.overload import flood

PARTS = ("kafka", "sink", "ledger", "executor")
AGAIN = 4
"""Floods after the first one."""


def measure(stage: Stage) -> Figures:
    """What a client that asks for little waits for its answers, how memory grew, and what was lost."""
    clients, seconds, each = stage.size(20, 4), stage.size(60, 5), stage.size(1_500, 400)
    pids = {name: stage.platform.pid(name) for name in PARTS}
    found = asyncio.run(
        flood(stage.settings, pids, clients=clients, seconds=seconds, each=each, max_waiting=stage.size(1_000, 100))
    )
    half = len(found.rss_mb) // 2
    grown: dict[str, Any] = {
        f"{part}_grown_mb": found.rss_mb[-1][part] - found.rss_mb[half][part] for part in (*pids, "clients")
    }
    quiet = {f"quiet_{name}": value for name, value in quantiles(found.quiet_s).items()}
    return {
        "acknowledged_per_s": round(found.acknowledged / seconds),
        "overloaded": found.overloaded,
        "unknown": found.unknown,
        "lost": len(found.wrong),
        "most_waiting": found.most_waiting,
        "ledger_mb_after_each_flood": _after_each(stage, pids),
        **quiet,
        "quiet_max_ms": round(max(found.quiet_s) * 1000),
        "recovered_s": round(found.recovered_s, 2),
        **grown,
    }


def _after_each(stage: Stage, pids: dict[str, int]) -> list[int]:
    ledger, found = psutil.Process(pids["ledger"]), []
    for number in range(AGAIN + 1):
        if number:
            seconds, each = stage.size(15, 2), stage.size(300, 100)
            asyncio.run(flood(stage.settings, pids, clients=4, seconds=seconds, each=each, max_waiting=200))
        found.append(ledger.memory_info().rss // 2**20)
    return found
