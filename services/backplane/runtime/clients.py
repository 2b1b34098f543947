"""confluent-kafka clients with the properties that Backplane's guarantees rest on, over the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from agents_sdk.wire.consuming import UnreadableBatch, consumer
from agents_sdk.wire.quiet import RECONNECT_MS

MESSAGE_MAX_BYTES: Final = 4_000_000
"""The largest record that our producers send."""
SAME_PARTITIONER = {"partitioner": "murmur2_random"}
"""Java's default: a record has the same partition whichever client wrote it."""

CONNECTED = {"enable.sparse.connections": False}
"""Connect to all brokers at once. A client that looks for the one it needs waits for half of ``reconnect.backoff.ms``
first. It may find it too late for its own timers of 500 ms: 5 ms instead of 250 to 500 to fence a predecessor."""
QUICK_MS = 10
"""``fetch.wait.max.ms`` of who reads to an end and goes on then: topics without news hold it up for so long each."""


def producer(kafka: Mapping[str, str], **properties: Any) -> Producer:
    """An idempotent producer: retries neither duplicate nor reorder."""
    return Producer(
        {
            "enable.idempotence": True,
            "reconnect.backoff.ms": RECONNECT_MS,
            "linger.ms": 0,
            "compression.type": "lz4",
            "message.max.bytes": MESSAGE_MAX_BYTES,
            **SAME_PARTITIONER,
            **CONNECTED,
            **kafka,
            **{name.replace("_", "."): value for name, value in properties.items()},
        }
    )


def reader(
    kafka: Mapping[str, str], passed: Callable[[UnreadableBatch], None] | None = None, **properties: Any
) -> Consumer:
    """A consumer for ``assign``: committed records only, no group, no commits; it reads only its assignment. ``passed``
    is called with each batch that cannot be read, see ``agents_sdk.wire.consuming``."""
    return consumer(
        {
            "group.id": "bp.reader",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": 16_384,
            **CONNECTED,
            **kafka,
            **{name.replace("_", "."): value for name, value in properties.items()},
        },
        passed,
    )
