"""Kafka's records of one run: its facts in order, its commands, and the agents as they were registered.

Reads from about the time at which the run was started (its id shows it, if it is a UUIDv7). It reads the one partition
number where all records of the run lie. Blocking; call it from a thread where there is an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import uuid_utils

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, ContractEvent, Fact
from agents_sdk.core.identity import Proof
from agents_sdk.core.partition import partition_of
from agents_sdk.keys import verifier
from agents_sdk.proofs import ProofChecker, fact_guard
from agents_sdk.topics import AGENTS, COMMANDS, CONTRACTS, FACT_TOPICS, RUNS
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.consuming import come
from agents_sdk.wire.consuming import consumer as make_consumer
from agents_sdk.wire.topics_admin import TIMEOUT_S, TopicsNotApplied, mapped

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

SLACK_MS: Final = 60_000
"""How far the clock of the process that made the run id may be ahead of the broker's."""
BATCH: Final = 2_000

F = TypeVar("F", bound=Fact)
Take = Callable[[Any], bool]


def read_run(
    settings: Settings,
    codec: Codec,
    run_id: str,
    topics: Iterable[str] = FACT_TOPICS,
    *,
    until_ended_s: float = 0.0,
    whole: bool = False,
) -> list[Fact]:
    """The committed facts of a run, in the order of their ``run_seq``; empty for a run that is not there.

    ``topics`` narrows it to some fact topics. An answer can be ahead of its facts by a moment. A client that knows the
    run's end waits up to ``until_ended_s`` seconds for the fact that says so. ``whole`` reads on to the present for the
    attempts that were recorded after the end.

    Raises:
        Unreachable, TopicsNotApplied: no broker, or not ours.
        Undecodable: a fact of this run cannot be read.
    """
    wanted = set(topics)
    with _reader(settings) as reader:
        partition = reader.partition_of(run_id)
        since = _since(run_id)
        facts: list[Fact] = []
        # 1. The run's own facts first: the last of them says how far the other topics have to be read.
        end = _read_own(reader, codec, run_id, partition, since, until_ended_s, facts)
        if RUNS not in wanted:
            facts.clear()
        # 2. All that was committed before the end is visible now.
        key = run_id.encode()
        last = end.command_offset if end is not None and not whole else None

        def take(message: Any) -> bool:
            if message.key() == key:
                fact = _fact(codec, message)
                if last is not None and fact.command_offset > last:
                    return False
                facts.append(fact)
            return True

        others = sorted(wanted - {RUNS})
        reader.read(others, partition, since, take, beyond=_beyond(codec, last))
    return sorted(facts, key=lambda fact: fact.run_seq)


def read_commands(
    settings: Settings, codec: Codec, run_id: str, *, last_offset: int | None = None
) -> list[tuple[int, int, Command, Proof | None]]:
    """The commands about a run as (offset in bp.commands, append time in microseconds UTC, command, proof of its
    signature). They are in order, up to ``last_offset`` if given, else to the present. The proof is None without the
    master key. An undecodable record was no command to the ledger either and is left out. Raises Unreachable,
    TopicsNotApplied, KeyUnusable."""
    found: list[tuple[int, int, Command, Proof | None]] = []
    checks = verifier(settings)
    key = run_id.encode()

    def take(message: Any) -> bool:
        if last_offset is not None and message.offset() > last_offset:
            return False
        if message.key() == key:
            try:
                command = codec.decode_own(message.value())
            except Undecodable:
                return True
            if isinstance(command, Command):
                proof = checks.proof(message.value(), command) if checks is not None else None
                found.append((message.offset(), message.timestamp()[1] * 1000, command, proof))
        return True

    with _reader(settings) as reader:
        reader.read([COMMANDS], reader.partition_of(run_id), _since(run_id), take)
    return found


def read_agents(settings: Settings, codec: Codec, run_id: str) -> list[AgentEvent]:
    """The registrations of agents in the run's partition, in order. Each has the offset of its command, so that those
    before the run's first command are the ones it met. Raises Unreachable, TopicsNotApplied."""
    return _read_declared(settings, codec, run_id, AGENTS, AgentEvent)


def read_contracts(settings: Settings, codec: Codec, run_id: str) -> list[ContractEvent]:
    """The contracts applied in the run's partition, in order, as ``read_agents``; every partition has the same ones."""
    return _read_declared(settings, codec, run_id, CONTRACTS, ContractEvent)


def _read_declared(settings: Settings, codec: Codec, run_id: str, topic: str, record: type[F]) -> list[F]:
    found: list[F] = []

    def take(message: Any) -> bool:
        fact = _fact(codec, message)
        if isinstance(fact, record):
            found.append(fact)
        return True

    with _reader(settings) as reader:
        reader.read([topic], reader.partition_of(run_id), 0, take)
    return found


def read_topic(settings: Settings, codec: Codec, topic: str) -> dict[int, list[Fact]]:
    """All committed facts of a topic by partition, in order. For topics with few records. Raises Unreachable,
    TopicsNotApplied, Undecodable."""
    found: dict[int, list[Fact]] = {}

    def take(message: Any) -> bool:
        found.setdefault(message.partition(), []).append(_fact(codec, message))
        return True

    with _reader(settings) as reader:
        for partition in range(reader.partitions()):
            reader.read([topic], partition, 0, take)
    return found


