"""What a snapshot keeps: live runs and memories whole, of an ended run its outcome and nothing of its state."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import MagicMock

import msgspec

from agents_sdk.core.ledger.state import Run
from backplane.ledger.pieces import Changes
from backplane.ledger.snapshot_keys import OwnedKeys
from backplane.ledger.snapshots import Snapshots
from tests.support.ledger_desk import Desk

SECRET = "only-in-this-run"


def snapshot(desk: Desk) -> Changes:
    """The changes of all that was touched; capturing needs neither table nor broker."""
    dirty = {command.run_id: number for number, command in enumerate(desk.sent)}
    kept = Snapshots(cast("Any", MagicMock()), 1, {})
    kept._owned[0] = OwnedKeys(0, "")
    return kept.capture(0, desk.book, dirty, {})


def test_state_of_a_run_leaves_book_and_snapshot_when_the_run_ends() -> None:
    """While it lives it is in both; then in neither, and its old record is taken out of the table."""
    desk = Desk()
    desk.start()
    desk.send("SetState", key="k", value=f'"{SECRET}"', run_id="r")
    desk.send("SetState", key="k", value='"stays"', run_id="memory/m")
    assert any(key == "0/run/r" and value and SECRET.encode() in value for key, value in snapshot(desk))
    desk.send("CompleteRun")
    changes = snapshot(desk)
    assert ("0/run/r", None) in changes
    assert {key for key, value in changes if value} == {"0/end/r", "0/run/memory/m", "0/meta"}
    assert all(SECRET.encode() not in (value or b"") for _, value in changes)
    assert SECRET.encode() not in msgspec.msgpack.encode(desk.book)
    kept = next(value for key, value in changes if key == "0/run/memory/m")
    assert kept is not None
    assert msgspec.msgpack.decode(kept, type=Run).state["k"][-1].value == '"stays"'


def test_contracts_are_in_the_snapshot() -> None:
    """A ledger that starts from it holds writers to them at once."""
    desk = Desk()
    desk.send("ApplyContract", run_id="", target="state", pattern="k", schema='{"type":"integer"}')
    meta = msgspec.msgpack.decode(dict(snapshot(desk))["0/meta"] or b"")
    assert meta["contracts"]["state"]["k"]["schema"] == '{"type":"integer"}'
