"""The dead-letter topics in Kafka: reads their newest letters or those named, and writes records back to where they
came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents_sdk.errors import Unreachable
from agents_sdk.settings import Settings
from agents_sdk.topics import DEAD_LETTER_PREFIX
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.dead_letters import redrive_headers
from agents_sdk.wire.topics_admin import TIMEOUT_S, mapped
from backplane.dlq.letters import MARK, Letter, Raw, letters
from backplane.runtime import clients
from backplane.runtime.log import read_range

FLUSH_S: Final = 30.0
NEWEST: Final = 1_000
"""Records of each partition that a list is made of: what a person looks through, and a page has memory for."""


class OpenLetters(NamedTuple):
    """Open letters, large ones cut."""

    letters: list[Letter]
    older: int
    """Records that were not looked at, since they are older than the newest ones."""


def read_letters(settings: Settings, codec: Codec, newest: int = NEWEST) -> OpenLetters:
    """The open letters among the ``newest`` records of each partition of each dead-letter topic. The record that uses a
    letter up is newer than the letter, so that none of them is missed. Raises Unreachable."""
    older = 0

    def records(consumer: Consumer) -> Iterator[Raw]:
        nonlocal older
        topics = consumer.list_topics(timeout=TIMEOUT_S).topics
        for topic in sorted(name for name in topics if name.startswith(DEAD_LETTER_PREFIX)):
            for partition in sorted(topics[topic].partitions):
                low, stop = _ends(consumer, topic, partition)
                start = max(low, stop - newest)
                older += start - low
                yield from _records(consumer, topic, partition, start, stop)

    return OpenLetters(_letters(settings, codec, records, whole=False), older)


def read_named(settings: Settings, codec: Codec, names: Sequence[str]) -> list[Letter]:
    """The letters of these ids that are open, whole, in the order of the names. Raises Unreachable."""
    places = {name: place for name in names if (place := _place(name)) is not None}
    wanted = set(places.values())

    def records(consumer: Consumer) -> Iterator[Raw]:
        known = consumer.list_topics(timeout=TIMEOUT_S).topics
        for topic, partition in sorted({(topic, partition) for topic, partition, _ in wanted}):
            if topic in known and partition in known[topic].partitions:
                low, stop = _ends(consumer, topic, partition)
                first = min(offset for *where, offset in wanted if where == [topic, partition])
                yield from _records(consumer, topic, partition, max(low, first), stop)

    found = {
        letter.id: letter
        for letter in _letters(settings, codec, records, lambda raw: (raw.topic, raw.partition, raw.offset) in wanted)
    }
    return [found[name] for name in dict.fromkeys(names) if name in found]


def _place(name: str) -> tuple[str, int, int] | None:
    topic, _, rest = name.partition("/")
    partition, _, offset = rest.partition("/")
    if not (partition.isdecimal() and offset.isdecimal() and len(partition) < 10 and len(offset) < 19):
        return None
    return f"{DEAD_LETTER_PREFIX}{topic}", int(partition), int(offset)


def _letters(
    settings: Settings,
    codec: Codec,
    records: Callable[[Consumer], Iterator[Raw]],
    wanted: Callable[[Raw], bool] | None = None,
    *,
    whole: bool = True,
) -> list[Letter]:
    def decode(value: bytes | None) -> object | None:
        try:
            return codec.decode(value)
        except Undecodable:
            return None

    consumer = clients.reader(settings.kafka)
    try:
        return letters(records(consumer), decode, wanted, whole=whole)
    except KafkaException as error:
        raise mapped(error, settings, "dead letters cannot be read") from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    low, stop = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    return int(low), int(stop)


def _records(consumer: Consumer, topic: str, partition: int, start: int, stop: int) -> Iterator[Raw]:
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
    """Puts the letter's record back into its topic, as it was, and only then marks the letter as used up. After a crash
    in between it is listed still, and a command that comes twice is applied once. Raises Unreachable."""
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
