"""Records as they lie in Kafka, decoded where they can be: a page of a topic, or one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaException, TopicPartition

from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.topics_admin import TIMEOUT_S, mapped
from backplane.runtime.clients import reader
from backplane.runtime.log import read_range
from backplane.runtime.partitions import first_since

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from agents_sdk.settings import Settings

HEADER_CHARS: Final = 2_000


class LogRecord(NamedTuple):
    """One record."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: str
    size: int
    record: Any
    """A fact, command or reply; None for what is none."""
    problem: str
    """Why it could not be decoded."""
    headers: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """The kind of what it says, or what it is."""
        return getattr(self.record, "kind", "") or type(self.record).__name__


class Ends(NamedTuple):
    """The offsets of one partition."""

    partition: int
    low: int
    high: int


def ends(settings: Settings, topic: str) -> list[Ends]:
    """Where each partition begins and ends; empty: there is no such topic. Raises Unreachable."""
    consumer = reader(settings.kafka)
    try:
        known = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        numbers = sorted(known.partitions) if known.error is None else []
        marks = (consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=TIMEOUT_S) for n in numbers)
        return [Ends(number, *mark) for number, mark in zip(numbers, marks, strict=True)]
    except KafkaException as error:
        raise mapped(error, settings, f"{topic} cannot be read", topic) from error
    finally:
        consumer.close()


def read_page(settings: Settings, codec: Codec, topic: str, partition: int, start: int, stop: int) -> list[LogRecord]:
    """The records of [start, stop), in their order. Raises Unreachable."""
    consumer = reader(settings.kafka)
    try:
        return [_read(codec, message) for message in read_range(consumer, topic, partition, start, stop)]
    except KafkaException as error:
        raise mapped(error, settings, f"{topic} cannot be read", topic) from error
    finally:
        consumer.close()


def at_time(settings: Settings, topic: str, partition: int, at_ms: int) -> int | None:
    """The first offset that is not older than a time; None: all are. Raises Unreachable."""
    consumer: Consumer = reader(settings.kafka)
    try:
        return first_since(consumer, topic, partition, at_ms)
    except KafkaException as error:
        raise mapped(error, settings, f"{topic} cannot be read", topic) from error
    finally:
        consumer.close()


def read_one(settings: Settings, codec: Codec, topic: str, partition: int, offset: int) -> LogRecord | None:
    """The record at that place; None: there is none. Raises Unreachable."""
    found = read_page(settings, codec, topic, partition, offset, offset + 1)
    return next((one for one in found if one.offset == offset), None)


def _read(codec: Codec, message: Message) -> LogRecord:
    record, problem = None, ""
    value = message.value()
    try:
        record = codec.decode(value)
    except Undecodable as error:
        problem = str(error) if value is not None else "no value"
    return LogRecord(
        str(message.topic()),
        int(message.partition() or 0),
        int(message.offset() or 0),
        message.timestamp()[1],
        _text(message.key()),
        len(value or b""),
        record,
        problem,
        [(str(name), _text(data)) for name, data in headers_of(message)],
    )


def _text(data: Any) -> str:
    if data is None:
        return ""
    return (data.decode(errors="replace") if isinstance(data, bytes) else str(data))[:HEADER_CHARS]