def count_partitions(settings: Settings) -> int:
    """How many partitions every topic of ours has. Raises Unreachable, TopicsNotApplied."""
    with _reader(settings) as reader:
        return reader.partitions()


def _read_own(
    reader: _Reader, codec: Codec, run_id: str, partition: int, since: int, wait_s: float, facts: list[Fact]
) -> Fact | None:
    """Reads bp.runs; the fact that ended the run, or None."""
    key = run_id.encode()
    end: list[Fact] = []

    def take(message: Any) -> bool:
        if message.key() != key:
            return True
        fact = _fact(codec, message)
        facts.append(fact)
        if fact.kind in kinds.RUN_ENDS:
            end.append(fact)
            return False
        return True

    reader.read([RUNS], partition, since, take, wait_s=wait_s)
    return end[0] if end else None


def _beyond(codec: Codec, last: int | None) -> Take | None:
    """Whether a fact was caused by a command after ``last``. Facts of a partition are in the order of their commands,
    so that the rest of its topic need not be read."""
    if last is None:
        return None

    def beyond(message: Any) -> bool:
        return _fact(codec, message).command_offset > last

    return beyond


def _fact(codec: Codec, message: Any) -> Fact:
    fact = codec.decode_own(message.value())
    if not isinstance(fact, Fact):
        raise Undecodable("undecodable", f"a {type(fact).__name__} is no fact")
    return fact


def _since(run_id: str) -> int:
    """Milliseconds UTC before which there is nothing about the run; 0 where its id does not tell."""
    try:
        made = uuid_utils.UUID(run_id)
    except ValueError:
        return 0
    return max(made.timestamp - SLACK_MS, 0) if made.version == 7 else 0


@contextmanager
def _reader(settings: Settings) -> Iterator[_Reader]:
    from confluent_kafka import KafkaException

    consumer = make_consumer(
        {
            "group.id": "bp.history",  # librdkafka wants one; nothing is ever committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            **settings.kafka,
        }
    )
    try:
        yield _Reader(consumer, fact_guard(settings))
    except KafkaException as error:
        raise mapped(error, settings, "the run cannot be read") from error
    finally:
        consumer.close()


class _Reader:
    """Reads partitions of several topics at once, up to their present end."""

    def __init__(self, consumer: Consumer, guard: ProofChecker | None) -> None:
        """Facts that ``guard`` does not believe are passed over."""
        self._consumer = consumer
        self._guard = guard
        self._count = 0

    def partition_of(self, run_id: str) -> int:
        """The partition number of all that is about a run. Raises TopicsNotApplied."""
        return partition_of(run_id, self.partitions())

    def partitions(self) -> int:
        """How many there are. Raises TopicsNotApplied."""
        described = self._consumer.list_topics(COMMANDS, timeout=TIMEOUT_S).topics[COMMANDS]
        if not described.partitions:
            raise TopicsNotApplied(f"there is no topic {COMMANDS!r}", hint=TopicsNotApplied.hint, topic=COMMANDS)
        return len(described.partitions)

    def read(
        self,
        topics: Sequence[str],
        partition: int,
        since: int,
        take: Take,
        *,
        beyond: Take | None = None,
        wait_s: float = 0.0,
    ) -> None:
        """Gives each record to ``take``, which says whether it wants more of that topic. ``beyond`` is asked about the
        last record of each batch; yes means that the rest of its topic is of no interest. At the end of a topic it
        waits ``wait_s`` for more."""
        from confluent_kafka import KafkaError, KafkaException

        if not topics:
            return
        self._consumer.assign(self._starts(topics, partition, since))
        open_topics = set(topics)
        deadline = time.monotonic() + wait_s
        while open_topics:
            last: dict[str, Any] = {}
            for message in come(self._consumer, 0.2, BATCH):
                topic = str(message.topic())
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None:
                    if time.monotonic() >= deadline:
                        open_topics.discard(topic)
                elif topic in open_topics and self._believed(message):
                    last[topic] = message
                    if not take(message):
                        open_topics.discard(topic)
            if wait_s and time.monotonic() >= deadline and not last:
                return
            for topic, message in last.items():
                if beyond is not None and beyond(message):
                    open_topics.discard(topic)

    def _believed(self, message: Any) -> bool:
        return self._guard is None or message.topic() not in FACT_TOPICS or not self._guard.message(message)

    def _starts(self, topics: Sequence[str], partition: int, since: int) -> list[Any]:
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        if not since:
            return [TopicPartition(topic, partition, OFFSET_BEGINNING) for topic in topics]
        places = [TopicPartition(topic, partition) for topic in topics]
        # before the times are asked for, so that what is written in between is not passed over
        ends = {place.topic: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)[1] for place in places}
        asked = [TopicPartition(topic, partition, since) for topic in topics]
        found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        # a negative offset: no record is that young; whatever comes, comes at the end
        return [
            TopicPartition(place.topic, partition, place.offset if place.offset >= 0 else ends[place.topic])
            for place in found
        ]
