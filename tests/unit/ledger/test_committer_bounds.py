"""Deciding waits for writing: what waits to be written is bounded in records and in bytes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from backplane.ledger.committer import MAX_WAITING, MAX_WAITING_BYTES, REFUSALS, Committer, Fenced, Group
from backplane.ledger.inboxes import GRACE_S
from backplane.ledger.outgoing import OutgoingRecord
from backplane.runtime import clients


class Flushed:
    """A producer with no record on its way."""

    def flush(self, timeout: float) -> int:
        return 0


@pytest.mark.parametrize(
    ("size", "taken", "fits"), [(1, 1_000_000, MAX_WAITING_BYTES // 1_000_000 + 1), (500, 100, MAX_WAITING // 500 + 1)]
)
async def test_what_waits_to_be_written_is_bounded(
    monkeypatch: pytest.MonkeyPatch, size: int, taken: int, fits: int
) -> None:
    monkeypatch.setattr(clients, "producer", lambda *_, **__: Flushed())
    made: Any = Committer({}, 0, lambda offset: None)

    async def put_all() -> None:
        for number in range(2 * fits):
            await made.put(Group(list, size, number, False, taken))

    putting = asyncio.create_task(put_all())
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(made._waiting) == fits
    writing = asyncio.create_task(made.run())
    await asyncio.wait_for(putting, 10)
    writing.cancel()


class Standing(Flushed):
    """A producer whose transactions end as it is told."""

    def __init__(self, commit: KafkaError | None, abort: KafkaError | None) -> None:
        self._commit = commit
        self._abort = abort

    def begin_transaction(self) -> None:
        return

    def commit_transaction(self, timeout: float) -> None:
        commit, self._commit = self._commit, None
        if commit is not None:
            raise KafkaException(commit)

    def abort_transaction(self, timeout: float) -> None:
        if self._abort is not None:
            raise KafkaException(self._abort)


FENCED = KafkaError(KafkaError._FENCED, "", True)
ABORT = KafkaError(KafkaError._TIMED_OUT, "", False, False, True)
OTHER = KafkaError(KafkaError._TIMED_OUT, "", False, False, False)


@pytest.mark.parametrize(
    ("commit", "abort", "ends"),
    [
        (FENCED, None, Fenced),
        (ABORT, FENCED, Fenced),
        (ABORT, None, None),
        (OTHER, None, KafkaException),
        (None, None, None),
    ],
)
def test_whoever_is_fenced_learns_it_from_any_step(
    monkeypatch: pytest.MonkeyPatch, commit: KafkaError | None, abort: KafkaError | None, ends: type[Exception] | None
) -> None:
    """It loses one partition then; an error that is none of that ends the worker."""
    monkeypatch.setattr(clients, "producer", lambda *_, **__: Standing(commit, abort))
    made = Committer({}, 0, lambda offset: None)
    if ends is None:
        made._write_once([])
    else:
        with pytest.raises(ends):
            made._write_once([])


class Once(Standing):
    """A producer that does not get its first record away; its broker has the inbox."""

    def __init__(self, code: int) -> None:
        super().__init__(ABORT, None)
        self._code = code
        self.written: list[list[str]] = []

    def begin_transaction(self) -> None:
        self.written.append([])

    def produce(self, topic: str, value: bytes, key: bytes, place: int, told: Any, headers: Any) -> None:
        self.written[-1].append(topic)
        told(KafkaError(self._code) if len(self.written) == 1 and len(self.written[0]) == 1 else None, None)

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={"bp.inbox.a": SimpleNamespace(error=None, partitions=range(4))})


@pytest.mark.parametrize(
    "code",
    [
        *(KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT, KafkaError._PURGE_QUEUE),
        *(KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.NOT_ENOUGH_REPLICAS),
        *sorted(REFUSALS),
    ],
)
def test_what_passes_makes_no_dead_letter(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A broker that was away for a moment has not judged the delivery: it is written again, in its place. What the
    broker has judged, or the topic is not there for, is written instead."""
    producer = Once(code)
    monkeypatch.setattr(clients, "producer", lambda *_, **__: producer)
    made = Committer({}, 0, lambda offset: None)
    made._write_once(
        [
            OutgoingRecord("bp.inbox.a", b"k", b"v", (), instead=lambda why: OutgoingRecord("dlq", b"k", b"v", ())),
            OutgoingRecord("bp.messages", b"k", b"v", ()),
        ]
    )
    assert producer.written[-1] == [("dlq" if code in REFUSALS else "bp.inbox.a"), "bp.messages"]


class Lacking(Standing):
    """A producer whose broker has no inbox."""

    def produce(self, *_: Any, **__: Any) -> None:
        return

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={"bp.messages": SimpleNamespace(error=None, partitions=range(4))})


async def test_an_inbox_that_is_looked_for_holds_up_no_other_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few threads there are: nothing sleeps in one of them."""
    monkeypatch.setattr(clients, "producer", lambda *_, **__: Lacking(None, None))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    seeking, other = (Committer({}, number, lambda offset: None) for number in (0, 1))
    missing = OutgoingRecord("bp.inbox.a", b"k", b"v", (), instead=lambda why: None)
    tasks = [asyncio.create_task(each.run()) for each in (seeking, other)]
    try:
        await seeking.put(Group(lambda: [missing], 1, 1, True))
        await asyncio.sleep(0.05)
        await other.put(Group(lambda: [OutgoingRecord("bp.messages", b"k", b"v", ())], 1, 1, True))
        async with asyncio.timeout(GRACE_S / 2):
            await other.drained()
        async with asyncio.timeout(GRACE_S * 2):
            await seeking.drained()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
