"""A run's facts as they are committed, in the order of the run: they come to the waiting caller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from agents_sdk.core.facts import Fact
from agents_sdk.core.partition import partition_of
from agents_sdk.topics import AGENTS, COMMANDS, CONTRACTS, FACT_TOPICS

if TYPE_CHECKING:
    from confluent_kafka import Message

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

TIMEOUT_S: Final = 10.0
IDLE_S: Final = 0.25
"""How long nothing may come before the caller is asked whether it wants to go on."""


class Follower:
    """Reads from where the log ends at this moment: make it before the run is started."""

    def __init__(self, settings: Settings, codec: Codec, run_id: str) -> None:
        from confluent_kafka import TopicPartition

        from backplane.runtime import clients

        self._codec = codec
        self._key = run_id.encode()
        self._consumer = clients.reader(settings.kafka, fetch_wait_max_ms=500)
        count = len(self._consumer.list_topics(COMMANDS, timeout=TIMEOUT_S).topics[COMMANDS].partitions)
        places = [
            TopicPartition(topic, partition_of(run_id, count))
            for topic in FACT_TOPICS
            if topic not in (AGENTS, CONTRACTS)
        ]
        for place in places:
            # a number, not "the end": that would be looked up later, when the first facts may be there
            place.offset = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)[1]
        self._consumer.assign(places)

    def facts(self) -> Iterator[Fact | None]:
        """Each fact once, in order of run_seq: their numbers have no gaps, so one that comes early is held back. None
        when nothing has come for a moment."""
        early: dict[int, Fact] = {}
        wanted = 1
        while True:
            message = self._consumer.poll(IDLE_S)
            if message is None:
                yield None
            elif fact := self._fact(message):
                early[fact.run_seq] = fact
                while wanted in early:
                    yield early.pop(wanted)
                    wanted += 1

    def _fact(self, message: Message) -> Fact | None:
        """The fact, if it is one of the run. librdkafka reports the end of a partition as an error, which it is not."""
        if message.error() is not None or message.key() != self._key:
            return None
        fact = self._codec.decode(message.value())
        return fact if isinstance(fact, Fact) and fact.run_seq else None

    def close(self) -> None:
        """Ends the connection."""
        self._consumer.close()
