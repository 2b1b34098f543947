"""The dead-letter topics in Kafka: reads all of them, and writes records back to where they came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents_sdk.errors import Unreachable
from agents_sdk.settings import Settings
from agents_sdk.topics import DEAD_LETTER_PREFIX
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.dead_letters import redrive_headers
from agents_sdk.wire.topics_admin import TIMEOUT_S, mapped
from services.dlq.letters import MARK, Letter, Raw, letters
from services.runtime import clients
from services.runtime.log import read_range

FLUSH_S: Final = 30.0


def read_letters(settings: Settings, codec: Codec) -> list[Letter]:
    """All open letters of all dead-letter topics. Raises Unreachable."""

    def decode(value: bytes | None) -> object | None:
        try:
            return codec.decode(value)
        except Undecodable:
            return None

    consumer = clients.reader(settings.kafka)
    try:
        return letters(_records(consumer), decode)
    except KafkaException as error:
        raise mapped(error, settings, "dead letters cannot be read") from error
    finally:
        consumer.close()


def _records(consumer: Consumer) -> Iterator[Raw]:
    topics = consumer.list_topics(timeout=TIMEOUT_S).topics
    for topic in sorted(name for name in topics if name.startswith(DEAD_LETTER_PREFIX)):
        for partition in sorted(topics[topic].partitions):
            start, stop = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            for message in read_range(consumer, topic, partition, start, stop):
                yield Raw(
                    topic=topic,
                    partition=partition,
                    offset=message.offset() or 0,
                    at_ms=message.timestamp()[1],
                    key=message.key(),
                    value=message.value(),
                    headers=headers_of(message),
                )


def write_again(settings: Settings, letter: Letter) -> None:
    """Puts the letter's record back where it came from, as it was, and only then marks the letter as used up: after a
    crash in between it is listed still, and a command that comes twice is applied once. Raises Unreachable."""
    raw, about = letter.raw, letter.about
    place = {"partition": about.partition} if about.partition >= 0 else {}
    back: list[Any] = list(redrive_headers(raw.headers))
    _write(settings, {"key": raw.key, "topic": about.topic, "value": raw.value, "headers": back, **place})
    mark(settings, letter)


def mark(settings: Settings, letter: Letter) -> None:
    """Notes beside the letter that it is used up. Raises Unreachable."""
    raw = letter.raw
    headers: list[Any] = [(MARK, str(raw.offset).encode())]
    place = {"topic": raw.topic, "partition": raw.partition}
    _write(settings, {**place, "key": raw.key, "value": None, "headers": headers})


def _write(settings: Settings, record: dict[str, Any]) -> None:
    producer = clients.producer(settings.kafka, message_timeout_ms=10_000)
    failed: list[str] = []

    def written(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer.produce(on_delivery=written, **record)
    left = producer.flush(FLUSH_S)
    if left or failed:
        raise Unreachable(f"Kafka did not take the record: {failed[:1] or 'no answer'}", server="kafka")
