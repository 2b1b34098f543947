"""Faust with batch delivery: a stream's message is all that was fetched of one partition, not one record.

Faust spends about 90 µs on an event; one message a fetch moves that cost to the batch. Measured: 10,000 events/s per
event, 274,000 per batch. Assignment, rebalancing, tables, timers and the web server stay faust's.

Offsets: faust commits what its streams acknowledge, and that bookkeeping counts offsets one by one, which is not safe
across the gaps that transactions leave. So acknowledgements are ignored here; the processor says with ``done`` up to
where it has finished, and that is what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple, cast

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.errors import IllegalStateError
from faust.serializers.codecs import Codec as FaustCodec
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from backplane.runtime.records import Records

fetcher.MemoryRecords = Records  # raises nothing whatever a batch holds; see ``records``

FETCH_WAIT_MS: Final = 250
"""How long the broker holds an empty fetch. aiokafka leaves out a partition whose records were not taken for 0.1 s (a
stall, a snapshot). It asks for it again only when that fetch is over; faust's own 1500 would be such a pause."""


class Record(NamedTuple):
    """One Kafka record as it was fetched."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """Names that are not UTF-8 are escaped. Of what could not be read: why, see ``records.problem_of``."""


class Batch(NamedTuple):
    """Consecutive records of one partition, at least one; offsets rise, with gaps where transactions ended."""

    topic: str
    partition: int
    records: list[Record]
    start: int
    """No committed record lies between here and the first one."""
    stop: int
    """The next batch starts here, unless something was left out between the two."""


class PassThroughCodec(FaustCodec):
    """Passes the value through: a batch is no bytes to be decoded."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


UNTOUCHED: Final = PassThroughCodec()


