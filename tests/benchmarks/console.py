"""A run of 10,000 facts is opened in the console: what its server takes, and what a browser takes until it is loaded.

Cold: by a console that has not read this run before. The browser is Chromium, headless; without one its figures are
left out. Processor time, which hardly depends on what else the machine does: of the console, and of the store, which is
in this process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil

from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from backplane.store.http import make_server
from backplane.store.migrate import migrate
from tests.benchmarks.stage import Figures, Stage, Stopwatch, quantiles
from tests.integration.sink.conftest import _healthy, serving
from tests.support.browser import Window, chromium
from tests.support.console import console, large
from tests.support.stories import records

FACTS: Final = 10_000
ROUNDS: Final = 20
RUN: Final = "01930000-0000-7000-8000-0000000a{:04d}"
TABS: Final = ("timeline", "events")
LOADED: Final = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def measure(stage: Stage) -> Figures:
    """p50, p95 and p99 of both tabs that list a run's facts, each of a run that was not opened before."""
    rounds = stage.size(ROUNDS, 2)
    seen = [RUN.format(number) for number in range(rounds * len(TABS) * 2)]
    with _site(seen) as base, httpx.Client(base_url=base, timeout=60) as client:
        client.get("/")
        waiting = iter(seen)
        found: Figures = {}
        for tab in TABS:
            before = _processor()
            seconds = [_answered(client, f"/runs/{next(waiting)}/{tab}") for _ in range(rounds)]
            found |= {f"{tab}_server_{at}": value for at, value in quantiles(seconds).items()}
            for part, used in _processor().items():
                found[f"{tab}_{part}_cpu_ms"] = round((used - before[part]) / rounds * 1000, 1)
        if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
            with chromium() as browser, closing(Window(browser, base)) as window:
                window.open("/")
                for tab in TABS:
                    loaded = [_loaded(window, f"/runs/{next(waiting)}/{tab}") for _ in range(rounds)]
                    found |= {f"{tab}_browser_{at}": value for at, value in quantiles(loaded).items()}
        return found


def _processor() -> dict[str, float]:
    """Seconds that the console, which is this process's child, and the store in this process have used."""
    here = psutil.Process()
    (console_process,) = (one for one in here.children() if "backplane.console" in one.cmdline())
    return {name: sum(one.cpu_times()[:2]) for name, one in (("console", console_process), ("store", here))}


def _answered(client: httpx.Client, where: str) -> float:
    watch = Stopwatch()
    assert client.get(where).status_code == 200
    return watch.seconds


def _loaded(window: Window, where: str) -> float:
    assert window.open(where) == 200
    return float(window.page.evaluate(LOADED)) / 1000


@contextmanager
def _site(wanted: list[str]) -> Iterator[str]:
    """A console over a store with these runs; the store in this process, the console in its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        engine = Engine(Path(folder) / "store")
        try:
            client = engine.client("")
            migrate(client, "bench")
            writer = Writer(client, "bench")
            for number, run in enumerate(wanted):
                lying = records(large(run, facts=FACTS).facts, partition=number)
                writer.write(writer.prepare(lying))
            client.close()
            for port in serving(make_server(engine, _healthy)):
                environment = {
                    **os.environ,
                    "BACKPLANE_DATA_DIR": folder,
                    "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
                    "BACKPLANE_CLICKHOUSE__URL": f"http://127.0.0.1:{port}",
                    "BACKPLANE_CLICKHOUSE__DATABASE": "bench",
                }
                with console(environment, Path(folder) / "console.log") as base:
                    yield base
        finally:
            engine.close()
