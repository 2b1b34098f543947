"""One agent's inbox, read in a thread of its own as a member of the agent's consumer group.

The thread owns the consumer: it polls, pauses, commits and hears of rebalances. The event loop owns the work. A lock
guards the part that both touch: how far each partition is finished.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from agents_sdk.errors import BackplaneError
from agents_sdk.lanes import OffsetTracker
from agents_sdk.topics import inbox
from agents_sdk.wire.consuming import come, headers_of
from agents_sdk.wire.consuming import consumer as make_consumer
from agents_sdk.wire.quiet import POLLED
from agents_sdk.wire.topic_ids import topic_ids

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.agents")

SESSION_TIMEOUT_MS: Final = 6_000
"""How long a killed process holds its runs back before another one gets them, where nobody sees it die."""
HEARTBEAT_MS: Final = 300
"""Also how late this process hears that the group is rebalanced, and the others wait for it."""
COMMIT_EVERY_S: Final = 1.0
POLL_S: Final = 0.1
"""How late a commit, a pause or the end may be; a delivery wakes the thread at once."""
END_TIMEOUT_S: Final = 1.0
"""For the end of one partition, in the middle of a rebalance, which others wait for."""
BATCH: Final = 200
PAUSE_ABOVE: Final = 1_000
"""Deliveries read and not finished above which reading stops until half of them are: bounds memory, not order."""


JOIN_AGAIN_S: Final = 1.0
FENCED: Final = "group.instance.id"
"""The words in Kafka's text where another member has the name of this one."""


class InstanceTaken(BackplaneError):
    """Another process runs the agent under the same instance name; the group has let the later one in."""

    code: ClassVar[str] = "instance_taken"
    hint = "give each process an --instance of its own, or none"

    def __init__(self, instance: str, agent: str) -> None:
        super().__init__(
            f"another process runs agent {agent!r} as instance {instance!r}", instance=instance, agent=agent
        )


def group_of(agent: str) -> str:
    """The consumer group of an agent's inbox."""
    return f"bp.agent.{agent}"


def static_member(agent: str, instance: str) -> str:
    """The ``group.instance.id`` of a process that has an instance name."""
    return f"{group_of(agent)}-{instance}"


class InboxRecord(NamedTuple):
    """One record of the inbox. ``epoch`` names the time for which its partition is ours; ``earlier``: it was there
    before, so that another process may have begun it."""

    partition: int
    epoch: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]]
    earlier: bool


class _Partition:
    def __init__(self, epoch: int, end: int) -> None:
        self.epoch = epoch
        self.end = end
        """Of what was there when the partition became ours."""
        self.tracker = OffsetTracker()
        self.committed: int | None = None


