"""Reading ranges of the log: one partition number over several topics, merged into the order it was decided in.

Used by recovery and replay. Memory is bounded: a topic that runs ahead of the merge is paused.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents_sdk.wire.consuming import come

Accept = Callable[[Message], object | None]
"""The record in a message; None: nothing that counts."""

PAUSE_ABOVE: Final = 20_000
"""Records of a topic buffered while another one is late; about 20 MB of small facts."""
RESUME_BELOW: Final = 5_000
CHUNK: Final = 1_000
POLL_S: Final = 0.02
"""How long one look may take where nothing comes."""
LATE_S: Final = 30.0
"""How long committed records may stay invisible. A broker that was killed in the middle of a commit comes back and
finishes it partition by partition. Until then a reader gets an end that is none."""
SILENT_S: Final = 30.0
"""How long a reader may get neither a record nor an end. librdkafka says nothing of a broker that it cannot read."""


class LocatedRecord(NamedTuple):
    """A decoded record with its place in the log."""

    topic: str
    offset: int
    timestamp_ms: int
    record: object


def read_range(
    consumer: Consumer, topic: str, partition: int, start: int, stop: int, *, whole: bool = False
) -> Iterator[Message]:
    """The records of one partition in [start, stop), fewer where the log ends before; ``whole``: it is known not to.
    Raises KafkaException, also where Kafka is silent, and TimeoutError where a whole range does not become visible."""
    if start >= stop:
        return
    late = time.monotonic() + LATE_S
    silence = _Silence()
    consumer.assign([TopicPartition(topic, partition, start)])
    while True:
        silence.check(f"{topic}[{partition}]")
        if whole and time.monotonic() > late:
            raise TimeoutError(f"{topic}[{partition}] cannot be read up to offset {stop} after {LATE_S:g} s")
        for message in come(consumer, POLL_S, CHUNK):
            silence.broken()
            if _ended(message):
                if whole and (message.offset() or 0) < stop:
                    continue
                return
            if message.offset() >= stop:  # type: ignore[operator]  # a fetched message has an offset
                return
            yield message
            if message.offset() == stop - 1:
                return


class _Silence:
    """How long a reader has got nothing."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def broken(self) -> None:
        """Something came."""
        self._since = time.monotonic()

    def check(self, where: str) -> None:
        """Raises KafkaException, which passes, after ``SILENT_S``."""
        if time.monotonic() - self._since > SILENT_S:
            why = f"neither a record nor an end of {where} came within {SILENT_S:g} s"
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, why))


def _ended(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaException(error)


class _Merge:
    """Buffers of the topics being merged; ``open`` are those that have not been read to their end."""

    def __init__(self, consumer: Consumer, partition: int, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        self.ends = ends
        self.late: dict[str, float] = {}
        """Topics whose reader got an end before theirs, and since when."""
        self.consumer = consumer
        self.partition = partition
        self.buffers: dict[str, deque[LocatedRecord]] = {topic: deque() for topic in starts}
        self.open = set(starts)
        self.silence = _Silence()
        self.paused: set[str] = set()

    def fill(self, accept: Accept) -> None:
        """Polls once; pauses what is far ahead."""
        for message in come(self.consumer, POLL_S, CHUNK):
            self.silence.broken()
            topic = str(message.topic())
            if _ended(message):
                self._ended(topic, message.offset() or 0)
                continue
            record = accept(message)
            if record is not None:
                self.buffers[topic].append(LocatedRecord(topic, message.offset() or 0, message.timestamp()[1], record))
        for topic, buffer in self.buffers.items():
            if len(buffer) > PAUSE_ABOVE and topic not in self.paused:
                self.paused.add(topic)
                self.consumer.pause([TopicPartition(topic, self.partition)])

    def _ended(self, topic: str, offset: int) -> None:
        if offset >= self.ends.get(topic, offset):
            self.open.discard(topic)
            self.late.pop(topic, None)
        else:
            self.late.setdefault(topic, time.monotonic())

    def check(self) -> None:
        """Raises TimeoutError where what is there does not become visible, KafkaException where nothing comes."""
        self.silence.check(", ".join(f"{topic}[{self.partition}]" for topic in sorted(self.open)))
        for topic, since in self.late.items():
            if time.monotonic() - since > LATE_S:
                raise TimeoutError(f"{topic}[{self.partition}] cannot be read to its end {self.ends[topic]}")

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
    accept: Accept,
    order: Callable[[object], tuple[int, ...]],
    ends: Mapping[str, int] | None = None,
) -> Iterator[LocatedRecord]:
    """The committed records of one partition number of several topics, from ``starts`` to the present end, merged by
    ``order``. Each topic must already be in that order. ``accept`` gives what a message is, or None: it is passed over.
    ``ends`` are offsets that are known to be committed or aborted below: what is not visible yet is waited for. Raises
    KafkaException, TimeoutError, and what ``accept`` raises."""
    consumer.assign([TopicPartition(topic, partition, offset) for topic, offset in starts.items()])
    merge = _Merge(consumer, partition, starts, ends or {})
    heads: list[tuple[tuple[int, ...], str]] = []
    headless = set(starts)
    while True:
        while merge.starved():
            merge.fill(accept)
            merge.check()
        for topic in [topic for topic in headless if merge.buffers[topic]]:
            heapq.heappush(heads, (order(merge.buffers[topic][0].record), topic))
            headless.discard(topic)
        if not heads:
            return
        _, topic = heapq.heappop(heads)
        yield merge.buffers[topic].popleft()
        headless.add(topic)
        merge.took(topic)
