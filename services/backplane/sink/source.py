"""The fact topics as one stream that starts where the store says.

SHELL around confluent-kafka. Partitions are assigned, never subscribed to. The store decides where to go on, and the
group's committed offsets are only a hint for tools that show lag. Reads committed records, so offsets have gaps where
transactions ended; the end of a partition is learned from its EOF event, which counts those too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from agents_sdk.core.identity import SINK
from agents_sdk.proofs import ProofChecker
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.consuming import UnreadableBatch
from agents_sdk.wire.topic_ids import topic_ids
from backplane.runtime.clients import reader
from backplane.runtime.log import read_range
from backplane.runtime.partitions import EndOffsets
from backplane.runtime.places import last_place
from backplane.sink.fence import Place

log = logging.getLogger("backplane.sink")

GROUP: Final = SINK
TIMEOUT_S: Final = 10.0
CHUNK: Final = 1_000
"""Messages taken from librdkafka at a time; of large ones fewer, so that a chunk stays within the batch's bytes."""
DISCOVERY_S: Final = 3.0
"""How often topics that are not there yet, or got more partitions, are looked for."""


AGAIN: Final = "the topic was deleted and made again"


class FetchResult(NamedTuple):
    """The records of one fetch."""

    messages: list[Message]
    ends: dict[Place, int]
    """Partitions that were read to their end → the offset after it, past any transaction marker."""


