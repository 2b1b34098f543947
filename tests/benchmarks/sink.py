"""Facts from Kafka into ClickHouse, and the floor: the same rows, prepared, inserted by the same driver."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uuid_utils
from confluent_kafka import Producer

from agents_sdk.core.facts import Fact
from agents_sdk.topics import TOPIC_OF_FACT
from services.sink.queries import connect_store
from tests.benchmarks.facts import partition, run_facts
from tests.benchmarks.stage import PAYLOAD_BYTES, Figures, Stage, Stopwatch, quantiles

RUN_LENGTH: Final = 100
BATCH: Final = 20_000
"""Rows of an insert; the sink's own bound."""
PATIENCE_S: Final = 600.0


def measure(stage: Stage) -> Figures:
    """How soon a fact can be queried; rows a second while the sink has more to read than it can take, and the floor."""
    visible = quantiles([_visible(stage) for _ in range(stage.size(40, 5))])
    count = stage.size(300_000, 30_000)
    before = stored(stage)
    write(stage, _facts(count, ended=True))
    at, watch = stored(stage), Stopwatch()
    with stage.cpu(count) as cpu:
        while stored(stage) < before + count and watch.seconds < PATIENCE_S:
            time.sleep(0.05)
        rows, seconds = stored(stage) - at, watch.seconds
    return {
        "visible_p50_ms": visible["p50_ms"],
        "visible_p95_ms": visible["p95_ms"],
        "rows_per_s": round(rows / seconds),
        "floor_rows_per_s": round(_floor(stage)),
        "cpu_us": cpu,
    }


def _visible(stage: Stage) -> float:
    """Seconds from a fact being written to a query that shows it."""
    run_id = str(uuid_utils.uuid7())
    write(stage, iter(list(run_facts(run_id, 1, 0, PAYLOAD_BYTES, ended=False))))
    store = connect_store(stage.settings)
    question = f"SELECT count() FROM {stage.settings.clickhouse.database}.events WHERE run_id = '{run_id}'"
    watch = Stopwatch()
    while not store.query(question).result_rows[0][0] and watch.seconds < PATIENCE_S:
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
    database = stage.settings.clickhouse.database
    rows = connect_store(stage.settings).query(f"SELECT count() FROM {database}.events").result_rows
    return int(rows[0][0])


def _floor(stage: Stage) -> float:
    """Rows a second of inserts alone, in an engine of this process."""
    from services.sink.engine import Engine
    from services.sink.migrate import migrate
    from services.sink.rows import Record
    from services.sink.writer import Writer

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        engine = Engine(Path(folder))
        client = engine.client()
        migrate(client, "bench")
        writer = Writer(client, "bench")
        facts = enumerate(_facts(BATCH * stage.size(5, 2), ended=True))
        records = [Record(TOPIC_OF_FACT[type(fact)], 0, number, fact.at // 1000, fact) for number, fact in facts]
        batches = [writer.prepare(records[start : start + BATCH]) for start in range(0, len(records), BATCH)]
        watch = Stopwatch()
        for batch in batches:
            writer.write(batch)
        rate = len(records) / watch.seconds
        engine.close()
        return rate
