"""Writes what a partition's commands caused: one Kafka transaction for all that waits, while the next is decided.

The transactional id belongs to the partition, so opening it fences the earlier owner. The offsets of bp.commands are
not part of the transaction: each fact carries its command's offset, and recovery reads that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import KafkaError, KafkaException, Producer

from backplane.ledger.inboxes import NEW_S, LookAgain, Topics
from backplane.ledger.notices import Notices
from backplane.ledger.outgoing import OutgoingRecord
from backplane.runtime import clients

log = logging.getLogger("backplane.ledger")

MAX_WAITING: Final = 4_000
"""Records decided but not written, above which deciding waits: bounds memory and the age of an early answer's facts."""
MAX_WAITING_BYTES: Final = 32 * 2**20
"""The same in bytes of the commands that were decided. 4,000 values of a megabyte each are more than a worker has, and
than librdkafka takes."""
TRANSACTION_TIMEOUT_MS: Final = 15_000
"""A transaction left open by a killed worker holds readers back this long, unless a successor ends it by fencing."""
COMMIT_TIMEOUT_S: Final = 10.0
ARRIVAL_S: Final = 2.0
"""How long records may be on their way before their topics are looked at. A topic may have been deleted: librdkafka
tries until the transaction has timed out. The broker may end it first, which is a fatal error."""
LINGER_S: Final = 0.02
"""How long facts that set nothing off wait for others to share their transaction. A transaction costs the broker about
2 ms of processor time, for which the next command would wait. Measured: 3.3 → 2.2 ms p50 for single writes."""


class Fenced(Exception):
    """This writer writes nothing any more: another worker owns the partition now, or librdkafka has given the producer
    up. The book here is worth nothing; the next owner folds what was written."""


REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)
"""The broker has judged the record, and will judge it so again. Any other error may pass (a broker that was away, a
time limit), or is about a missing topic. ``Topics`` is asked about that."""
BY_KEY: Final = -1
"""librdkafka's number for the partition that the key has."""


class Group(NamedTuple):
    """All that one batch of commands caused; ``encode`` gives the records, so that it costs the writer's thread."""

    encode: Callable[[], list[OutgoingRecord]]
    size: int
    next_offset: int
    urgent: bool
    """Somebody acts on these facts as soon as they are committed: an executor, an agent."""
    bytes: int = 0
    """Of the records."""


