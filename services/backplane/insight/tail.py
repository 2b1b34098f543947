"""The facts as they come: read from Kafka, from where the store is or a reader was, decoded as the store has them.

A view of a run takes the rows of the store and continues here at the offsets that the store had then. Nothing is missed
in between, however far the store lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents_sdk.core.facts import Fact
from agents_sdk.core.partition import partition_of
from agents_sdk.errors import Unreachable
from agents_sdk.proofs import fact_guard
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.consuming import come
from backplane.insight.answers import Event
from backplane.runtime.clients import reader
from backplane.sink.fence import Place
from backplane.sink.rows import RENAMED, Record, record_of

if TYPE_CHECKING:
    from confluent_kafka import Message

    from agents_sdk.settings import Settings

CHUNK: Final = 500
"""Facts taken at once at most: what a browser lays out without a pause that can be felt."""
TIMEOUT_S: Final = 5.0
CUT: Final = 300
"""Characters of a long text in a list, as the store cuts them."""
BODIES: Final = ("value", "data", "params", "result", "input")


class Tail:
    """A consumer of the fact topics from given places on. One at a time may use it."""

    def __init__(
        self, settings: Settings, codec: Codec, following: Mapping[Place, int] | None, run: str = "", *, group: str
    ) -> None:
        """``following``: the offset to begin at in each place, 0 in one that it does not name; None: at the ends.
        ``run``: only that run's facts, which lie in one partition number. Raises Unreachable."""
        self._codec = codec
        self._guard = fact_guard(settings)
        self._run = run
        self.lost = 0
        """Records from ``following`` on that Kafka does not have any more, that cannot be read or are not believed."""
        self._consumer = reader(
            settings.kafka,
            group_id=group,
            auto_offset_reset="error",
            enable_partition_eof="false",
            fetch_wait_max_ms=250,
            queued_max_messages_kbytes=2_048,
        )
        try:
            self.following = self._places(following)
        except KafkaException as error:
            self._consumer.close()
            raise Unreachable(
                f"Kafka does not answer: {error}", hint="see `backplane status`", server="kafka"
            ) from error
        self._consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in self.following.items()])

    def _places(self, following: Mapping[Place, int] | None) -> dict[Place, int]:
        known = self._consumer.list_topics(timeout=TIMEOUT_S).topics
        found: dict[Place, int] = {}
        for topic in FACT_TOPICS:
            count = len(known[topic].partitions) if topic in known else 0
            numbers: Iterable[int] = range(count)
            if self._run and count:
                numbers = (partition_of(self._run, count),)
            for number in numbers:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_S)
                wanted = following.get((topic, number), 0) if following is not None else high
                self.lost += max(0, low - wanted)
                found[topic, number] = min(max(wanted, low), high)
        return found

    def take(self, wait_s: float = 0.0) -> list[Record]:
        """New facts, at most CHUNK. Without any it waits for the first one, and gives none after ``wait_s``. Raises
        KafkaException."""
        taken: list[Record] = []
        for message in come(self._consumer, wait_s, CHUNK - 1):
            if (error := message.error()) is not None:
                if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise KafkaException(error)
            elif (record := self._record(message)) is not None:
                taken.append(record)
        return taken

    def _record(self, message: Message) -> Record | None:
        topic, number, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        self.following[topic, number] = offset + 1
        if self._run and message.key() != self._run.encode():
            return None
        if self._guard is not None and self._guard.message(message):
            self.lost += 1
            return None
        try:
            fact = self._codec.decode(message.value())
        except Undecodable:
            self.lost += 1
            return None
        if isinstance(fact, Fact) and (not self._run or record_of(fact) == self._run):
            return Record(topic, number, offset, message.timestamp()[1], fact)
        return None

    def close(self) -> None:
        """Leaves Kafka."""
        self._consumer.close()


def event_of(record: Record) -> Event:
    """A fact as the store's timeline has it."""
    fact = record.row
    names = {RENAMED.get((type(fact), name), name): name for name in fact.__struct_fields__}
    fields: dict[str, Any] = {
        column: getattr(fact, name) for column, name in names.items() if column in Event.__struct_fields__
    }
    for name in ("error_message", "rationale", "message", "said"):
        if name in fields:
            fields[name] = fields[name][:CUT]
    body = next((text for name in BODIES if (text := getattr(fact, name, ""))), "")
    place: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return Event(**fields, **place, body=body[:CUT])
