"""Processes are started before their platform, and while it goes away: they wait, say so once, and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from agents_sdk import Settings
from agents_sdk.core.commands import Command
from agents_sdk.topics import COMMANDS
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from backplane.platform.ports import choose
from backplane.runtime import clients
from backplane.runtime.log import read_range
from tests.support.eventually import assert_eventually
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT: Final = Path(__file__).parents[2]
AGENTS: Final = ROOT / "tests" / "support" / "chaos" / "agents.py"
NAMES: Final = ("fault_left", "fault_right", "fault_tally", "fault_digest")
LIMIT_S: Final = 120.0
WAITS: Final = "waiting for the platform"


class Process:
    """A process of the platform's, or of agents, with what it says in a file."""

    def __init__(self, settings: Settings, name: str, *command: str) -> None:
        self.log = Path(settings.data_dir) / "logs" / f"{name}.log"
        env = {
            **os.environ,
            "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
            "BACKPLANE_REGISTRY__URL": settings.registry.url,
            "BACKPLANE_IDENTITY__KEYS_DIR": str(settings.identity.keys_dir),
            "BACKPLANE_IDENTITY__MASTER_FILE": str(settings.identity.master_file),
        }
        with self.log.open("wb") as log:
            where = ["--data-dir", str(settings.data_dir)]
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, *where], env=env, stdout=log, stderr=log, cwd=ROOT
            )

    def says(self, text: str) -> int:
        """How often it has said so."""
        return self.log.read_text().count(text)

    def has_said(self, text: str) -> None:
        """Waits for it, and for nothing from a process that has ended."""

        def said() -> None:
            self.lives()
            assert self.says(text), self.log.read_text()[-2_000:]

        assert_eventually(said, LIMIT_S)

    def lives(self) -> None:
        """Fails the test where it has ended."""
        if (code := self.process.poll()) is not None:
            pytest.fail(f"{self.log.name} ended with {code}: {self.log.read_text()[-2_000:]}")

    def end(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


class Worker(Process):
    """A service that answers at /health."""

    def __init__(self, settings: Settings, name: str, module: str) -> None:
        self.port = choose([name], {})[name]
        super().__init__(settings, name, module, "--http-port", str(self.port))

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        self.lives()
        try:
            body: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).json()
        except httpx.HTTPError as error:
            raise AssertionError(str(error)) from error
        return body

    def says_it_is(self, status: str) -> None:
        """Waits until it says so."""

        def said() -> None:
            assert self.health()["status"] == status

        assert_eventually(said, LIMIT_S)


def agents(settings: Settings, name: str) -> Process:
    """Four agents."""
    return Process(settings, name, "backplane.cli.app", "agents", "run", str(AGENTS))


@pytest.fixture
def away(tmp_path: Path, prepared: Prepared) -> Iterator[LocalPlatform]:
    """A platform that has run before, and does not now. Its ledger is the test's."""
    made = LocalPlatform(prepared.copy(tmp_path / "away"), parts=("kafka", "registry", "topics"))
    made.start()
    yield made
    made.stop()


def registrations(settings: Settings) -> list[str]:
    """Who was registered, from all partitions: a name for each command, however often it was sent for want of an
    answer."""
    codec = connect_codec(settings)
    consumer = clients.reader(settings.kafka)
    try:
        found: dict[str, str] = {}
        for partition in range(settings.topics.partitions):
            for message in read_range(consumer, COMMANDS, partition, 0, _end(consumer, partition)):
                command = codec.decode(message.value())
                if isinstance(command, Command) and command.registration is not None:
                    found[command.command_id] = command.registration.name
        return sorted(found.values())
    finally:
        consumer.close()


def _end(consumer: Any, partition: int) -> int:
    from confluent_kafka import TopicPartition

    return int(consumer.get_watermark_offsets(TopicPartition(COMMANDS, partition), timeout=10)[1])


def test_every_process_waits_for_its_platform_says_so_once_and_registers_once(away: LocalPlatform) -> None:
    """First there is nothing; then there is no ledger; then the ledger is frozen, then Kafka, while others start; then
    Kafka is killed while a ledger starts. Nobody ends, and each start registers each agent once in each partition."""
    settings = away.settings
    away.stop()
    workers = [
        Worker(settings, "executor", "backplane.executor"),
        Worker(settings, "sink", "backplane.sink"),
        Worker(settings, "console", "backplane.console"),
    ]
    first = agents(settings, "first")
    ledger = Worker(settings, "ledger", "backplane.ledger")
    started: list[Process] = [*workers, first, ledger]
    try:
        for process in (workers[0], first, ledger):
            process.has_said(WAITS)
        workers[1].says_it_is("paused")
        away.start()
        for process in (workers[0], workers[1], workers[2], ledger):
            process.says_it_is("ok")
        first.has_said("agents: ready")
        assert {process.says(WAITS) for process in (workers[0], first, ledger)} == {1}
        once = sorted(NAMES * settings.topics.partitions)
        assert registrations(settings) == once

        os.kill(ledger.process.pid, signal.SIGSTOP)
        started.append(second := agents(settings, "second"))
        second.has_said("no ledger has answered RegisterAgent")
        os.kill(ledger.process.pid, signal.SIGCONT)
        second.has_said("agents: ready")
        os.kill(away.pid("kafka"), signal.SIGSTOP)
        started.append(third := agents(settings, "third"))
        third.has_said(WAITS)
        os.kill(away.pid("kafka"), signal.SIGCONT)
        third.has_said("agents: ready")
        assert (second.says(WAITS), third.says(WAITS)) == (1, 1)
        assert registrations(settings) == sorted([*once, *once, *once])

        started.append(other := Worker(settings, "ledger-2", "backplane.ledger"))
        away.kill("kafka")
        other.says_it_is("ok")
        ledger.says_it_is("ok")
        for process in started:
            process.lives()
    finally:
        for process in started:
            process.end()
