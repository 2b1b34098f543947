"""Batch delivery: what was fetched of a partition reaches the stream, however full the stream is by then."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from backplane.runtime.batch import Batch, BatchConsumer, FetchPosition, _ConsumerThread

Fetched = namedtuple("Fetched", "offset timestamp timestamp_type key value headers")
COMMANDS = TP("bp.commands", 0)
OTHER = TP("bp.commands", 1)


class Consumer(BatchConsumer):
    """One whose next fetch is given; nothing else of it is used."""

    should_stop = False

    def __init__(self, active: set[TP], fetched: dict[TP, list[Fetched]]) -> None:
        self.app: Any = SimpleNamespace(consumer_generation_id=1)
        self.transport: Any = SimpleNamespace(batched={"bp.commands"})
        self.flow_active = True
        self._active_partitions = active
        self._paused_partitions = set()
        self._buffered_partitions = set()
        self._fetched = fetched
        self._thread: Any = SimpleNamespace(readings=dict.fromkeys(fetched, FetchPosition()))

    async def _wait_next_records(self, timeout: float) -> Any:
        self._fetched, fetched = {}, self._fetched
        return fetched, self._active_partitions


def fetched(*offsets: int) -> list[Fetched]:
    return [Fetched(offset, 1_000, 0, b"k", b"v", ()) for offset in offsets]


async def delivered(consumer: Consumer) -> dict[TP, list[int]]:
    """Partition → the offsets of its batch."""
    found = {}
    async for tp, message in consumer.getmany(1.0):
        batch: Batch = message.value
        found[tp] = [record.offset for record in batch.records]
    return found


async def test_what_was_fetched_while_the_buffer_filled_is_delivered() -> None:
    """The partition is not asked for again until the buffer has room; what came meanwhile is not thrown away."""
    consumer = Consumer({COMMANDS, OTHER}, {COMMANDS: fetched(5, 6, 8), OTHER: fetched(1)})
    consumer.app.in_recovery = False
    consumer.on_buffer_full(COMMANDS)

    assert await delivered(consumer) == {COMMANDS: [5, 6, 8], OTHER: [1]}


async def test_what_was_fetched_of_a_partition_that_is_not_read_is_left_out() -> None:
    """Faust sets its position anew before it is read again."""
    consumer = Consumer({OTHER}, {COMMANDS: fetched(5), OTHER: fetched(1)})

    assert await delivered(consumer) == {OTHER: [1]}


def spans(*fetches: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Start and stop of each batch; a fetch is (position before, position after, records)."""
    reading, found = FetchPosition(), []
    for before, after, records in fetches:
        reading.fetching(before)
        reading.fetched(after, records)
        if records:
            found.append((reading.start, reading.stop))
    return found


def test_batches_join_on_over_the_markers_of_transactions() -> None:
    """A marker behind the records, or alone in a fetch, leaves no hole between two batches."""
    assert spans((5, 8, 2), (8, 9, 0), (9, 12, 3)) == [(5, 8), (8, 12)]


def test_a_position_that_was_set_anew_shows_as_a_hole() -> None:
    """What lies between the stop of one batch and the start of the next was left out, and can be read."""
    assert spans((5, 8, 3), (20, 22, 2)) == [(5, 8), (20, 22)]
    assert spans((5, 8, 3), (2, 8, 6)) == [(5, 8), (2, 8)]


def test_a_position_set_anew_during_a_fetch_makes_its_start_unknown() -> None:
    """It may have passed over records: the batch joins on to nothing."""
    reading = FetchPosition()
    reading.fetching(5)
    reading.fetched(22, 2, moved=True)
    assert (reading.start, reading.stop) == (-1, 22)


async def test_a_partition_of_which_nothing_is_committed_begins_anew() -> None:
    """What was fetched and thrown away while the group was rebalanced comes again. aiokafka leaves such a partition
    where it is, and its first records would be lost."""
    sought: list[tuple[TP, int]] = []

    async def committed() -> dict[TP, int | None]:
        return {COMMANDS: None, OTHER: 7, TP("bp.commands", 2): 0, TP("changelog", 0): None}

    consumer: Any = SimpleNamespace(seek=lambda *where: sought.append(where), seek_to_committed=committed)
    thread: Any = _ConsumerThread.__new__(_ConsumerThread)
    thread._moves = 0
    thread._watch_moves(consumer, {"bp.commands"})
    assert len(await consumer.seek_to_committed()) == 4
    assert sought == [(COMMANDS, 0), (TP("bp.commands", 2), 0)]
    assert thread._moves % 2 == 0
