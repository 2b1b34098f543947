"""Ledger workers as processes of a test's own: started, told to stop, killed; and a client that speaks Avro by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from confluent_kafka import Producer

from agents_sdk.settings import Settings
from agents_sdk.topics import COMMANDS
from backplane.platform.ports import choose
from backplane.runtime import clients
from tests.support.eventually import assert_eventually

ROOT = Path(__file__).parents[2]


def kafka_environment(settings: Settings) -> dict[str, str]:
    """Where Kafka is and who asks, as a process is told."""
    return {f"BACKPLANE_KAFKA__{name.replace('.', '_')}".upper(): value for name, value in settings.kafka.items()}


def registry_environment(settings: Settings) -> dict[str, str]:
    """The same of the registry."""
    registry = settings.registry
    secret = registry.password.get_secret_value()
    login = {"BACKPLANE_REGISTRY__USERNAME": registry.username, "BACKPLANE_REGISTRY__PASSWORD": secret}
    return {"BACKPLANE_REGISTRY__URL": registry.url, **(login if registry.username else {})}


class LedgerProcess:
    """One worker, with a snapshot every ``facts_between`` facts. ``fresh`` gives it a port and a table of its own."""

    def __init__(
        self, settings: Settings, *, facts_between: int = 50_000, module: str = "tests.support.chaos.ledger"
    ) -> None:
        """``module``: the program; one of the tests' own may be a worker that some records kill."""
        self.settings = settings
        self.port = choose(["ledger"], {})["ledger"]
        self.log = Path(settings.data_dir) / "logs" / f"ledger-{self.port}.log"
        self._facts_between = facts_between
        self._module = module
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it; does not wait."""
        env = {
            **os.environ,
            **kafka_environment(self.settings),
            **registry_environment(self.settings),
            "BACKPLANE_LIMITS__MAX_VALUE_BYTES": str(self.settings.limits.max_value_bytes),
            "TEST_FACTS_BETWEEN": str(self._facts_between),
            # as on a local platform: a name that is new is granted what it declares
            "BACKPLANE_IDENTITY__DECLARATIONS": "first",
        }
        if self.settings.identity.master_file is not None:
            env["BACKPLANE_IDENTITY__MASTER_FILE"] = str(self.settings.identity.master_file)
        if self.settings.identity.unproven_file is not None:
            env["BACKPLANE_IDENTITY__UNPROVEN_FILE"] = str(self.settings.identity.unproven_file)
        where = ["--data-dir", str(self.settings.data_dir), "--http-port", str(self.port)]
        command = [sys.executable, "-m", self._module, *where]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=ROOT)
        return self

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it, gracefully unless told otherwise; its exit code."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def health(self) -> dict[str, Any]:
        """What it says; status ``gone`` while it does not answer."""
        try:
            said: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).json()
        except httpx.HTTPError:
            return {"status": "gone", "lag": {}}
        return said

    def partitions(self) -> set[str]:
        """The partitions it serves."""
        said = self.health()
        assert said["status"] == "ok", (said, self.log.read_text()[-2000:])
        return set(said["lag"])

    def wait_until_ready(self, count: int | None = None, limit_s: float = 90.0) -> None:
        """Until it serves ``count`` partitions; any number, none included, without."""

        def check() -> None:
            served = self.partitions()
            assert count is None or len(served) == count, served

        assert_eventually(check, limit_s)


def put(settings: Settings, records: Iterable[dict[str, Any]], topic: str = COMMANDS) -> list[tuple[int, int]]:
    """Writes records as they are (``value``, ``key``, ``headers``, ``partition``); partition and offset of each."""
    places: list[tuple[int, int]] = []

    def written(error: Any, message: Any) -> None:
        assert error is None, error
        places.append((message.partition(), message.offset()))

    producer: Producer = clients.producer(settings.kafka, message_max_bytes=64_000_000)
    for record in records:
        producer.produce(topic, on_delivery=written, **record)
        producer.flush(30)
    return places
