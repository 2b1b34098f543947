"""The sink as a process of its own, on a real broker; and the facts it is to take, read back from Kafka."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import clickhouse_connect
import httpx
from confluent_kafka import KafkaError, TopicPartition

from agents_sdk.settings import Settings
from agents_sdk.topics import FACT_TOPICS
from backplane.platform.ports import choose
from backplane.runtime.clients import reader
from tests.support.eventually import assert_eventually
from tests.support.ledgers import kafka_environment


class EncodedRecord(NamedTuple):
    """A committed record of a fact topic."""

    topic: str
    partition: int
    offset: int
    value: bytes


class SinkProcess:
    """``python -m backplane.sink`` in a data directory of its own; ``kill`` and ``start`` as often as wanted."""

    def __init__(self, settings: Settings, data_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.env = dict(env or {})
        self.data_dir = data_dir
        self.port = choose(["store"], {})["store"]
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir / "sink.log"
        data_dir.mkdir(parents=True, exist_ok=True)

    def start(self) -> Self:
        """Starts it; does not wait."""
        registry = self.settings.registry.url
        env = {
            **os.environ,
            **kafka_environment(self.settings),
            "BACKPLANE_REGISTRY__URL": registry,
            **self.env,
        }
        where = ["--data-dir", str(self.data_dir), "--http-port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "backplane.sink", *where], env=env, stderr=log)
        return self

    def health(self) -> dict[str, Any]:
        """What it says; status ``gone`` while it does not answer."""
        try:
            said: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=15).json()
        except httpx.HTTPError:
            return {"status": "gone", "lag": {}}
        return said

    def wait_until_caught_up(self, limit_s: float = 60) -> dict[str, Any]:
        """Until it runs and nothing is behind."""

        def check() -> dict[str, Any]:
            said = self.health()
            assert said["status"] == "ok", (said, self.log.read_text()[-2000:])
            assert said["lag"], said
            assert not any(said["lag"].values()), said
            return said

        return assert_eventually(check, limit_s)

    def rows(self, sql: str) -> list[Any]:
        """What the store answers."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, database="backplane")
        try:
            return list(client.query(sql).result_rows)
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def committed(settings: Settings) -> list[EncodedRecord]:
    """Every committed record of every fact topic."""
    consumer = reader(settings.kafka)
    known = consumer.list_topics(timeout=10).topics
    places = [(topic, number) for topic in FACT_TOPICS if topic in known for number in known[topic].partitions]
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in places])
    found: list[EncodedRecord] = []
    open_ = set(places)
    while open_:
        for message in consumer.consume(1000, timeout=5.0):
            error = message.error()
            place = str(message.topic()), int(message.partition() or 0)
            if error is None:
                found.append(EncodedRecord(*place, int(message.offset() or 0), bytes(message.value() or b"")))
            elif error.code() == KafkaError._PARTITION_EOF:
                open_.discard(place)
            else:
                raise AssertionError(error.str())
    consumer.close()
    return found
