"""What every measurement is given: the platform under test, sizes, and clocks of its processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from agents_sdk.settings import Settings
from agents_sdk.wire.codec import Codec
from backplane.platform.platform import LocalPlatform

CAPABILITIES: Final = Path(__file__).parent / "capabilities"
PAYLOAD_BYTES: Final = 300
"""Of every record that is measured: a raw value, an encoded command, an encoded fact."""
SAMPLE_S: Final = 0.5
SLOW_S: Final = 1.0
"""What a slow call takes."""
MEASURED: Final = ("kafka", "registry", "sink", "ledger", "executor")

Figures = dict[str, Any]


@dataclass
class Stage:
    """One platform."""

    platform: LocalPlatform
    settings: Settings
    codec: Codec
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """How many of something."""
        return quick if self.quick else full

    def processes(self) -> dict[str, psutil.Process]:
        """The running parts, and this process as ``client``."""
        parts = self.platform.record()["parts"]
        found = {"client": psutil.Process()}
        for name in MEASURED:
            with contextlib.suppress(psutil.Error, KeyError):  # it is being restarted
                found[name] = psutil.Process(parts[name]["pid"])
        return found

    @contextlib.contextmanager
    def cpu(self, count: int) -> Iterator[dict[str, float]]:
        """Fills the mapping with µs of processor time per operation and part, ``count`` operations being done inside.
        Unlike the time of day it hardly depends on what else the machine does."""
        before = {name: (process, process.cpu_times()) for name, process in self.processes().items()}
        used: dict[str, float] = {}
        yield used
        for name, (process, was) in before.items():
            with contextlib.suppress(psutil.Error):
                now = process.cpu_times()
                used[name] = round((now.user - was.user + now.system - was.system) / count * 1e6, 1)


class Memory:
    """Resident memory of the parts: at rest, and the most of any sample while measuring."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._idle = self._sample()
        self._load: dict[str, int] = dict(self._idle)
        self._thread = threading.Thread(target=self._run, name="bench-memory", daemon=True)
        self._thread.start()

    def figures(self) -> dict[str, dict[str, int]]:
        """Part → MB at rest and under load. Ends the sampling."""
        self._stop.set()
        self._thread.join()
        return {name: {"idle": self._idle.get(name, 0), "load": load} for name, load in self._load.items()}

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for name, size in self._sample().items():
                self._load[name] = max(size, self._load.get(name, 0))

    def _sample(self) -> dict[str, int]:
        sizes = {}
        for name, process in self._stage.processes().items():
            with contextlib.suppress(psutil.Error):
                sizes[name] = process.memory_info().rss // 2**20
        return sizes


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    ordered = sorted(seconds)
    at = {f"p{share}_ms": ordered[min(len(ordered) * share // 100, len(ordered) - 1)] for share in (50, 95, 99)}
    return {name: round(value * 1000, 3) for name, value in at.items()}


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._began
