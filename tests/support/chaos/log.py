"""All that Kafka has, as committed: read once at the end of a test, to be judged by ``laws``."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, cast

from confluent_kafka import KafkaError, TopicPartition

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, Fact, Reply
from agents_sdk.settings import Settings
from agents_sdk.topics import AGENTS, COMMANDS, FACT_TOPICS, INBOX_PREFIX, REPLIES
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.consuming import headers_of
from backplane.runtime import clients

BATCH: Final = 2_000
SILENT_S: Final = 60.0


@dataclass(frozen=True)
class EncodedRecord:
    """One record and its place."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Log:
    """The records of all topics, decoded."""

    commands: dict[int, list[tuple[EncodedRecord, Command | Undecodable]]]
    """By partition, in order."""
    facts: list[tuple[EncodedRecord, Fact]]
    replies: list[Reply]
    inboxes: list[EncodedRecord]
    dead: list[EncodedRecord]

    def partitions(self) -> int:
        return len(self.commands)


def read(settings: Settings, topics: list[str] | None = None) -> list[EncodedRecord]:
    """Every committed record of our topics, to their present ends."""
    consumer = clients.reader(settings.kafka)
    try:
        described = consumer.list_topics(timeout=10).topics
        wanted = [name for name in described if name.startswith(("bp.", "dlq."))] if topics is None else topics
        places = [TopicPartition(name, number, 0) for name in wanted for number in described[name].partitions]
        consumer.assign(places)
        left = {(place.topic, place.partition) for place in places}
        found: list[EncodedRecord] = []
        heard = time.monotonic()
        while left:
            for message in consumer.consume(BATCH, timeout=0.2):
                heard = time.monotonic()
                error = message.error()
                if error is None:
                    found.append(_lying(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((str(message.topic()), message.partition() or 0))
                else:
                    raise AssertionError(f"{message.topic()}: {error}")
            # an open transaction holds readers back until its time is over
            assert time.monotonic() - heard < SILENT_S, f"cannot read to the end of {sorted(left)[:5]}"
        return sorted(found, key=lambda one: (one.topic, one.partition, one.offset))
    finally:
        consumer.close()


def _lying(message: Any) -> EncodedRecord:
    return EncodedRecord(
        str(message.topic()),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        cast(Any, headers_of(message)),
    )


def decode(records: list[EncodedRecord], codec: Codec, partitions: int) -> Log:
    """The records by what they are. Raises Undecodable for a fact or a reply: nobody may write such."""
    log = Log({number: [] for number in range(partitions)}, [], [], [], [])
    for one in records:
        if one.topic == COMMANDS:
            log.commands[one.partition].append((one, _command(codec, one.value)))
        elif one.topic in FACT_TOPICS:
            fact = codec.decode(one.value)
            assert isinstance(fact, Fact), fact
            log.facts.append((one, fact))
        elif one.topic == REPLIES:
            reply = codec.decode(one.value)
            assert isinstance(reply, Reply), reply
            log.replies.append(reply)
        elif one.topic.startswith(INBOX_PREFIX):
            log.inboxes.append(one)
        elif one.topic.startswith("dlq."):
            log.dead.append(one)
    return log


def _command(codec: Codec, value: bytes | None) -> Command | Undecodable:
    try:
        record = codec.decode(value)
    except Undecodable as error:
        return error
    if isinstance(record, Command):
        return record
    return Undecodable("undecodable", f"a {type(record).__name__} is no command")


def barrier(settings: Settings, codec: Codec, agent: str) -> dict[int, int] | None:
    """Partition → offset of the command that registered ``agent`` there; None until its facts are committed in all:
    then those of every command before it are as well."""
    found: dict[int, int] = {}
    described: dict[int, int] = defaultdict(int)
    for one in read(settings, [AGENTS]):
        fact = codec.decode(one.value)
        described[one.partition] += 1
        if isinstance(fact, AgentEvent) and fact.name == agent:
            found[one.partition] = fact.command_offset
    return found if len(found) == settings.topics.partitions else None
