"""Facts from Kafka into ClickHouse, and the floor: the same rows, prepared, inserted by the same driver.

The sink is held (SIGSTOP) while facts are written: it takes them faster than one Python process makes them, and a sink
that has nothing to read waits for its batch to fill, so that what was measured was the writer, and then the wait.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uuid_utils
from confluent_kafka import Producer

from agents_sdk.core.facts import Fact
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink.ingest import MAX_ROWS
from backplane.sink.rows import Record
from backplane.store.queries import connect_store
from tests.benchmarks.facts import partition, run_facts
from tests.benchmarks.stage import PAYLOAD_BYTES, Figures, Stage, Stopwatch, quantiles

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RUN_LENGTH: Final = 100
BATCH: Final = MAX_ROWS
"""Rows of an insert."""
RATE: Final = 5_000
"""Facts a second while visibility is measured under load."""
TICK_S: Final = 0.05
PATIENCE_S: Final = 600.0


def measure(stage: Stage) -> Figures:
    """How soon a fact can be queried, at rest and while 5,000 others a second come; rows a second while the sink has
    more to read than it can take, and the floor."""
    at_rest = quantiles([_visible(stage) for _ in range(stage.size(40, 5))])
    with _flowing(stage):
        in_flow = quantiles([_visible(stage) for _ in range(stage.size(40, 5))])
    count = stage.size(300_000, 30_000)
    with connect_store(stage.settings) as client:
        before = _stored(client)
        with _held(stage):
            write(stage, _facts(count, ended=True))
        watch = Stopwatch()
        with stage.cpu(count) as cpu:
            while _stored(client) < before + count and watch.seconds < PATIENCE_S:
                time.sleep(TICK_S)
        rows, seconds = _stored(client) - before, watch.seconds
    return {
        "visible_p50_ms": at_rest["p50_ms"],
        "visible_p95_ms": at_rest["p95_ms"],
        "visible_in_flow_p95_ms": in_flow["p95_ms"],
        "rows_per_s": round(rows / seconds),
        "floor_rows_per_s": round(_floor(stage)),
        "cpu_us": cpu,
    }


@contextlib.contextmanager
def _held(stage: Stage) -> Iterator[None]:
    sink = stage.processes()["sink"]
    sink.suspend()
    try:
        yield
    finally:
        sink.resume()


@contextlib.contextmanager
def _flowing(stage: Stage) -> Iterator[None]:
    """Facts come at ``RATE``, from a thread."""
    done = threading.Event()

    def paced() -> Iterator[Fact]:
        watch, count = Stopwatch(), 0
        while not done.is_set():
            yield from _facts(RUN_LENGTH, ended=True)
            count += RUN_LENGTH
            done.wait(max(0.0, count / RATE - watch.seconds))

    thread = threading.Thread(target=write, args=(stage, paced()))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _visible(stage: Stage) -> float:
    """Seconds from a fact being written to a query that shows it."""
    run_id = str(uuid_utils.uuid7())
    question = f"SELECT count() FROM {stage.settings.clickhouse.database}.events WHERE run_id = '{run_id}'"
    with connect_store(stage.settings) as client:
        write(stage, iter(list(run_facts(run_id, 1, 0, PAYLOAD_BYTES, ended=False))))
        watch = Stopwatch()
        while not client.query(question).result_rows[0][0] and watch.seconds < PATIENCE_S:
            time.sleep(0.005)
        return watch.seconds


def write(stage: Stage, facts: Iterator[Fact]) -> int:
    """Writes facts where a ledger would have, and returns how many. Not in transactions: nobody has to be fenced."""
    producer = Producer(
        {
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 500_000,
            **stage.settings.kafka,
        }
    )
    count = 0
    for fact in facts:
        number = partition(fact.run_id, stage.settings.topics.partitions)
        while True:
            try:
                producer.produce(TOPIC_OF_FACT[type(fact)], stage.codec.encode(fact), fact.run_id.encode(), number)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    producer.flush()
    return count


def _facts(count: int, *, ended: bool) -> Iterator[Fact]:
    for _ in range(count // RUN_LENGTH):
        yield from run_facts(str(uuid_utils.uuid7()), RUN_LENGTH, 0, PAYLOAD_BYTES, ended=ended)


def stored(stage: Stage) -> int:
    """Facts in the store."""
    with connect_store(stage.settings) as client:
        return _stored(client)


def _stored(client: Client) -> int:
    return int(client.query("SELECT count() FROM events").result_rows[0][0])


def _floor(stage: Stage) -> float:
    """Rows a second of inserts alone, in an engine of this process."""
    from backplane.sink.writer import Writer
    from backplane.store.engine import Engine
    from backplane.store.migrate import migrate

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        engine = Engine(Path(folder))
        client = engine.client()
        migrate(client, "bench")
        writer = Writer(client, "bench")
        batches = [writer.prepare(_records(number)) for number in range(stage.size(6, 2))]
        watch = Stopwatch()
        for batch in batches:
            writer.write(batch)
        rate = len(batches) * BATCH / watch.seconds
        client.close()
        engine.close()
        return rate


def _records(number: int) -> list[Record]:
    """Those of one batch."""
    facts = enumerate(_facts(BATCH, ended=True), number * BATCH)
    return [Record(TOPIC_OF_FACT[type(fact)], 0, offset, fact.at // 1000, fact) for offset, fact in facts]
