"""What raw librdkafka does in one Python process on the same broker: acks=all, idempotent, records of 300 bytes."""

from __future__ import annotations

import io
import os
from typing import Any, Final

import fastavro
import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public, but not in __all__

from agents_sdk import schemas
from agents_sdk.wire.codec import without_logical_types
from tests.benchmarks.facts import written
from tests.benchmarks.stage import PAYLOAD_BYTES, Figures, Stage, Stopwatch, quantiles

TOPIC: Final = "bench.floor"
PAYLOAD: Final = os.urandom(PAYLOAD_BYTES)
WARM_UP: Final = 50


def measure(stage: Stage) -> Figures:
    """All floors."""
    admin = AdminClient({**stage.settings.kafka})
    partitions = stage.settings.topics.partitions
    for made in admin.create_topics([NewTopic(TOPIC, partitions, 1)]).values():
        made.result()
    count = stage.size(200_000, 20_000)
    _produce(stage, count // 10)  # the broker's code is compiled as it runs
    return {
        "produce_per_s": round(_produce(stage, count)),
        "produce_avro_per_s": round(_produce_avro(stage, count // 2)),
        **{f"pingpong_{name}": value for name, value in quantiles(_pingpong(stage, stage.size(1000, 200))).items()},
        **{
            f"transaction_{name}": value for name, value in quantiles(_transactions(stage, stage.size(300, 60))).items()
        },
    }


def _producer(stage: Stage, **more: Any) -> Producer:
    return Producer(
        {
            "enable.idempotence": True,
            "acks": "all",
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,
            **stage.settings.kafka,
            **{name.replace("_", "."): value for name, value in more.items()},
        }
    )


def _produce(stage: Stage, count: int) -> float:
    producer = _producer(stage)
    keys = [f"run-{number}".encode() for number in range(100)]
    watch = Stopwatch()
    for number in range(count):
        producer.produce(TOPIC, PAYLOAD, keys[number % 100])
    producer.flush()
    return count / watch.seconds


def _produce_avro(stage: Stage, count: int) -> float:
    """As ``_produce``, each record encoded by fastavro from a dict with the schema of a state fact."""
    producer = _producer(stage)
    schema = fastavro.parse_schema(without_logical_types(schemas.latest("StateEvent")))
    facts = [
        msgspec.structs.asdict(written(f"run-{number:032}", number, number, 0, PAYLOAD_BYTES)) for number in range(100)
    ]
    keys = [fact["run_id"].encode() for fact in facts]
    watch = Stopwatch()
    for number in range(count):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, facts[number % 100])
        producer.produce(TOPIC, out.getvalue(), keys[number % 100])
    producer.flush()
    return count / watch.seconds


def _pingpong(stage: Stage, count: int) -> list[float]:
    """Seconds from producing one record to having consumed it."""
    producer = _producer(stage, linger_ms=0)
    consumer = Consumer({"group.id": "bench", "enable.auto.commit": False, **stage.settings.kafka})
    try:
        end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=10)[1]
        consumer.assign([TopicPartition(TOPIC, 0, end)])
        taken = []
        for _ in range(count + WARM_UP):
            watch = Stopwatch()
            producer.produce(TOPIC, PAYLOAD, partition=0)
            if consumer.poll(10) is None:
                raise TimeoutError("a record did not come back within 10 s")
            taken.append(watch.seconds)
        return taken[WARM_UP:]
    finally:
        producer.flush()
        consumer.close()


def _transactions(stage: Stage, count: int) -> list[float]:
    """Seconds from beginning a transaction of one record to having committed it."""
    producer = _producer(stage, transactional_id="bench", linger_ms=0)
    producer.init_transactions(30)
    taken = []
    for _ in range(count + WARM_UP):
        watch = Stopwatch()
        producer.begin_transaction()
        producer.produce(TOPIC, PAYLOAD, partition=0)
        producer.commit_transaction(30)
        taken.append(watch.seconds)
    return taken[WARM_UP:]
