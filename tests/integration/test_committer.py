"""The writer of a partition on a real broker: what becomes of those who wait for it when another worker takes over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from functools import partial

import pytest
from confluent_kafka.cimpl import NewTopic

from agents_sdk.topics import RUNS
from agents_sdk.wire.topics_admin import connect
from backplane.ledger.committer import Committer, Fenced, Group, _undelivered
from backplane.ledger.outgoing import OutgoingRecord
from backplane.platform.platform import LocalPlatform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kafka(broker: LocalPlatform) -> dict[str, str]:
    return broker.settings.kafka


def group(size: int = 1) -> Group:
    return Group(lambda: [OutgoingRecord(RUNS, b"k", b"v", [])] * size, size, 1, urgent=True)


async def opened(kafka: dict[str, str], committed: list[int]) -> tuple[Committer, asyncio.Task[None]]:
    committer = Committer(kafka, 0, committed.append)
    await committer.open()
    return committer, asyncio.create_task(committer.run())


async def freed(there: weakref.ref[Committer]) -> None:
    """Its records hold the whole book."""
    async with asyncio.timeout(30):
        while there() is not None:
            await asyncio.sleep(0.05)
            gc.collect()


async def test_nobody_waits_for_a_writer_that_was_fenced(kafka: dict[str, str]) -> None:
    """A successor takes the partition: each waiter for the old writer hears of it, now and later. It is freed."""
    committed: list[int] = []
    old, writing = await opened(kafka, committed)
    await old.put(group())
    await old.drained()
    assert committed == [1]

    new, successor = await opened(kafka, [])
    await old.put(group())
    with pytest.raises(Fenced):
        await asyncio.wait_for(old.drained(), 30)
    with pytest.raises(Fenced):
        await old.put(group())
    with pytest.raises(Fenced):
        await writing
    await new.put(group())
    await asyncio.wait_for(new.drained(), 30)
    successor.cancel()
    there = weakref.ref(old)
    del old, writing
    await freed(there)


async def test_nobody_waits_for_a_writer_that_was_ended(kafka: dict[str, str]) -> None:
    """A partition given back while somebody waits for room: the wait ends."""
    old, writing = await opened(kafka, [])
    old.end(Fenced("given back"))
    with pytest.raises(Fenced):
        await asyncio.wait_for(old.drained(), 30)
    writing.cancel()


async def test_a_writer_that_was_ended_is_freed(kafka: dict[str, str]) -> None:
    """Also in the middle of a transaction: librdkafka's callbacks hold the writer, and its records hold the book."""
    old, writing = await opened(kafka, [])
    producer = old._producer
    producer.begin_transaction()
    old._failed = {}
    producer.produce(RUNS, b"v", b"k", 0, partial(_undelivered, old._failed, 0))
    there = weakref.ref(old)
    old.end(Fenced("given back"))
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    del old, writing, producer

    await freed(there)


async def test_a_writer_whose_topic_is_deleted_under_it_ends_or_writes_elsewhere(broker: LocalPlatform) -> None:
    """Within seconds, and it is freed: the broker takes no part of a transaction of which it knows one topic no more,
    and librdkafka gives its producer up when that is aborted."""
    admin, name = connect(broker.settings), "bp.inbox.deleted"
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    committer, writing = await opened(broker.settings.kafka, [])
    elsewhere: list[str] = []

    def letter(why: str) -> OutgoingRecord:
        elsewhere.append(why)
        return OutgoingRecord(RUNS, b"k", b"v", [])

    def delivery() -> Group:
        records = [OutgoingRecord(RUNS, b"k", b"v", []), OutgoingRecord(name, b"k", b"v", [], instead=letter)]
        return Group(lambda: list(records), 2, 1, urgent=True)

    await committer.put(delivery())
    await committer.drained()
    admin.delete_topics([name])[name].result(30)
    await committer.put(delivery())
    with contextlib.suppress(Fenced):
        await asyncio.wait_for(committer.drained(), 30)
        assert elsewhere
    there = weakref.ref(committer)
    committer.end(Fenced("given back"))
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError, Fenced):
        await writing
    del committer, writing
    await freed(there)
