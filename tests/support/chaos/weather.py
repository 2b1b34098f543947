"""What happens to processes that nobody kills: they stand still, are far away, come and go, are told a wrong time.

``plan`` is a list that a seed decides; ``Weather`` carries it out, several things at a time, and undoes each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from backplane.platform import ports
from backplane.platform.errors import NotRunning
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.lane import Lane
from tests.support.chaos.platform import EXECUTORS, LEDGERS, ROOT, AgentsProcess
from tests.support.chaos.schedule import AGENTS, Killer

WORKERS: Final = (*LEDGERS, *EXECUTORS, *AGENTS)
LANES: Final = ("lane-1", "lane-2")
MODULES: Final = {"ledger": "tests.support.chaos.ledger", "executor": "backplane.executor"}
KINDS: Final = ("freeze", "kill", "slow", "hold", "cut", "guest", "disk", "clock")
GUEST_LIMIT_S: Final = 150.0
BURST_S: Final = 0.12
"""How long the broker stands still at a time while its disk is slow; half of that it works in between."""


@dataclass(frozen=True)
class Fault:
    """One thing that happens."""

    kind: str
    """``freeze`` SIGSTOP and SIGCONT; ``kill``; ``slow``, ``hold``, ``cut`` the way to the broker; ``guest`` a worker
    that joins and leaves; ``disk`` a broker that stands still in bursts; ``clock`` a wrong time of day."""
    victim: str
    after_s: float
    """Since the beginning of the one before."""
    lasts_s: float
    size: float = 0.0
    """Seconds: of ``slow`` the delay, of ``clock`` the step."""

    def __str__(self) -> str:
        size = f" by {self.size:+.2f} s" if self.size else ""
        return f"+{self.after_s:.1f} s {self.kind} {self.victim} for {self.lasts_s:.1f} s{size}"


def plan(seed: int, count: int, longest_s: float) -> list[Fault]:
    """``count`` faults, each kind before one comes twice; none lasts longer than ``longest_s``."""
    chance = random.Random(seed)
    dealt: list[str] = []
    faults = []
    for _ in range(count):
        if not dealt:
            dealt = list(KINDS)
            chance.shuffle(dealt)
        kind = dealt.pop()
        lasts = min(0.5 * 60 ** chance.random(), longest_s)  # 0.5 to 30 s, as many short ones as long ones
        size = 0.0
        match kind:
            case "freeze" | "kill":
                victim = chance.choice(WORKERS)
            case "slow":
                victim, size = chance.choice(LANES), chance.choice((0.005, 0.05, 0.3))
            case "hold" | "cut":
                victim = chance.choice(LANES)
            case "guest":
                victim, lasts = chance.choice(tuple(MODULES)), max(lasts, 2.0)
            case "disk":
                victim, lasts = "kafka", min(lasts, 6.0)
            case _:
                victim, size = "clock", chance.choice((-60.0, -20.0, 20.0, 60.0))
        faults.append(Fault(kind, victim, chance.uniform(0.3, 2.5), lasts, size))
    return faults


class Weather:
    """Carries a plan out; ``happened`` counts by kind."""

    def __init__(
        self, platform: LocalPlatform, killer: Killer, agents: Mapping[str, AgentsProcess], lanes: Mapping[str, Lane]
    ) -> None:
        self._platform = platform
        self._killer = killer
        self._agents = agents
        self._lanes = lanes
        self._clock = clock_file(platform.layout.data_dir)
        self.happened: Counter[str] = Counter()
        self._deeds: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "freeze": self._freeze,
            "kill": self._kill,
            "slow": self._slow,
            "hold": self._hold,
            "cut": self._cut,
            "guest": self._guest,
            "disk": self._disk,
            "clock": self._step,
        }

    async def carry_out(self, faults: list[Fault]) -> None:
        """All of them, side by side where one lasts into the next."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(fault.after_s)
                group.create_task(self._happen(fault))

    async def _happen(self, fault: Fault) -> None:
        self.happened[fault.kind] += 1
        await self._deeds[fault.kind](fault)

    async def _pid(self, victim: str) -> int:
        while True:
            with contextlib.suppress(NotRunning):
                agents = self._agents.get(victim)
                return agents.pid if agents is not None else self._platform.pid(victim)
            await asyncio.sleep(0.05)

    async def _freeze(self, fault: Fault) -> None:
        pid = await self._pid(fault.victim)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _kill(self, fault: Fault) -> None:
        await self._pid(fault.victim)
        with contextlib.suppress(NotRunning, ProcessLookupError):
            self._killer.kill(fault.victim)

    async def _slow(self, fault: Fault) -> None:
        lane = self._lanes[fault.victim]
        lane.delay_s = lane.jitter_s = fault.size
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            lane.delay_s = lane.jitter_s = 0.0

    async def _hold(self, fault: Fault) -> None:
        self._lanes[fault.victim].hold()
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            self._lanes[fault.victim].release()

    async def _cut(self, fault: Fault) -> None:
        ends = time.monotonic() + min(fault.lasts_s, 5.0)
        while time.monotonic() < ends:
            self._lanes[fault.victim].cut()
            await asyncio.sleep(0.5)

    async def _disk(self, fault: Fault) -> None:
        pid, ends = await self._pid("kafka"), time.monotonic() + fault.lasts_s
        while time.monotonic() < ends:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(BURST_S)
            finally:
                os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(BURST_S / 2)

    async def _step(self, fault: Fault) -> None:
        self._clock.write_text(str(fault.size))
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            self._clock.write_text("0")

    async def _guest(self, fault: Fault) -> None:
        """A rebalance without a death: a worker joins, works, and leaves as it is told to."""
        (port,) = ports.choose(["guest"], {}).values()
        data_dir = self._platform.layout.data_dir
        command = [sys.executable, "-m", MODULES[fault.victim], "--data-dir", str(data_dir), "--http-port", str(port)]
        with (data_dir / "logs" / f"guest-{port}.log").open("wb") as out:
            guest = await asyncio.create_subprocess_exec(
                *command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=guest_environment(self._platform)
            )
        try:
            await _healthy(port)
            await asyncio.sleep(fault.lasts_s)
            guest.terminate()
            async with asyncio.timeout(30):
                await guest.wait()
        finally:
            if guest.returncode is None:
                guest.kill()
                await guest.wait()


def clock_file(data_dir: Path) -> Path:
    """How far the workers' clocks are ahead, in seconds."""
    return data_dir / "clock"


def guest_environment(platform: LocalPlatform) -> dict[str, str]:
    """What a worker needs that the platform's supervisor does not start."""
    settings = platform.settings
    return {
        **platform._env,
        "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
        "BACKPLANE_REGISTRY__URL": settings.registry.url,
        "BACKPLANE_IDENTITY__MASTER_FILE": str(settings.identity.master_file),
        "BACKPLANE_IDENTITY__KEYS_DIR": str(settings.identity.keys_dir),
    }


async def _healthy(port: int) -> None:
    """It has told that it works: behind a rebalance, which may wait until a member that stands still is given up."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(GUEST_LIMIT_S):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
