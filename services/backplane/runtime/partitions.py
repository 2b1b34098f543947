"""Facts about partitions, asked of Kafka now: how many a topic has, where they end, where a time begins.

An answer that is none is a failure: a topic without partitions, an offset below zero.

SHELL around confluent-kafka's AdminClient, which has three faults (librdkafka 2.16.0, measured). After a leader was
elected, as in each rolling restart, it answers FENCED_LEADER_EPOCH for as long as it lives. After its broker was away,
it answers "No leaders found" for as long as it lives. A question whose connection breaks is answered without an error,
by the offset -1001. So a client that has failed is not asked again, and an offset below zero is a failure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not in __all__

from agents_sdk.wire.quiet import CLIENT_LOGGING
from backplane.runtime.clients import CONNECTED

TIMEOUT_S: Final = 10.0


def count_of(consumer: Consumer, topic: str) -> int:
    """How many partitions a topic has, one at least. Blocks. Raises KafkaException."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics.get(topic)
    if found is None or not found.partitions:
        error = found.error if found is not None else None
        raise KafkaException(error or KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"{topic} has no partitions yet"))
    return len(found.partitions)


def first_since(consumer: Consumer, topic: str, partition: int, time_ms: int) -> int | None:
    """The first offset of that time or later; None where there is none. Blocks. Raises KafkaException."""
    (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, time_ms)], timeout=TIMEOUT_S)
    if found.error is not None:
        raise KafkaException(found.error)
    return None if found.offset == OFFSET_END else _offset(found.offset)


class EndOffsets:
    """Asks for end offsets, over one connection for as long as it gives answers. Threads may share it."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._kafka = kafka
        self._lock = threading.Lock()
        self._client: AdminClient | None = None
        self._known = False
        """The client has given an answer, so that a failure may be due to what it remembers."""

    def connect(self) -> None:
        """Begins to connect to the broker, and waits for nothing."""
        with self._lock:
            self._connected()

    def _connected(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient({**CONNECTED, **CLIENT_LOGGING, **self._kafka})
        return self._client

    def of(self, places: Iterable[tuple[str, int]], *, committed: bool = True) -> dict[tuple[str, int], int]:
        """The offset after the last record or marker of each topic's partition: of what is committed, or of all there
        is. Blocks. Raises KafkaException where a new client is given no answer either."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # ships no types
        asked = {TopicPartition(topic, partition): latest for topic, partition in places}
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        with self._lock:
            first, known = self._connected(), self._known
        try:
            return self._ask(first, asked, isolation)
        except KafkaException:
            if not known:
                raise
        with self._lock:
            second = self._connected()
        return self._ask(second, asked, isolation)

    def _ask(
        self, client: AdminClient, asked: dict[TopicPartition, OffsetSpec], isolation: IsolationLevel
    ) -> dict[tuple[str, int], int]:
        try:
            answers = client.list_offsets(asked, isolation_level=isolation, request_timeout=TIMEOUT_S)
            found = {(at.topic, at.partition): _offset(answer.result().offset) for at, answer in answers.items()}
        except KafkaException:
            with self._lock:
                if self._client is client:
                    self._client, self._known = None, False
            raise
        self._known = True
        return found


def _offset(given: int) -> int:
    if given < 0:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, f"the broker gave no offset, but {given}"))
    return given
