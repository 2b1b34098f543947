"""From a SIGKILL to the first work done again: ledger, executor and agent, on a platform with nothing else to do.

Of each: ``restarted``, by its supervisor, under the name it had in its group; ``again``, killed a second time in the
middle of that, counted from the second kill; ``left``, nobody restarts it and the others of this machine, which see its
death, take its partitions over. Work is asked for right after the kill in every partition, and all of it has to be
done.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx

from agents_sdk.client import AsyncBackplane
from agents_sdk.run import AsyncRun
from agents_sdk.scope import new_id
from backplane.platform import ports
from tests.benchmarks.facts import partition
from tests.benchmarks.ledger import connected
from tests.benchmarks.stage import Figures, Stage, Stopwatch
from tests.benchmarks.takers import taker

HERE: Final = Path(__file__).parent
PATIENCE_S: Final = 120.0
MIDWAY_S: Final = 0.4
"""From the start of the new process to its own death: in the middle of its start."""
SETTLE_S: Final = 3.0
"""Between two measurements, so that the second one does not pay for the first."""
Ask = Callable[[AsyncBackplane, AsyncRun], Awaitable[Any]]


async def _written(backplane: AsyncBackplane, run: AsyncRun) -> None:
    await run.state.set("k", 1)


async def _called(backplane: AsyncBackplane, run: AsyncRun) -> None:
    await run.execute("noop", {})


async def _asked(backplane: AsyncBackplane, run: AsyncRun) -> None:
    await run.ask(taker.name, 1, name="take")


def measure(stage: Stage) -> Figures:
    """Medians in seconds."""
    rounds = stage.size(7, 1)

    async def measured(backplane: AsyncBackplane) -> Figures:
        runs = await _run_in_each_partition(stage, backplane)
        found: Figures = {}
        for part, module, ask in (
            ("ledger", "backplane.ledger", _written),
            ("executor", "backplane.executor", _called),
        ):
            await _all(backplane, runs, ask)
            taken = [await _restarted(stage, backplane, runs, part, ask) for _ in range(rounds)]
            found |= _figures(f"{part}_restarted", taken)
            taken = [await _restarted(stage, backplane, runs, part, ask, twice=True) for _ in range(rounds)]
            found |= _figures(f"{part}_again", taken)
            taken = [await _left(stage, backplane, runs, module, ask) for _ in range(max(rounds // 2, 1))]
            found |= _figures(f"{part}_left", taken)
        return found | await _agents(stage, backplane, runs, rounds)

    figures: Figures = asyncio.run(connected(stage, measured))
    return figures


def _figures(name: str, taken: list[float]) -> Figures:
    print(name, [round(one, 2) for one in taken], flush=True)
    return {f"{name}_p50_s": round(statistics.median(taken), 2), f"{name}_max_s": round(max(taken), 2)}


async def _run_in_each_partition(stage: Stage, backplane: AsyncBackplane) -> list[AsyncRun]:
    count = stage.settings.topics.partitions
    names: dict[int, str] = {}
    while len(names) < count:
        run_id = new_id()
        names[partition(run_id, count)] = run_id
    started = (backplane.start_run("bench.taking", run_id=name, complete_when="explicit") for name in names.values())
    return list(await asyncio.gather(*started))


async def _all(backplane: AsyncBackplane, runs: list[AsyncRun], ask: Ask) -> float:
    watch = Stopwatch()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(ask(backplane, run) for run in runs))
    return watch.seconds


async def _restarted(
    stage: Stage, backplane: AsyncBackplane, runs: list[AsyncRun], part: str, ask: Ask, *, twice: bool = False
) -> float:
    """Seconds from the (second) kill until each run was served."""
    await _ready(stage, part)
    await asyncio.sleep(SETTLE_S)
    gone = stage.platform.kill(part)
    if twice:
        while (stage.platform.part(part)["pid"] or gone) == gone:
            await asyncio.sleep(0.01)
        await asyncio.sleep(MIDWAY_S)
        stage.platform.kill(part)
    return await _all(backplane, runs, ask)


async def _ready(stage: Stage, part: str) -> None:
    while stage.platform.part(part)["state"] != "ready":
        await asyncio.sleep(0.05)


async def _left(stage: Stage, backplane: AsyncBackplane, runs: list[AsyncRun], module: str, ask: Ask) -> float:
    """A second worker, which nobody restarts, is killed when it has its share of the partitions."""
    (port,) = ports.choose(["second"], {}).values()
    where = str(stage.platform.layout.data_dir)
    command = [sys.executable, "-m", module, "--data-dir", where, "--http-port", str(port)]
    log = stage.platform.layout.data_dir / "logs" / f"second-{port}.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:  # noqa: ASYNC220
        try:
            await _healthy(port)
            await _all(backplane, runs, ask)
            await asyncio.sleep(SETTLE_S)
            process.kill()
            return await _all(backplane, runs, ask)
        finally:
            process.kill()


async def _healthy(port: int) -> None:
    """Its own word, and a share of the partitions."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                told = await client.get(f"http://127.0.0.1:{port}/health")
                if told.status_code == 200 and told.json().get("lag"):
                    return
            await asyncio.sleep(0.1)


async def _agents(stage: Stage, backplane: AsyncBackplane, runs: list[AsyncRun], rounds: int) -> Figures:
    from agents_sdk.runner import register

    await register(backplane.transport, taker)
    found: Figures = {}
    async with _Process(stage, "first") as first:
        await _all(backplane, runs, _asked)
        taken = []
        for _ in range(rounds):
            await asyncio.sleep(SETTLE_S)
            await first.kill_and_start()
            taken.append(await _all(backplane, runs, _asked))
        found |= _figures("agent_restarted", taken)
        taken = []
        for _ in range(rounds):
            await asyncio.sleep(SETTLE_S)
            await first.kill_and_start()
            await asyncio.sleep(MIDWAY_S)
            await first.kill_and_start()
            taken.append(await _all(backplane, runs, _asked))
        found |= _figures("agent_again", taken)
        taken = []
        for _ in range(max(rounds // 2, 1)):
            async with _Process(stage, "") as second:
                await second.ready()
                await _all(backplane, runs, _asked)
                await asyncio.sleep(SETTLE_S)
                second.kill()
                taken.append(await _all(backplane, runs, _asked))
        found |= _figures("agent_left", taken)
    return found


class _Process:
    """A process of the agent, which this measurement starts again at once, as a supervisor would."""

    def __init__(self, stage: Stage, instance: str) -> None:
        where = stage.platform.layout.data_dir
        command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(HERE / "takers.py")]
        self._command = [*command, "--data-dir", str(where), "--instance", instance]
        self._log = where / "logs" / f"taker-{instance or 'second'}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def kill_and_start(self) -> None:
        self.kill()
        self.start()

    async def ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while b"ready" not in self._log.read_bytes():
            assert time.monotonic() < deadline, self._log.read_text()
            await asyncio.sleep(0.05)

    async def __aenter__(self) -> _Process:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
