"""A snapshot gives the book back that it was taken of, whatever was in the table before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from agents_sdk.core.ids import CommandId
from agents_sdk.core.ledger import Limits, PartitionState
from agents_sdk.core.ledger import changes as folding
from agents_sdk.core.ledger.seen_commands import KEPT, WINDOW_US, remember
from agents_sdk.core.ledger.state import KeyState
from backplane.ledger import snapshots
from backplane.ledger.pieces import Changes
from backplane.ledger.snapshots import Snapshots
from tests.support.ledger_desk import Desk

NOW = 1_767_261_600_000_000


class Table(dict[bytes, bytes]):
    """In place of faust's, which needs a worker."""


def stand() -> tuple[Snapshots, Table]:
    table = Table()

    async def recovered() -> None:
        return

    app = SimpleNamespace(Table=lambda *_, **__: table, tables=SimpleNamespace(wait_until_recovery_completed=recovered))
    return Snapshots(cast("Any", app), 4, {}), table


def book() -> PartitionState:
    """One with runs, agents, keys and spent commands."""
    desk = Desk()
    desk.register("research")
    desk.start()
    desk.send("SetState", key="k", value="1")
    desk.book.keys["research"] = KeyState(generation=3, revoked=True, command_offset=7)
    desk.book.identity_required = True
    spend(desk.book, 0, 25)
    return desk.book


def spend(known: PartitionState, window: int, count: int) -> None:
    for number in range(count):
        remember(known.spent, CommandId(f"{window}/{number}"), "client", NOW + window * WINDOW_US, folding.Changes())


async def put(kept: Snapshots, known: PartitionState) -> Changes:
    if 2 not in kept._owned:
        await kept.load(2, Limits())
    changes = kept.capture(2, known, dict.fromkeys(known.runs, 3), {"bp.runs": 9})
    await kept.write(2, changes)
    return changes


async def test_snapshot_gives_the_book_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, and commands not to be applied again, in more keys of the table than one."""
    monkeypatch.setattr(snapshots, "HASHES_A_KEY", 10)
    kept, table = stand()
    known = book()
    await put(kept, known)
    again, offsets = await kept.load(2, Limits())
    assert msgspec.to_builtins(again) == msgspec.to_builtins(known)
    assert offsets == {"bp.runs": 9}
    assert len([key for key in table if b"/spent." in key]) == 3 + 1, "25 of one window, the registration in another"


async def test_windows_that_are_over_leave_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a worker that did not write them itself; and not before the record that no longer names them."""
    monkeypatch.setattr(snapshots, "HASHES_A_KEY", 10)
    kept, table = stand()
    known = book()
    await put(kept, known)
    successor, _ = stand()
    successor._table = table
    known, _ = await successor.load(2, Limits())
    for window in range(5, 5 + KEPT):
        spend(known, window, 1)
    changes = await put(successor, known)
    assert len([key for key in table if b"/spent." in key]) == KEPT
    order = [key for key, _ in changes]
    gone = [number for number, (key, value) in enumerate(changes) if value is None and "/spent." in key]
    assert gone
    assert min(gone) > next(number for number, key in enumerate(order) if key.startswith("2/meta"))


async def test_snapshot_that_was_cut_off_still_has_the_older_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer commands behind those that the old meta record counts do no harm, and none of the old ones is lost."""
    monkeypatch.setattr(snapshots, "HASHES_A_KEY", 10)
    kept, _ = stand()
    known = book()
    await put(kept, known)
    before = {window: set(hashes) for window, hashes in known.spent.items()}
    for number in range(25, 45):
        remember(known.spent, CommandId(f"0/{number}"), "client", NOW, folding.Changes())
    changes = kept.capture(2, known, {}, {"bp.runs": 99})
    await kept.write(2, [change for change in changes if "meta" not in change[0]])
    again, offsets = await kept.load(2, Limits())
    assert offsets == {"bp.runs": 9}
    assert all(set(again.spent[window]) >= hashes for window, hashes in before.items())


async def test_snapshot_with_a_hole_is_not_used() -> None:
    """The facts have it all."""
    kept, table = stand()
    await put(kept, book())
    del table[next(key for key in table if b"/spent." in key)]
    again, offsets = await kept.load(2, Limits())
    assert (again, offsets) == (PartitionState(), {})


async def test_what_waits_to_be_sent_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large snapshot is not held in memory once more: it goes on as the broker takes it."""
    monkeypatch.setattr(snapshots, "PENDING", 300)
    waiting, most, sent = 0, 0, asyncio.Event()

    class Table(dict[bytes, bytes]):
        def __setitem__(self, key: bytes, value: bytes) -> None:
            nonlocal waiting, most
            super().__setitem__(key, value)
            waiting += 1
            most = max(most, waiting)

    class Buffer:
        message_sent = sent

        @property
        def size(self) -> int:
            return waiting

    async def take() -> None:
        nonlocal waiting
        while True:
            await asyncio.sleep(0)
            waiting = max(waiting - 10, 0)
            sent.set()

    async def recovered() -> None:
        return

    app = SimpleNamespace(Table=lambda *_, **__: Table(), producer=SimpleNamespace(buffer=Buffer()))
    app.tables = SimpleNamespace(wait_until_recovery_completed=recovered)
    kept = Snapshots(cast("Any", app), 4, {})
    taking = asyncio.create_task(take())
    await kept.write(2, [(f"2/run/{number}", b"x") for number in range(5_000)])
    taking.cancel()
    assert most <= 300 + snapshots.SLICE
