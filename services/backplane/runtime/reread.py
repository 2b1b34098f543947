"""Records of a topic that were delivered before, read again as they were then: by the same parser, to the same values.

librdkafka does not read all that the workers' consumer reads (``records``), and a record that is decided again has to
lead to the same facts.
"""

from __future__ import annotations

import time
from typing import Any, Final

import aiokafka
import faust
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from backplane.runtime import batch  # noqa: F401 — it gives aiokafka the parser that raises nothing
from backplane.runtime.batch import Record

LATE_S: Final = 30.0
"""As ``log.LATE_S``: how long committed records may stay invisible."""
WAIT_MS: Final = 200


async def reread(app: faust.App, topic: str, partition: int, start: int, stop: int) -> list[Record]:
    """The committed records of [start, stop), in their order. Raises TimeoutError where they do not become visible,
    KafkaError."""
    auth: Any = credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context)
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=[f"{url.host}:{url.port}" for url in app.conf.broker],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=app.conf.consumer_max_fetch_size,
        **auth,
    )
    try:
        await consumer.start()
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, start)
        found: list[Record] = []
        late = time.monotonic() + LATE_S
        while await consumer.position(place) < stop:
            fetched = await consumer.getmany(place, timeout_ms=WAIT_MS)
            wanted = (one for one in fetched.get(place, ()) if start <= one.offset < stop)
            found += (Record(one.offset, one.timestamp, one.key, one.value, tuple(one.headers)) for one in wanted)
            if fetched:
                late = time.monotonic() + LATE_S
            if time.monotonic() > late:
                raise TimeoutError(f"{topic}[{partition}] cannot be read up to offset {stop} after {LATE_S:g} s")
        return found
    finally:
        await consumer.stop()
