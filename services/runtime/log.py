"""Reading ranges of the log: one partition number over several topics, merged into the order it was decided in.

Used by recovery and replay. Memory is bounded: a topic that runs ahead of the merge is paused.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

R = TypeVar("R")

PAUSE_ABOVE: Final = 20_000
"""Records of a topic buffered while another one is behind; about 20 MB of small facts."""
RESUME_BELOW: Final = 5_000
CHUNK: Final = 1_000
POLL_S: Final = 0.02
"""Short: ``consume`` waits this long for a full chunk, also where the log has ended; a takeover waits for that."""


class Located(NamedTuple):
    """A decoded record with its place in the log."""

    topic: str
    offset: int
    timestamp_ms: int
    record: object


def read_range(consumer: Consumer, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
    """The records of one partition in [start, stop), fewer where the log ends before. Raises KafkaException."""
    if start >= stop:
        return
    consumer.assign([TopicPartition(topic, partition, start)])
    while True:
        for message in consumer.consume(CHUNK, timeout=POLL_S):
            if _ended(message):
                return
            if message.offset() >= stop:  # type: ignore[operator]  # a fetched message has an offset
                return
            yield message
            if message.offset() == stop - 1:
                return


def _ended(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaException(error)


class _Merge:
    """Buffers of the topics being merged; ``open`` are those that have not been read to their end."""

    def __init__(self, consumer: Consumer, partition: int, starts: Mapping[str, int]) -> None:
        self.consumer = consumer
        self.partition = partition
        self.buffers: dict[str, deque[Located]] = {topic: deque() for topic in starts}
        self.open = set(starts)
        self.paused: set[str] = set()

    def fill(self, decode: Callable[[bytes | None], object]) -> None:
        """Polls once; pauses what is far ahead."""
        for message in self.consumer.consume(CHUNK, timeout=POLL_S):
            topic = str(message.topic())
            if _ended(message):
                self.open.discard(topic)
                continue
            located = Located(topic, message.offset() or 0, message.timestamp()[1], decode(message.value()))
            self.buffers[topic].append(located)
        for topic, buffer in self.buffers.items():
            if len(buffer) > PAUSE_ABOVE and topic not in self.paused:
                self.paused.add(topic)
                self.consumer.pause([TopicPartition(topic, self.partition)])

    def took(self, topic: str) -> None:
        if topic in self.paused and len(self.buffers[topic]) < RESUME_BELOW:
            self.paused.discard(topic)
            self.consumer.resume([TopicPartition(topic, self.partition)])

    def starved(self) -> bool:
        return any(not self.buffers[topic] for topic in self.open)


def read_merged(
    consumer: Consumer,
    partition: int,
    starts: Mapping[str, int],
    decode: Callable[[bytes | None], object],
    order: Callable[[object], tuple[int, ...]],
) -> Iterator[Located]:
    """The committed records of one partition number of several topics, from ``starts`` to the present end, merged by
    ``order``; each topic must already be in that order. Raises KafkaException, and what ``decode`` raises."""
    consumer.assign([TopicPartition(topic, partition, offset) for topic, offset in starts.items()])
    merge = _Merge(consumer, partition, starts)
    heads: list[tuple[tuple[int, ...], str]] = []
    headless = set(starts)
    while True:
        while merge.starved():
            merge.fill(decode)
        for topic in [topic for topic in headless if merge.buffers[topic]]:
            heapq.heappush(heads, (order(merge.buffers[topic][0].record), topic))
            headless.discard(topic)
        if not heads:
            return
        _, topic = heapq.heappop(heads)
        yield merge.buffers[topic].popleft()
        headless.add(topic)
        merge.took(topic)
