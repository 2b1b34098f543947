"""Messages between agents: round trips, triggers, fan-out and fan-in. Two processes: the agents', and this one.

A rally is two messages, each of which is handled when the transaction that has it is committed: its time is two
commits and what lies between. A request has one commit in it, since its answer goes back early. By cProfile, the
ledger's own part of a message and its handling (two commands, three facts; decoding, deciding, folding, encoding) is
about 0.2 ms of processor, of which encoding is the largest part and no one thing sticks out: what is left is the
broker's transactions and two processors for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agents_sdk.client import AsyncBackplane
from tests.benchmarks import agents, crowd
from tests.benchmarks.ledger import RUNS, connected
from tests.benchmarks.stage import Figures, Stage, Stopwatch, quantiles

READY_S: Final = 120.0
"""A hundred agents join their groups one after the other."""


def measure(stage: Stage) -> Figures:
    """Round trips and requests of one run alone, and of a hundred at once; triggers; fan-out to a hundred agents and in
    from them. ``perf_counter`` is the machine's clock, the same in both processes."""

    async def measured(backplane: AsyncBackplane) -> Figures:
        rounds = stage.size(500, 50)
        await rally(backplane, 50)
        with stage.cpu(rounds) as cpu:
            alone = quantiles(await rally(backplane, rounds))
        each = stage.size(60, 6)
        watch = Stopwatch()
        many = [taken for one in await _at_once(backplane, RUNS, each) for taken in one]
        per_s = len(many) / watch.seconds
        asked = quantiles(await rally(backplane, rounds, "bench.asking"))
        watch = Stopwatch()
        answers = sum(len(one) for one in await _at_once(backplane, RUNS, each, "bench.asking"))
        asks_per_s = answers / watch.seconds
        triggers = [await _trigger(backplane) for _ in range(stage.size(200, 20))]
        return {
            **{f"roundtrip_{name}": value for name, value in alone.items()},
            "roundtrips_per_s": round(per_s),
            **{f"ask_{name}": value for name, value in asked.items()},
            "asks_per_s": round(asks_per_s),
            **{f"trigger_{name}": value for name, value in quantiles(triggers).items()},
            "cpu_us_a_roundtrip": cpu,
        }

    async def fanned(backplane: AsyncBackplane) -> Figures:
        fans = [await _fan(backplane) for _ in range(stage.size(20, 3))]
        return {f"fan_{way}_100_p50_ms": quantiles([fan[way] for fan in fans])["p50_ms"] for way in ("out", "in")}

    figures: Figures = {}
    # one after the other: a hundred waiting consumers cost a broker on two cores more than the messages do
    for module, measure_it in ((agents, measured), (crowd, fanned)):
        with running(stage, Path(str(module.__file__))):
            figures |= asyncio.run(connected(stage, measure_it))
    return figures


async def rally(backplane: AsyncBackplane, rounds: int, workflow: str = "bench.rally") -> list[float]:
    run = await backplane.start_run(workflow, {"rounds": rounds}, complete_when="explicit")
    taken: list[float] = (await run.wait(300)).result
    return taken


async def _at_once(
    backplane: AsyncBackplane, runs: int, rounds: int, workflow: str = "bench.rally"
) -> list[list[float]]:
    return await asyncio.gather(*(rally(backplane, rounds, workflow) for _ in range(runs)))


async def _trigger(backplane: AsyncBackplane) -> float:
    run = await backplane.start_run("bench.trigger", complete_when="explicit")
    await run.declare_dependency("bench_downstream", ["bench_upstream"])
    (taken,) = (await run.wait(60)).result
    return float(taken)


async def _fan(backplane: AsyncBackplane) -> Any:
    run = await backplane.start_run("bench.fan", complete_when="explicit")
    await run.declare_dependency("bench_gatherer", [one.name for one in crowd.fan])
    await run.publish("fan.out", time.perf_counter())
    return (await run.wait(60)).result


@contextlib.contextmanager
def running(stage: Stage, module: Path, *options: str) -> Iterator[None]:
    """The agents of a module, in a process of their own."""
    where = str(stage.platform.layout.data_dir)
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(module), "--data-dir", where, *options]
    log = stage.platform.layout.data_dir / "logs" / f"{module.stem}.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + READY_S
            while b"ready" not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the agents did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
