"""Faust with batch delivery: a stream's message is all that was fetched of one partition, not one record.

Faust spends about 90 µs on an event; handing it one message a fetch moves that cost to the batch (measured: 10,000
events/s per event, 274,000 per batch) and leaves assignment, rebalancing, tables, timers and the web server faust's.

Offsets: faust commits what its streams acknowledge, and that bookkeeping counts offsets one by one, which is not safe
across the gaps that transactions leave. So acknowledgements are ignored here; the processor says with ``done`` up to
where it has finished, and that is what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple, cast

import aiokafka
from aiokafka.errors import IllegalStateError
from faust.serializers.codecs import Codec as FaustCodec
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

FETCH_WAIT_MS: Final = 250
"""How long the broker holds an empty fetch. aiokafka leaves out a partition whose records were not taken for 0.1 s (a
stall, a snapshot), and asks for it again only when that fetch is over; faust's own 1500 would be such a pause."""


class Record(NamedTuple):
    """One Kafka record as it was fetched."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Batch(NamedTuple):
    """Consecutive records of one partition, at least one; offsets rise, with gaps where transactions ended."""

    topic: str
    partition: int
    records: list[Record]


class Untouched(FaustCodec):
    """Passes the value through: a batch is no bytes to be decoded."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


UNTOUCHED: Final = Untouched()


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only: a processor must never act on what a transaction may yet abort."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
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
        its own acknowledgements shrink: measured at 42 % of a busy ledger's time, rising with its age."""

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
