"""Somebody who can write to Kafka, and has no key or one agent's: copies, moves, changes and makes up records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from agents_sdk.keys import Keys
from agents_sdk.settings import Settings
from agents_sdk.wire.codec import Codec
from backplane.runtime import clients
from backplane.runtime.log import read_range

Header = tuple[str, bytes]


class EncodedRecord(NamedTuple):
    """A record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class Dishonest:
    """Reads everything, writes anything."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self.settings = settings
        self.codec = codec

    def read(self, topic: str) -> list[EncodedRecord]:
        """All committed records of a topic, each partition in its order."""
        consumer = clients.reader(self.settings.kafka)
        found: list[EncodedRecord] = []
        try:
            for partition in sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions):
                end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
                for message in read_range(consumer, topic, partition, 0, end):
                    headers: Any = message.headers() or []
                    where = topic, partition, message.offset() or 0
                    found.append(EncodedRecord(*where, message.key(), message.value(), list(headers)))
        finally:
            consumer.close()
        return found

    def write(self, *records: EncodedRecord) -> list[int]:
        """Writes records, wherever they came from; the offsets that they got."""
        offsets: list[int] = []

        def written(error: Any, message: Any) -> None:
            assert error is None, error
            offsets.append(message.offset())

        producer = clients.producer(self.settings.kafka)
        for each in records:
            producer.produce(
                each.topic,
                each.value,
                each.key,
                each.partition,
                on_delivery=written,
                headers=list(each.headers) or None,
            )
            producer.flush(30)
        assert len(offsets) == len(records)
        return offsets

    def make(self, topic: str, partition: int, key: str, record: Any, headers: Iterable[Header] = ()) -> EncodedRecord:
        """A record that nobody proved."""
        return EncodedRecord(topic, partition, -1, key.encode(), self.codec.encode(record), list(headers))

    def changed(self, lying: EncodedRecord, **fields: Any) -> EncodedRecord:
        """A genuine record with other fields, under its own headers."""
        import msgspec

        record: Any = self.codec.decode(lying.value)
        return lying._replace(value=self.codec.encode(msgspec.structs.replace(record, **fields)))


def one_agents_key(settings: Settings) -> bytes:
    """The key of an agent that the attacker has got hold of."""
    key = Keys.of(settings).get("stolen")
    assert key is not None
    return key.secret