class Inbox:
    """The group member. ``open`` joins; ``arrived`` is then called on the event loop with batches of records."""

    def __init__(
        self,
        settings: Settings,
        agent: str,
        loop: asyncio.AbstractEventLoop,
        arrived: Callable[[list[InboxRecord]], None],
        *,
        instance: str = "",
    ) -> None:
        """``instance`` makes the member a static one. A process that comes back under the same name gets its partitions
        back at once, instead of when the dead one's session times out."""
        self.agent = agent
        self.group = group_of(agent)
        self._settings = settings
        self._instance = instance
        self._topic = topic_ids(settings.kafka).watch(inbox(agent))
        self._static = static_member(agent, instance)
        self._loop = loop
        self._arrived = arrived
        self._lock = threading.Lock()
        self._partitions: dict[int, _Partition] = {}
        self._epochs = 0
        self._stop = threading.Event()
        self._draining = threading.Event()
        self.joined = threading.Event()
        self._paused = False
        self._thread = threading.Thread(target=self._run, name=f"bp-inbox-{agent}", daemon=True)
        self.idle = 0
        """Of the records that are not finished, those whose handlers wait for other agents or runs."""
        self.error: BaseException | None = None
        """The end of the thread, if it was not ``close``."""

    def open(self) -> None:
        """Begins to join the group; ``joined`` is set when the group has assigned our partitions."""
        self._thread.start()

    def drain(self) -> None:
        """No more records: what was handed over is to be finished."""
        self._draining.set()

    def close(self) -> None:
        """Commits how far the work is finished and leaves the group. Blocks."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def ours(self, record: InboxRecord) -> bool:
        """Whether the record's partition is still ours: if not, somebody else gets the record."""
        with self._lock:
            held = self._partitions.get(record.partition)
            return held is not None and held.epoch == record.epoch

    def finish(self, record: InboxRecord) -> None:
        """The record is done with."""
        with self._lock:
            held = self._partitions.get(record.partition)
            if held is not None and held.epoch == record.epoch:
                held.tracker.finish(record.offset)

    @property
    def unfinished(self) -> int:
        """Records handed over and not finished."""
        with self._lock:
            return sum(held.tracker.unfinished for held in self._partitions.values())

    def _run(self) -> None:
        """Is a member of the group until it is stopped; one that Kafka does not let go on joins again."""
        from confluent_kafka import KafkaException

        try:
            while not self._stop.is_set():
                try:
                    self._member()
                except KafkaException as error:
                    if FENCED in str(error):
                        raise InstanceTaken(self._instance, self.agent) from error
                    log.warning("inbox of %s: joining its group again: %s", self.agent, error)
                    with self._lock:
                        self._partitions.clear()
                    self._paused = False
                    self._stop.wait(JOIN_AGAIN_S)
        except BaseException as error:  # the thread's edge: the runner looks at it
            if not isinstance(error, InstanceTaken):
                log.exception("reading the inbox of %s ended", self.agent)
            self.error = error
        finally:
            self.joined.set()

    def _member(self) -> None:
        """One time as a member. Raises KafkaException."""
        config = {
            **POLLED,
            "group.id": self.group,
            "client.id": f"{self.group}{'-' if self._instance else ''}{self._instance}",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",  # an inbox is older than its first reader
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "queued.max.messages.kbytes": 8_192,
            **self._settings.kafka,
        }
        if self._instance:
            config["group.instance.id"] = self._static
        consumer = make_consumer(config)
        try:
            consumer.subscribe(
                [inbox(self.agent)], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._poll(consumer)
        finally:
            self._commit(consumer, asynchronous=False)
            consumer.close()

    def _poll(self, consumer: Consumer) -> None:
        commit_at = time.monotonic() + COMMIT_EVERY_S
        while not self._stop.is_set():
            if messages := come(consumer, POLL_S, BATCH):
                self._hand_over(messages)
            self._regulate(consumer)
            if time.monotonic() >= commit_at:
                if self._topic.made_again():
                    self._read_anew(consumer)
                self._commit(consumer, asynchronous=True)
                commit_at = time.monotonic() + COMMIT_EVERY_S

    def _read_anew(self, consumer: Consumer) -> None:
        """The topic is another one of the same name: it is read from its beginning. Another process may have begun what
        is in it. Raises KafkaException, where the member joins again, which reads from the beginning as well."""
        from confluent_kafka import TopicPartition

        log.error("inbox of %s was deleted and made again: it is read from its beginning", self.agent)
        places = consumer.assignment()
        self._on_assign(consumer, places)
        for place in places:
            consumer.seek(TopicPartition(place.topic, place.partition, 0))

    def _begin_again(self, number: int, offset: int) -> _Partition:
        """The partition's offsets go back. Its place was gone (a topic that was made again, or cut), and it is read
        from where it begins now. Earlier work is of another time."""
        log.error("inbox of %s: partition %d begins again at offset %d", self.agent, number, offset)
        self._epochs += 1
        held = self._partitions[number] = _Partition(self._epochs, self._partitions[number].end)
        held.tracker.add(offset)
        return held

    def _hand_over(self, messages: list[Any]) -> None:
        from confluent_kafka import KafkaException

        batch: list[InboxRecord] = []
        with self._lock:
            for message in messages:
                if message.error() is not None:
                    if message.error().fatal():
                        raise KafkaException(message.error())
                    log.warning("inbox of %s: %s", self.agent, message.error())  # librdkafka goes on by itself
                    continue
                held = self._partitions.get(message.partition())
                if held is not None and not held.tracker.add(message.offset()):
                    held = self._begin_again(message.partition(), message.offset())
                if held is not None:
                    batch.append(
                        InboxRecord(
                            message.partition(),
                            held.epoch,
                            message.offset(),
                            message.key(),
                            message.value(),
                            headers_of(message),
                            message.offset() < held.end,
                        )
                    )
        if batch:
            self._loop.call_soon_threadsafe(self._arrived, batch)

    def _regulate(self, consumer: Consumer) -> None:
        """Pauses and resumes reading. Group membership goes on meanwhile: the thread keeps polling."""
        from confluent_kafka import KafkaException

        try:
            self._pause_or_resume(consumer)
        except KafkaException as error:
            # the group is being rebalanced at this moment; it is looked at again after the next poll
            log.warning("inbox of %s: %s", self.agent, error)

    def _pause_or_resume(self, consumer: Consumer) -> None:
        waiting = self.unfinished - self.idle
        if self._draining.is_set() or waiting > PAUSE_ABOVE:
            consumer.pause(consumer.assignment())  # each time: partitions may have come since
            self._paused = True
        elif self._paused and waiting <= PAUSE_ABOVE // 2:
            consumer.resume(consumer.assignment())
            self._paused = False

    def _commit(self, consumer: Consumer, *, asynchronous: bool, only: set[int] | None = None) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        offsets = []
        with self._lock:
            for number, held in self._partitions.items():
                offset = held.tracker.committable()
                if offset is not None and offset != held.committed and (only is None or number in only):
                    offsets.append(TopicPartition(inbox(self.agent), number, offset))
                    held.committed = offset
        if not offsets:
            return
        try:
            if asynchronous:
                consumer.commit(offsets=offsets)
            else:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # what is not committed is delivered again, and answered as the first time
            log.warning("inbox of %s: not committed: %s", self.agent, error)

    def _on_assign(self, consumer: Consumer, partitions: list[Any]) -> None:
        ends = {place.partition: self._end(consumer, place) for place in partitions}
        with self._lock:
            for place in partitions:
                self._epochs += 1
                self._partitions[place.partition] = _Partition(self._epochs, ends[place.partition])
        self.joined.set()

    def _end(self, consumer: Consumer, place: Any) -> int:
        from confluent_kafka import KafkaException

        try:
            return int(consumer.get_watermark_offsets(place, timeout=END_TIMEOUT_S)[1])
        except KafkaException as error:
            # not known: then any record may have been begun elsewhere, and the ledger is asked about each
            log.warning("inbox of %s: end of partition %d not known: %s", self.agent, place.partition, error)
            return sys.maxsize

    def _on_revoke(self, consumer: Consumer, partitions: list[Any]) -> None:
        numbers = {place.partition for place in partitions}
        self._commit(consumer, asynchronous=False, only=numbers)
        self._forget(numbers)

    def _on_lost(self, consumer: Consumer, partitions: list[Any]) -> None:
        self._forget({place.partition for place in partitions})

    def _forget(self, numbers: set[int]) -> None:
        with self._lock:
            for number in numbers:
                self._partitions.pop(number, None)
