"""The writer of a partition on a real broker: what becomes of those who wait for it when another worker takes over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from functools import partial

import pytest

from agents_sdk.topics import RUNS
from backplane.ledger.committer import Committer, Fenced, Group
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


async def test_nobody_waits_for_a_writer_that_was_fenced(kafka: dict[str, str]) -> None:
    """A successor takes the partition: who waits for the old writer's commit is told, and so is who comes later."""
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
    producer.produce(RUNS, b"v", b"k", 0, partial(old._undelivered, 0))
    there = weakref.ref(old)
    old.end(Fenced("given back"))
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    del old, writing, producer

    async with asyncio.timeout(30):
        while there() is not None:
            await asyncio.sleep(0.05)
            gc.collect()