class FactSource:
    """The records of the fact topics, each partition in its order. One thread for all but ``lag``. confluent-kafka lets
    one into a consumer at a time, and another waits for as long as the first keeps coming back."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        topics: Iterable[str] = FACT_TOPICS,
        guard: ProofChecker | None = None,
        passed: Callable[[UnreadableBatch], None] | None = None,
    ) -> None:
        """``guard`` gets how far each partition was read before, ``passed`` each batch that cannot be read."""
        self._kafka = kafka
        self._guard = guard
        self._topics = tuple(topics)
        self._consumer = reader(
            kafka,
            passed,
            group_id=GROUP,
            auto_offset_reset="error",  # missing records must be reported, not skipped
            queued_max_messages_kbytes=32_768,
            fetch_message_max_bytes=4_194_304,
            # not for each fact: a fetch asks for all partitions, and one a transaction cost the broker and us 2 ms
            # each, a third of all that a lone state write costs; well within the two seconds that rows may take
            fetch_min_bytes=65_536,
            fetch_wait_max_ms=250,
        )
        self._ends = EndOffsets(kafka)
        self._watched = [topic_ids(kafka).watch(topic) for topic in self._topics]
        self._assigned: set[Place] = set()
        self._looked_at = 0.0
        self._mean_bytes = 500.0
        self.lost = 0
        """Facts that were deleted from Kafka before they were read; more than 0 is worth waking somebody."""
        self.ahead: dict[Place, str] = {}
        """Partitions of which the store has more than Kafka: they were made again, or belong to another cluster. They
        are not read; others are."""
        self._stored: dict[Place, int] = {}

    def start(self, stored: Mapping[Place, int], stamps: Mapping[Place, int] | None = None) -> None:
        """Goes to the record after ``stored`` of every partition. ``stamps``: the broker's timestamps of these records,
        in ms, by which a topic that was made again is recognized. Raises KafkaException where Kafka does not answer."""
        self._stored = dict(stored)
        if stamps:
            self._compare(stamps)
        if self._guard is not None:
            self._remember(self._guard)
        self._discover()

    def _compare(self, stamps: Mapping[Place, int]) -> None:
        """Partitions whose record at the stored place is another than the store has are not read."""
        consumer = reader(self._kafka)
        try:
            for place, stamp in stamps.items():
                for message in self._record(consumer, place):
                    kind, found = message.timestamp()
                    if kind != TIMESTAMP_NOT_AVAILABLE and found != stamp:
                        why = f"{AGAIN}: the record at offset {message.offset()} is not the one that the store has"
                        log.error("%s[%d] is not read: %s; give the sink an empty database", *place, why)
                        self.ahead[place] = why
        finally:
            consumer.close()

    def _record(self, consumer: Consumer, place: Place) -> Iterable[Message]:
        """The record that the store has last, if Kafka still has it."""
        offset = self._stored[place]
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in (
                KafkaError._UNKNOWN_TOPIC,
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError._UNKNOWN_PARTITION,
            ):
                return ()
            raise
        return read_range(consumer, *place, offset, offset + 1) if low <= offset < high else ()

    def _remember(self, guard: ProofChecker) -> None:
        """Copies of stored facts are recognized by the last of it."""
        consumer = reader(self._kafka)
        try:
            for (topic, partition), offset in self._stored.items():
                guard.sequence.begin(topic, partition, last_place(consumer, guard, topic, partition, offset + 1))
        finally:
            consumer.close()

    def _discover(self) -> None:
        """Assigns the partitions that exist and are not assigned yet."""
        self._looked_at = time.monotonic()
        for topic in (each.topic for each in self._watched if each.made_again()):
            self._let_go(topic)
        known = self._consumer.list_topics(timeout=TIMEOUT_S).topics
        found = {(topic, number) for topic in self._topics if topic in known for number in known[topic].partitions}
        fresh = sorted(found - self._assigned - self.ahead.keys())
        begun = [beginning for place in fresh if (beginning := self._beginning(place)) is not None]
        if begun:
            self._consumer.incremental_assign(begun)
            self._assigned |= set(fresh) - self.ahead.keys()

    def _let_go(self, topic: str) -> None:
        """The topic is another one of the same name: what the store has of it is not in Kafka any more."""
        log.error("%s was deleted and made again: it is not read; give the sink an empty database", topic)
        places = [place for place in self._assigned if place[0] == topic]
        self._consumer.incremental_unassign([TopicPartition(*place) for place in places])
        self._assigned.difference_update(places)
        self.ahead |= dict.fromkeys(places, AGAIN)

    def _beginning(self, place: Place) -> TopicPartition | None:
        """Where to go on; None where the store is ahead of Kafka."""
        topic, partition = place
        following = self._stored.get(place, -1) + 1
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
        if following > high:
            self.ahead[place] = f"the store has it up to offset {following - 1}, and the topic ends at {high}"
            log.error(
                "%s[%d] is not read: %s; point the sink at the store of this cluster, or give it an empty database",
                topic, partition, self.ahead[place],
            )  # fmt: skip
            return None
        if 0 < following < low or (following == 0 and low > 0):
            self.lost += low - following
            log.error("facts lost: %s[%d] offsets %d to %d were deleted unread", topic, partition, following, low - 1)
            following = low
        return TopicPartition(topic, partition, following if following else OFFSET_BEGINNING)

    def fetch(self, max_rows: int, max_bytes: int, linger_s: float) -> FetchResult:
        """Records until there are ``max_rows`` or ``max_bytes``, or ``linger_s`` have passed. Raises KafkaException."""
        if time.monotonic() - self._looked_at > DISCOVERY_S:
            try:
                self._discover()
            except KafkaException as error:
                log.warning("kafka: no metadata: %s", error)  # what is assigned is read on as soon as it can be
        deadline = time.monotonic() + linger_s
        messages: list[Message] = []
        ends: dict[Place, int] = {}
        size = 0
        while len(messages) < max_rows and size < max_bytes:
            wanted = min(CHUNK, max_rows - len(messages), max(1, int((max_bytes - size) / self._mean_bytes)))
            chunk = self._consumer.consume(wanted, timeout=max(0.0, deadline - time.monotonic()))
            kept = [message for message in chunk if not self._ended(message, ends)]
            bytes_ = sum(len(message) for message in kept)
            if kept:
                self._mean_bytes = bytes_ / len(kept) + 100
            messages += kept
            size += bytes_
            for message in kept:
                self._stored[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0)
            if time.monotonic() >= deadline:
                break
        return FetchResult(messages, ends)

    def _ended(self, message: Message, ends: dict[Place, int]) -> bool:
        """Whether this is no record but an event; ends of partitions are noted. Raises KafkaException for what ends
        the consumer."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            ends[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0)
        elif error.fatal():
            raise KafkaException(error)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._lost_place(str(message.topic()), int(message.partition() or 0), error.str())
        else:
            log.warning("kafka: %s", error.str())  # librdkafka goes on by itself
        return True

    def _lost_place(self, topic: str, partition: int, why: str) -> None:
        """Kafka has no record where this one goes on: it is looked where the partition begins and ends now."""
        log.error("%s[%d]: the place to go on is gone: %s", topic, partition, why)
        self._consumer.incremental_unassign([TopicPartition(topic, partition)])
        self._assigned.discard((topic, partition))
        self._looked_at = 0.0

    def commit(self, following: Mapping[Place, int]) -> None:
        """Tells the group's coordinator how far the store is, for tools that show lag."""
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in following.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def ends(self) -> dict[Place, int]:
        """The ends of the assigned partitions, asked of the broker now. Raises KafkaException."""
        return self._ends.of(sorted(self._assigned))

    def lag(self, following: Mapping[Place, int]) -> dict[str, int]:
        """Records of each topic that are committed in Kafka and not in the store. The marker of a transaction counts as
        one until the partition was read to its end. Raises KafkaException."""
        lags = dict.fromkeys(self._topics, 0)
        for place, end in self.ends().items():
            lags[place[0]] += max(0, end - following.get(place, 0))
        return lags

    def close(self) -> None:
        """Leaves Kafka."""
        self._consumer.close()


def positions(kafka: Mapping[str, str]) -> tuple[dict[Place, int], dict[Place, int]]:
    """The ends of all fact topics, and the sink's position in its group. Raises KafkaException."""
    consumer = reader(kafka, group_id=GROUP)
    try:
        known = consumer.list_topics(timeout=TIMEOUT_S).topics
        places = [(topic, number) for topic in FACT_TOPICS if topic in known for number in known[topic].partitions]
        answers = consumer.committed([TopicPartition(*place) for place in places], timeout=TIMEOUT_S)
        following = {(one.topic, one.partition): max(one.offset, 0) for one in answers}
        return EndOffsets(kafka).of(places), following
    finally:
        consumer.close()


def beginnings(kafka: Mapping[str, str], places: Iterable[Place]) -> dict[Place, int]:
    """The first offset that each partition still has; those that Kafka does not know are left out. Raises
    KafkaException."""
    consumer = reader(kafka)
    try:
        known = consumer.list_topics(timeout=TIMEOUT_S).topics
        there = [place for place in places if place[0] in known and place[1] in known[place[0]].partitions]
        return {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=TIMEOUT_S)[0] for place in there}
    finally:
        consumer.close()
