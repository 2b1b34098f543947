"""One trial: batches of inputs against a platform, and after each a look at whether it lives as before."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from agents_sdk import AsyncBackplane
from agents_sdk.keys import Keys
from agents_sdk.signer import Signer
from agents_sdk.topics import TOPIC_OF_REGISTRY, inbox
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.fuzz import ports
from tests.fuzz.topics import Topics
from tests.fuzz.values import Values
from tests.support.eventually import assert_eventually
from tests.support.raw_records import RawProducer, Refused

CLIENT: Final = "fuzzer"
CANARY_S: Final = 60.0
"""For the runs after a batch, on a machine that others use too."""
PORTS: Final = ("ledger", "executor", "sink", "console")
MEMORY_MB: Final = {"sink": 2_000}
"""The most that a part may hold, 800 where it is not named: the store's engine caches. What grows with the inputs meets
it, as the console did that kept all dead letters."""
OWN_MB: Final = 800
SHARE: Final = {"bp.commands": 8}
"""How often a topic is chosen; 1 without."""


@dataclass
class Report:
    """What a trial found."""

    seed: int
    inputs: int = 0
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Topic or port → kind of input → how many."""
    canaries_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    rss_mb: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Part → before and after."""


class Trial:
    """A platform under fire."""

    def __init__(self, platform: LocalPlatform, seed: int) -> None:
        self._platform = platform
        settings = platform.settings
        codec = connect_codec(settings)
        self.values = Values(seed, codec, CLIENT)
        self._topics = Topics(self.values, Signer(codec, Keys.of(settings)), CLIENT, inbox("canary"))
        self._producer = RawProducer(settings.kafka)
        self._partitions = settings.topics.partitions
        self._pids = self._running()
        self._logs = {path: path.stat().st_size for path in platform.layout.logs.glob("*.log")}
        self.report = Report(seed)
        self._before = self._rss()

    def close(self) -> None:
        self._producer.close()

    def _running(self) -> dict[str, int]:
        parts = self._platform.record()["parts"]
        return {name: part["pid"] for name, part in parts.items() if part["pid"] and not part["task"]}

    def _rss(self) -> dict[str, int]:
        return {name: psutil.Process(pid).memory_info().rss >> 20 for name, pid in self._pids.items()}

    async def batch(self, inputs: int, size: int, backplane: AsyncBackplane) -> None:
        """Sends ``inputs`` inputs, in record batches of ``size``; then runs have to go on."""
        await asyncio.to_thread(self._send, inputs, size)
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._canary(backplane), CANARY_S)
        except Exception as error:  # noqa: BLE001 — that is what is looked for
            self.report.faults.append(
                f"after {self.report.inputs} inputs no run goes on: {type(error).__name__}: {error}"
            )
        self.report.canaries_s.append(time.monotonic() - began)
        self._look()

    def _send(self, inputs: int, size: int) -> None:
        chance = self.values.random
        names = [name for name in self._topics.record_of for _ in range(SHARE.get(name, 1))]
        left = inputs
        while left > 0:
            count = min(size, left)
            left -= count
            self.report.inputs += count
            if chance.random() < 0.02:
                self._to_a_port(min(count, 20))
                self.report.inputs -= count - min(count, 20)
                continue
            made = self._topics.batch(chance.choice(names), count)
            partition = 0 if made.topic in TOPIC_OF_REGISTRY.values() else chance.randrange(self._partitions)
            try:
                self._producer.send(made.topic, partition, made.data)
            except Refused as refused:
                made.kinds[f"refused by Kafka with {refused.code}"] += count
            self.report.kinds[made.topic].update(made.kinds)

    def _to_a_port(self, count: int) -> None:
        name = self.values.random.choice(PORTS)
        for _ in range(count):
            kind, data = ports.request(self.values)
            ports.send(self._platform.port(name), data)
            self.report.kinds[f"port of {name}"][kind] += 1

    async def _canary(self, backplane: AsyncBackplane) -> None:
        """Runs in all partitions are handled by the agent and end with what they began with."""

        async def one(number: int) -> None:
            run = await backplane.start_run("canary", number)
            self.values.known.append(run.id)
            result: Any = await run.wait()
            assert result.result == number, result

        await asyncio.gather(*(one(number) for number in range(2 * self._partitions)))
        del self.values.known[:-50]

    def _look(self) -> None:
        """The same processes, no traceback, no partition put aside."""
        now = self._running()
        for name, pid in self._pids.items():
            if now.get(name) != pid:
                self.report.faults.append(f"after {self.report.inputs} inputs {name} is not the process it was")
        self._pids = now
        for path in self._logs:
            for line in self._new_lines(path):
                if line.startswith("Traceback") or "segmentation fault" in line.lower():
                    self.report.faults.append(f"after {self.report.inputs} inputs {path.name} has a traceback")
                    break
        self.report.rss_mb = {name: (self._before.get(name, 0), after) for name, after in self._rss().items()}
        for name, (_, after) in self.report.rss_mb.items():
            if after > MEMORY_MB.get(name, OWN_MB):
                self.report.faults.append(f"after {self.report.inputs} inputs {name} holds {after} MB")

    def _new_lines(self, path: Path) -> Iterator[str]:
        with contextlib.suppress(OSError), path.open(errors="replace") as opened:
            if path.stat().st_size >= self._logs[path]:
                opened.seek(self._logs[path])
            yield from opened
            self._logs[path] = opened.tell()


@contextlib.contextmanager
def canary_agent(platform: LocalPlatform) -> Iterator[subprocess.Popen[bytes]]:
    """The agent in a process of its own, whose log lies beside the platform's."""
    log = platform.layout.logs / "canary-agent.log"
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(Path(__file__).parent / "agent.py")]
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [*command, "--data-dir", str(platform.layout.data_dir)], stderr=opened, stdout=opened
        )
    try:
        assert_eventually(lambda: _ready(log), 300)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _ready(log: Path) -> None:
    assert "agents: ready" in log.read_text(), log.read_text()


async def fuzz(platform: LocalPlatform, seed: int, inputs: int, batch: int, size: int, say: Any = print) -> Report:
    """``inputs`` inputs in batches of ``batch``, each followed by the canary."""
    settings = platform.settings
    with canary_agent(platform) as agent:
        async with AsyncBackplane.connect(settings, name=CLIENT) as backplane:
            trial = Trial(platform, seed)
            try:
                await trial.batch(0, size, backplane)
                while trial.report.inputs < inputs:
                    await trial.batch(min(batch, inputs - trial.report.inputs), size, backplane)
                    say(f"{trial.report.inputs} inputs, {trial.report.canaries_s[-1]:.1f} s, {trial.report.rss_mb}")
                    if agent.poll() is not None:
                        trial.report.faults.append(f"after {trial.report.inputs} inputs the agent has ended")
                    if trial.report.faults:
                        break
            finally:
                trial.close()
    return trial.report
