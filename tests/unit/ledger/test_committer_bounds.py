"""Deciding waits for writing: what waits to be written is bounded in records and in bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.ledger import committer
from services.ledger.committer import MAX_WAITING, MAX_WAITING_BYTES, Committer, Fenced, Group


@pytest.mark.parametrize(
    ("size", "taken", "fits"), [(1, 1_000_000, MAX_WAITING_BYTES // 1_000_000 + 1), (500, 100, MAX_WAITING // 500 + 1)]
)
async def test_what_waits_to_be_written_is_bounded(
    monkeypatch: pytest.MonkeyPatch, size: int, taken: int, fits: int
) -> None:
    monkeypatch.setattr(committer.clients, "producer", lambda *_, **__: None)
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


class Standing:
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
    monkeypatch.setattr(committer.clients, "producer", lambda *_, **__: Standing(commit, abort))
    made = Committer({}, 0, lambda offset: None)
    if ends is None:
        made._write_once([])
    else:
        with pytest.raises(ends):
            made._write_once([])
