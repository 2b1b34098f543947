"""How far a partition was read before: the place of its last proven record, by which the next copy is recognized."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Consumer, TopicPartition

from agents_sdk.proofs import ProofChecker
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.proof import BEFORE_ALL, Place
from backplane.runtime.log import read_range

FIRST_LOOK: Final = 20
LOOK_BACK: Final = 2_000
TIMEOUT_S: Final = 10.0


def last_place(consumer: Consumer, guard: ProofChecker, topic: str, partition: int, offset: int) -> Place:
    """The greatest place that a record shortly before ``offset`` is proven for; ``BEFORE_ALL`` where there is none.
    Blocks. Raises KafkaException."""
    low = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)[0]
    last, stop, size = BEFORE_ALL, offset, FIRST_LOOK
    while last == BEFORE_ALL and stop > low:
        start = max(low, stop - size)
        for message in read_range(consumer, topic, partition, start, stop):
            place = guard.place(topic, partition, message.key(), message.value(), headers_of(message))
            last = max(last, place or BEFORE_ALL)
        stop, size = start, LOOK_BACK
    return last