class Committer:
    """The only writer of one partition number of the fact topics."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        partition: int,
        committed: Callable[[int], None],
        timed: Callable[[float], None] = lambda _: None,
        notices: Notices | None = None,
    ) -> None:
        """``committed(next_offset)`` is called on the event loop after each transaction, ``timed(seconds)`` in the
        writer's thread. ``notices`` gets topics that do not take what they should."""
        self._timed = timed
        self._notices = notices or Notices()
        self.partition = partition
        self._committed = committed
        self._waiting: list[Group] = []
        self._records = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended: BaseException | None = None
        self._writing = threading.Lock()
        self._producer: Producer = clients.producer(
            kafka,
            **{
                "transactional.id": f"bp.ledger-{partition}",
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "queue.buffering.max.messages": 200_000,
                "delivery.report.only.error": True,
                # the commit flushes at once whatever this says; 0 would wake librdkafka for every record
                "linger.ms": 20,
                # a missing topic is reported at once: its records have another place to go
                "topic.metadata.propagation.max.ms": 1_000,
            },
        )
        self._topics = Topics(self._producer)
        self._failed: dict[int, KafkaError] = {}
        """Of the transaction being written: number of a record → why the broker did not take it."""

    async def open(self) -> None:
        """Fences the predecessor and ends its transaction. Raises KafkaException."""
        await asyncio.to_thread(self._producer.init_transactions, 30.0)

    async def put(self, group: Group) -> None:
        """Hands a group over; waits while too much is waiting. Raises Fenced when nothing is written any more."""
        await self._room.wait()
        self._check()
        self._idle.clear()
        self._waiting.append(group)
        self._records += group.size
        self._bytes += group.bytes
        if self._records > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._room.clear()
        if group.urgent or not self._room.is_set():
            self._urgent.set()
        self._wake.set()

    async def drained(self) -> None:
        """Returns when all that was handed over is committed. Raises Fenced when it never will be."""
        self._urgent.set()
        await self._idle.wait()
        self._check()

    def _check(self) -> None:
        if self._ended is not None:
            raise Fenced(f"partition {self.partition} is not written here any more") from self._ended

    async def run(self) -> None:
        """Commits groups until cancelled. Raises Fenced when another worker took the partition, KafkaException when the
        broker cannot take the facts. Both mean that this partition's state here is worth nothing any more."""
        try:
            await self._run()
        except BaseException as error:
            self.end(error)
            raise

    def end(self, why: BaseException) -> None:
        """Nothing is written any more: a waiter for a commit would wait for ever, and with it the worker's other
        partitions."""
        if self._ended is not None:
            return
        self._ended = why
        self._waiting.clear()
        self._room.set()
        self._idle.set()
        threading.Thread(target=self._let_go, name=f"ended-{self.partition}", daemon=True).start()

    def _let_go(self) -> None:
        """Hears of the records on their way before the producer is destroyed: a purge in its place has aborted a
        process. No record is on its way for longer than its transaction may take."""
        with self._writing, contextlib.suppress(KafkaException, Fenced):
            self._flush(2 * TRANSACTION_TIMEOUT_MS / 1_000)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), LINGER_S)
            self._wake.clear()
            self._urgent.clear()
            groups, self._waiting = self._waiting, []
            self._records = self._bytes = 0
            self._room.set()
            if groups:
                await self._commit(groups)
                self._committed(groups[-1].next_offset)
            if not self._waiting:
                self._idle.set()

    async def _commit(self, groups: list[Group]) -> None:
        began = time.perf_counter()
        records = await asyncio.to_thread(lambda: [record for group in groups for record in group.encode()])
        if not records:
            return
        # A new inbox is waited for here: threads are few, and other partitions need them for their commits.
        while not await asyncio.to_thread(self._write_once, records):
            await asyncio.sleep(NEW_S)
        self._timed(time.perf_counter() - began)

    def _write_once(self, records: list[OutgoingRecord]) -> bool:
        """Whether they are written; not while one of their topics is looked for. Raises Fenced, KafkaException."""
        try:
            with self._writing:
                self._check()
                self._write_possible(self._possible(records))
            return True
        except LookAgain:
            return False
        except KafkaException as failure:
            error = _error_of(failure)
        # Whichever step says so: a worker that stood still learns it from the abort as well.
        raise Fenced(str(error)) if error.fatal() else KafkaException(error)

    def _write_possible(self, records: list[OutgoingRecord]) -> None:
        """Writes all records in one transaction. A record that a topic does not take goes where its ``instead`` says,
        and the transaction is written again. A record without ``instead`` is needed. Raises Fenced, KafkaException."""
        for last in (False, False, True):
            error = self._write_or_why_not(records)
            if error is None:
                return
            if last or error.fatal() or not error.txn_requires_abort():
                raise KafkaException(error)
            log.warning("partition %d: transaction aborted, written again: %s", self.partition, error)
            self._producer.abort_transaction(COMMIT_TIMEOUT_S)
            records = self._without_failed(records)

    def _write_or_why_not(self, records: list[OutgoingRecord]) -> KafkaError | None:
        try:
            self._write(records)
        except KafkaException as failure:
            return _error_of(failure)
        return None

    def _possible(self, records: list[OutgoingRecord]) -> list[OutgoingRecord]:
        """The records that their topics take, by the broker's word; in the place of others, what is written instead."""
        kept: list[OutgoingRecord] = []
        for record in records:
            found: OutgoingRecord | None = record
            while found is not None and found.instead is not None and not found.by_key:
                problem = self._topics.problem(found.topic, self.partition)
                if not problem:
                    break
                found = self._instead(found, problem)
            if found is not None:
                kept.append(found)
        return kept

    def _instead(self, record: OutgoingRecord, why: str) -> OutgoingRecord | None:
        assert record.instead is not None
        self._notices.report(
            f"topic {record.topic}",
            f"{record.topic} does not take a record of partition {self.partition}: {why}",
            "an agent makes its inbox when it starts, `backplane topics apply` makes the other topics; "
            "one with too few partitions has to be given more",
        )
        return record.instead(why)

    def _without_failed(self, records: list[OutgoingRecord]) -> list[OutgoingRecord]:
        failed, self._failed = self._failed, {}
        self._topics.forget()
        kept = []
        for number, record in enumerate(records):
            error = failed.get(number)
            if error is not None and record.instead is not None and error.code() in REFUSALS:
                found = self._instead(record, error.str())
                if found is not None:
                    kept.append(found)
            else:
                kept.append(record)
        return self._possible(kept)

    def _write(self, records: list[OutgoingRecord]) -> None:
        producer = self._producer
        self._failed = {}
        producer.begin_transaction()
        for number, (topic, key, value, headers, by_key, _) in enumerate(records):
            place = BY_KEY if by_key else self.partition
            on_delivery = partial(_undelivered, self._failed, number)
            try:
                producer.produce(topic, value, key, place, on_delivery, headers=cast(Any, headers))
            except BufferError:
                self._flush(COMMIT_TIMEOUT_S)
                producer.produce(topic, value, key, place, on_delivery, headers=cast(Any, headers))
            except KafkaException as refused:
                if records[number].instead is None:
                    raise
                self._failed[number] = refused.args[0]
        if self._failed:
            # the broker knows of some records: the transaction is begun again without the others
            raise _to_abort("records were not taken")
        self._arrive(records)
        for attempt in range(3):
            try:
                producer.commit_transaction(COMMIT_TIMEOUT_S)
                return
            except KafkaException as failure:
                # a retriable error (a timeout) leaves the transaction as it was: committing again is safe
                if attempt == 2 or not failure.args[0].retriable():
                    raise

    def _flush(self, seconds: float) -> int:
        """Records still on their way. Raises Fenced: a flush fails by fatal errors alone. A callback that follows in
        the same call makes a SystemError of one."""
        try:
            return self._producer.flush(seconds)
        except (KafkaException, SystemError) as failure:
            why = str(failure)
            failure.with_traceback(None)
        raise Fenced(why)

    def _arrive(self, records: list[OutgoingRecord]) -> None:
        """Returns when the broker has answered for all records. Raises KafkaException, which asks for an abort, where
        one of their topics is gone."""
        while self._flush(ARRIVAL_S):
            self._topics.forget()
            try:
                gone = any(self._topics.problem(one.topic, self.partition) for one in records if one.instead)
            except LookAgain:
                gone = True
            if gone:
                raise _to_abort("a topic is gone")


def _error_of(failure: KafkaException) -> KafkaError:
    """The error alone. confluent-kafka keeps exceptions of fatal errors for ever, and their frames hold the book."""
    failure.with_traceback(None)
    return cast(KafkaError, failure.args[0])


def _undelivered(failed: dict[int, KafkaError], number: int, error: KafkaError | None, _: object) -> None:
    """librdkafka keeps this callback of each record, after a fatal error for ever, where the garbage collector does not
    see it. It must not hold the committer, whose records hold the whole book. Measured: 1.8 GB in an hour with a
    hundred takeovers."""
    if error is not None:
        failed[number] = error


def _to_abort(why: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._INVALID_ARG, why, False, False, True))
