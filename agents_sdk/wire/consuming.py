"""A consumer that no record can stop, for all who read with confluent_kafka.

Kafka keeps records that its C client cannot read. A batch that inflates to more than 100 MB is asked for again and
again, for ever: the partition stands still. A header whose name is not UTF-8 raises SystemError when it is looked at.
Here a batch that cannot be read is passed over and reported, and headers are read as far as they can be.

confluent_kafka takes 0.1 s to import, and is imported when the first consumer is made.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

log = logging.getLogger("backplane.kafka")

_HEADERS: Final = methodcaller("headers")
PROBE_S: Final = 10.0
"""How long the broker may take to answer one probe for the end of a batch."""


class UnreadableBatch(NamedTuple):
    """A batch that cannot be read: its first offset, the offset after it, and librdkafka's words about it."""

    topic: str
    partition: int
    start: int
    stop: int
    why: str


def consumer(config: Mapping[str, Any], passed: Callable[[UnreadableBatch], None] | None = None) -> Consumer:
    """A confluent_kafka consumer that goes on after a batch it cannot read. ``passed`` is called with each such batch,
    in the thread that polls; it is logged in any case."""
    made: Consumer = _class()(dict(config))
    made._passed = passed  # type: ignore[attr-defined]  # of the class below
    made._config = dict(config)  # type: ignore[attr-defined]
    return made


def headers_of(message: Any) -> list[tuple[str, bytes | str | None]]:
    """The headers of a message; empty where it has none, or none that can be read.

    Where a name is not UTF-8 the binding returns a broken list and leaves an exception set besides. Called from
    bytecode, that exception appears somewhere else; called from C, as here, it is found at once. A second call would
    give the broken list again."""
    try:
        return list(_HEADERS(message) or ())
    except (SystemError, UnicodeDecodeError, ValueError):
        with contextlib.suppress(Exception):
            message.set_headers([])
        return []


def come(consumer: Consumer, wait_s: float, most: int) -> list[Message]:
    """The messages there are, ``most`` and one at most, as soon as there is one; nothing after ``wait_s``. ``consume``
    alone would wait for ``most``. Raises KafkaException."""
    first = consumer.poll(wait_s)
    return [first, *consumer.consume(most, timeout=0)] if first is not None else []


@cache
def _class() -> type[Any]:
    from confluent_kafka import Consumer

    class SkippingConsumer(Consumer):
        """Consumer, but for the batches that it cannot read."""

        _passed: Callable[[UnreadableBatch], None] | None = None
        _config: Mapping[str, Any]

        def poll(self, timeout: float = -1) -> Any:
            message = super().poll(timeout)
            return None if message is not None and self._unreadable(message) else message

        def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
            messages = super().consume(num_messages, timeout)
            if all(message.error() is None for message in messages):
                return messages
            return [message for message in messages if not self._unreadable(message)]

        def _unreadable(self, message: Any) -> bool:
            error = message.error()
            if error is None or error.code() not in _unreadable_codes():
                return False
            batch = _pass_over(self, self._config, message)
            if batch is not None and self._passed is not None:
                self._passed(batch)
            return True

    return SkippingConsumer


def _pass_over(reader: Consumer, config: Mapping[str, Any], message: Any) -> UnreadableBatch | None:
    """Sets the reader after the batch that the message is an error about; None where that is not possible now."""
    from confluent_kafka import KafkaException, TopicPartition

    topic, partition, start = str(message.topic()), int(message.partition()), int(message.offset())
    why = message.error().str()
    try:
        stop = end_of_batch(config, topic, partition, start)
        reader.seek(TopicPartition(topic, partition, stop))
    except KafkaException as failure:
        # the broker is away, or the partition is no longer ours: librdkafka tells of the batch again
        log.warning("%s[%d] offset %d cannot be read or passed over now: %s", topic, partition, start, failure)
        return None
    log.error("%s[%d]: offsets %d to %d cannot be read and are passed over: %s", topic, partition, start, stop - 1, why)
    return UnreadableBatch(topic, partition, start, stop, why)


@cache
def _unreadable_codes() -> frozenset[int]:
    from confluent_kafka import KafkaError

    return frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError._NOT_IMPLEMENTED})


def end_of_batch(config: Mapping[str, Any], topic: str, partition: int, start: int) -> int:
    """The offset after the unreadable batch that begins at ``start``. Blocks for some round trips. The client does not
    say how long a batch is, but a read that begins inside it fails with the batch's own offset. So the end is searched
    for, by steps that double and then by halves. Raises KafkaException."""
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    kept = {name: value for name, value in config.items() if not name.startswith(("group.", "client.id"))}
    probe = Consumer(
        {
            **kept,
            "group.id": "bp.reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
        }
    )

    def inside(offset: int) -> bool:
        probe.assign([TopicPartition(topic, partition, offset)])
        message = probe.poll(PROBE_S)
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        return error is not None and error.code() in _unreadable_codes() and int(message.offset() or 0) == start

    try:
        limit = int(probe.get_watermark_offsets(TopicPartition(topic, partition), timeout=PROBE_S)[1])
        low, high, step = start, min(start + 1, limit), 1
        while high < limit and inside(high):
            low, step = high, step * 2
            high = min(high + step, limit)
        while high - low > 1:
            middle = (low + high) // 2
            if inside(middle):
                low = middle
            else:
                high = middle
        return max(high, start + 1)
    finally:
        probe.close()