class FetchPosition:
    """From where to where one partition has been fetched. Gaps in the offsets do not tell whether records were left
    out: the markers of transactions leave gaps as well. The consumer's position does."""

    def __init__(self) -> None:
        self.start = -1
        """Where the fetch that gave the last records began; -1: unknown."""
        self.stop = -1
        """Where the last fetch ended; -1: unknown."""
        self.position = -1

    def fetching(self, position: int) -> None:
        """A fetch begins at this position: where the last one ended, unless it was set meanwhile."""
        if position != self.position:
            self.stop = position

    def fetched(self, position: int, records: int, moved: bool = False) -> None:
        """It ended at this position with so many records; with none, it passed over markers only. ``moved``: the
        position was set meanwhile."""
        self.position = position
        if moved:
            self.stop = -1
        if records:
            self.start, self.stop = self.stop, position


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only: a processor must never act on what a transaction may yet abort."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.readings: dict[TP, FetchPosition] = {}
        """The fetched records; changed only while a fetch is under way, read only between two."""
        self._moves = 0
        """How often positions were set; odd while that is under way."""

    async def _fetch_records(self, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        assigned, moves = _assignment(consumer), self._moves
        known = _positions(assigned)
        for place, position in known.items():
            self.readings.setdefault(place, FetchPosition()).fetching(position)
        records = await super()._fetch_records(consumer, *args, **kwargs)
        moved = moves % 2 == 1 or self._moves != moves or _assignment(consumer) is not assigned
        for place, position in _positions(_assignment(consumer)).items():
            reading = self.readings.setdefault(place, FetchPosition())
            reading.fetched(position, len(records.get(place, ())), moved or place not in known)
        return records

    def _watch_moves(self, consumer: Any, batched: set[str]) -> None:
        """Counts what faust does to the position besides fetching. aiokafka leaves a partition of which nothing is
        committed where it is. Then records that were fetched and thrown away during a rebalance would never come again.
        One of a batched topic begins again then."""
        seek, to_committed = consumer.seek, consumer.seek_to_committed

        def noted(*args: Any) -> None:
            self._moves += 2
            seek(*args)

        async def noted_to_committed(*args: Any) -> Any:
            self._moves += 1
            try:
                found = await to_committed(*args)
                for place, offset in found.items():
                    if place.topic in batched and not offset:
                        seek(place, 0)
                return found
            finally:
                self._moves += 1

        consumer.seek, consumer.seek_to_committed = noted, noted_to_committed

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        self._watch_moves(consumer, cast(BatchTransport, transport).batched)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """As faust's, which crashes the worker when the group is rebalanced in the middle: a partition that was taken
        away meanwhile is not sought. Another assignment is on its way then, and it is sought for all again."""
        try:
            found: Mapping[TP, int] = await super().seek_to_committed()
        except (IllegalStateError, AssertionError):
            return {}
        return found


def _assignment(consumer: Any) -> Any:
    subscription = consumer._subscription.subscription
    return subscription.assignment if subscription is not None else None


def _positions(assignment: Any) -> dict[TP, int]:
    """Where the next fetch of each assigned partition begins."""
    states = {place: assignment.state_value(place) for place in assignment.tps} if assignment is not None else {}
    return {TP(*place): state.position for place, state in states.items() if state.has_valid_position}


class BatchConsumer(driver.Consumer):
    """Yields one message per fetched partition of a batched topic; changelogs are read record by record as ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finished: dict[TP, int] = {}

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """The fetched partitions, each as one message whose value is a Batch."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        generation = self.app.consumer_generation_id
        batched = cast(BatchTransport, self.transport).batched
        for tp, fetched in records.items():
            if self.app.consumer_generation_id != generation or not self._flowing():
                return
            # A partition whose stream has enough waiting leaves ``active`` while this fetch is under way: what was
            # fetched is delivered all the same, or it would be lost, since the position has moved on.
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            if tp.topic in batched:
                yield tp, self._batch_message(tp, fetched)
            else:
                for record in fetched:
                    yield tp, self._to_message(tp, record)

    def _flowing(self) -> bool:
        return self.flow_active

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: to faust a batch is a gap in the offsets. It would keep an interval for each, in a tree that only
        its own acknowledgements shrink. Measured at 42 % of a busy ledger's time, rising with its age."""

    async def sleep(self, n: Any) -> None:
        """As mode's, which makes a task and a timer even for the 0 with which faust yields before each fetch."""
        if n == 0:
            await asyncio.sleep(0)
        else:
            await super().sleep(n)

    def _batch_message(self, tp: TP, fetched: list[Any]) -> ConsumerMessage:
        batch = Batch(
            tp.topic,
            tp.partition,
            [Record(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in fetched],
            *self._span(tp, fetched),
        )
        last = fetched[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast(bytes, batch),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _span(self, tp: TP, fetched: list[Any]) -> tuple[int, int]:
        reading = cast(_ConsumerThread, self._thread).readings[tp]
        return reading.start if reading.start >= 0 else fetched[0].offset, reading.stop

    def behind(self, topic: str, partition: int, finished: int) -> int:
        """How many records at most lie between ``finished`` and the end of the partition."""
        tp = TP(topic, partition)
        reading = cast(_ConsumerThread, self._thread).readings.get(tp)
        if reading is None:
            return 0
        return max((self.highwater(tp) or 0) - reading.position, 0) + max(reading.stop - finished, 0)

    def delivered(self, topic: str, partition: int) -> int:
        """The offset after the last record that was given out; -1 where none was since the partition was assigned."""
        reading = cast(_ConsumerThread, self._thread).readings.get(TP(topic, partition))
        return -1 if reading is None else reading.stop

    def done(self, topic: str, partition: int, offset: int) -> None:
        """All records below ``offset`` are finished; the next commit says so. Going back is ignored."""
        tp = self._new_topicpartition(topic, partition)
        self.finished[tp] = max(offset, self.finished.get(tp, 0))

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [tp for tp in self.finished if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.finished.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commits what is finished, then forgets it: the next owner says what it finished."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.finished.pop(tp, None)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with BatchConsumer; ``batched`` are the topics delivered in batches."""

    Consumer: ClassVar[Any] = BatchConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batched: set[str] = set()
