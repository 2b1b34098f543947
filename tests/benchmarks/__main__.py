"""``python -m tests.benchmarks [--quick] [--only NAME,…]``: measures, prints a table, writes var/bench/latest.json."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.benchmarks import (
    calls,
    console,
    fingerprints,
    floors,
    insight,
    ledger,
    messages,
    overload,
    proofs,
    report,
    restart,
    runs,
    sink,
    takeover,
)
from tests.benchmarks.stage import CAPABILITIES, Figures, Memory, Stage, Stopwatch

OUTPUT: Final = Path("var/bench/latest.json")
MEASUREMENTS: Final[dict[str, Callable[[Stage], Figures]]] = {
    "floor": floors.measure,
    "state_write": ledger.state_write,
    "state_read": ledger.state_read,
    "ledger": ledger.throughput,
    "proofs": proofs.measure,
    "fingerprints": fingerprints.measure,
    "message": messages.measure,
    "call": calls.measure,
    "call_local": calls.local,
    "call_slow": calls.slow,
    "call_fallback": calls.fallback,
    "call_breaker": calls.breaker,
    "sink": sink.measure,
    "insight": insight.measure,
    "console": console.measure,
    "restart": restart.measure,
    "runs": runs.measure,
    "takeover": takeover.measure,
    "overload": overload.measure,
}
"""In this order: the log grows from one to the next."""
ALONE: Final = ("restart", "runs", "takeover", "overload")


def main() -> None:
    """Parses, measures, tells."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {', '.join([*MEASUREMENTS, 'cold_start'])}, with commas")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: whether it runs, not how fast")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or [*MEASUREMENTS, "cold_start"]
    unknown = set(chosen) - {*MEASUREMENTS, "cold_start"}
    if unknown:
        parser.error(f"no measurement is named {', '.join(sorted(unknown))}")
    machine = _machine()
    found = _measured(chosen, quick=options.quick)
    if "cold_start" in chosen:
        found["cold_start"] = {"seconds": _cold_start()}
    machine["load_at_end"] = round(os.getloadavg()[0], 1)
    whole = report.with_ratios(found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "quick": options.quick, **whole}, indent=2) + "\n")
    print("\n".join(["", report.machine_line(machine), *report.lines(whole), f"\nwritten to {options.output}"]))


def _measured(chosen: list[str], *, quick: bool) -> dict[str, Figures]:
    """All on one platform but those that need a log and a ledger of their own."""
    found: dict[str, Figures] = {}
    shared = [name for name in MEASUREMENTS if name in chosen and name not in ALONE]
    if shared:
        with _stage(quick=quick) as stage:
            memory = Memory(stage)
            for name in dict.fromkeys(["floor", *shared]):
                found[name] = _told(name, stage)
            found["memory_mb"] = memory.figures()
    for name in [name for name in ALONE if name in chosen]:
        with _stage(quick=quick) as stage:
            found[name] = _told(name, stage)
    return found


@contextlib.contextmanager
def _stage(*, quick: bool) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="backplane-bench-") as folder:
        env = {"BACKPLANE_CAPABILITIES__PATHS": str(CAPABILITIES)}
        with LocalPlatform(folder, profile="bench", env=env) as running:
            settings = running.settings
            yield Stage(running, settings, connect_codec(settings), quick)


def _told(name: str, stage: Stage) -> Figures:
    watch = Stopwatch()
    figures = MEASUREMENTS[name](stage)
    print(f"{name} ({watch.seconds:.0f} s): {json.dumps(figures)}", flush=True)
    return figures


def _cold_start() -> float:
    """Seconds from nothing but the caches to a platform that answers, as `backplane up` starts it."""
    with tempfile.TemporaryDirectory(prefix="backplane-bench-") as folder:
        watch = Stopwatch()
        with LocalPlatform(folder):
            return round(watch.seconds, 1)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "memory_gb": psutil.virtual_memory().total // 2**30,
        "load_at_start": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
