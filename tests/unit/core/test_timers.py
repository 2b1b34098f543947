"""Timers of a run: set and stopped by facts, fired by a command, once and never early."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ledger import timers
from agents_sdk.core.ledger.timers import DEADLINE_LIMIT_MS
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    return Desk()


def fire(desk: Desk, name: str, due: int, at: int, ring: int = 0) -> list[str]:
    """The kinds of facts that a timer's command at this time causes."""
    return kinds(desk.put(timers.fired("r", "", name, due, ring), at))


def test_a_run_that_is_late_fails(desk: Desk) -> None:
    """At its deadline, and not a microsecond before."""
    desk.start(deadline_ms=5)
    due = desk.facts[0].deadline_at  # type: ignore[attr-defined]  # a RunStarted
    assert due == desk.facts[0].at + 5_000
    assert fire(desk, "run", due, due - 1) == ["CommandRefused"]
    assert fire(desk, "run", due, due, ring=1) == ["RunFailed"]
    assert "deadline" in desk.book.finished["r"].reason


def test_a_timer_of_another_time_or_name_does_not_fire(desk: Desk) -> None:
    """What was set anew meanwhile, or never was."""
    desk.start(deadline_ms=5)
    due = desk.book.runs["r"].timers["run"]
    assert fire(desk, "run", due + 1, due + 2) == []
    assert fire(desk, "walk", due, due) == []
    assert "r" in desk.book.runs


def test_a_run_without_deadline_has_no_timer(desk: Desk) -> None:
    """Most have none: an idle run costs nothing."""
    desk.start()
    assert desk.book.runs["r"].timers == {}


def test_only_the_ledger_may_fire(desk: Desk) -> None:
    """Somebody who says that time is up is refused."""
    desk.start(deadline_ms=5)
    due = desk.book.runs["r"].timers["run"]
    step = desk.send("TimerFired", name="run", due_at=due)
    assert (answer(step).code, detail(step)["rule"]) == ("scope", "ledger")


@pytest.mark.parametrize("deadline_ms", [-1, DEADLINE_LIMIT_MS + 1])
def test_a_deadline_out_of_range_is_refused(desk: Desk, deadline_ms: int) -> None:
    """Below nothing, or so far away that the unit must be wrong."""
    step = desk.start(deadline_ms=deadline_ms)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "deadline_ms")


def expire(desk: Desk, at: int, due: int | None = None, key: str = "a/b") -> Any:
    """The ledger's word that a value of the run is due."""
    due = desk.book.runs["r"].timers[f"state/{key}"] if due is None else due
    return desk.put(timers.fired("r", "", f"state/{key}", due, len(desk.sent)), at)


def test_a_value_expires_when_its_time_to_live_is_over(desk: Desk) -> None:
    """It is gone as if it was deleted, by a version of its own; the run goes on."""
    desk.start()
    written: Any = desk.send("SetState", key="a/b", value="1", ttl_ms=5).facts[0]  # at 1,000 µs
    assert written.expires_at == 6_000
    assert kinds(expire(desk, 5_999)) == ["CommandRefused"]
    step = expire(desk, 6_000)
    expired: Any = step.facts[0]
    assert (kinds(step), expired.key, expired.version, expired.agent) == (["StateExpired"], "a/b", 2, "bp.ledger")
    assert answer(desk.send("GetState", key="a/b")).value == ""
    assert desk.book.runs["r"].timers == {}
    assert answer(desk.send("SetState", key="a/b", value="2", guarded=True)).version == 3


@pytest.mark.parametrize(
    ("kind", "fields", "due"),
    [
        ("SetState", {"value": "2", "ttl_ms": 50}, 52_000),
        ("SetState", {"value": "2"}, None),
        ("DeleteState", {}, None),
    ],
)
def test_a_rewrite_sets_the_time_to_live_anew_and_a_delete_stops_it(
    desk: Desk, kind: str, fields: dict[str, Any], due: int | None
) -> None:
    """The timer of before does nothing any more, though it rings."""
    desk.start()
    desk.send("SetState", key="a/b", value="1", ttl_ms=5)
    desk.send(kind, key="a/b", **fields)  # at 2,000 µs
    assert desk.book.runs["r"].timers == ({} if due is None else {"state/a/b": due})
    assert kinds(expire(desk, 6_000, 6_000)) == []
    if due is not None:
        assert kinds(expire(desk, due)) == ["StateExpired"]


def test_a_contract_gives_the_time_to_live_of_writes_that_say_none(desk: Desk) -> None:
    """In runs and in memories alike; a memory's expiry needs no run."""
    desk.start()
    desk.send("ApplyContract", run_id="", target="state", pattern="*note", schema="{}", ttl_ms=3)
    assert desk.send("SetState", key="note", value="1").facts[0].expires_at == 5_000  # type: ignore[attr-defined]
    assert desk.send("SetState", key="note", value="1", ttl_ms=1).facts[0].expires_at == 4_000  # type: ignore[attr-defined]
    desk.send("SetState", key="note", value="1", run_id="memory/m")
    step = desk.put(timers.fired("memory/m", "", "state/note", 7_000), 7_000)
    assert kinds(step) == ["StateExpired"]
    assert answer(desk.send("GetState", key="note", run_id="memory/m")).version == 2


@pytest.mark.parametrize("ttl_ms", [-1, timers.DEADLINE_LIMIT_MS + 1])
def test_a_time_to_live_out_of_range_is_refused(desk: Desk, ttl_ms: int) -> None:
    """By its field; of a write and of a contract; messages have none at all."""
    desk.start()
    sound = {"target": "state", "pattern": "k", "schema": "{}", "run_id": "", "ttl_ms": ttl_ms}
    for step in (
        desk.send("SetState", key="k", value="1", ttl_ms=ttl_ms),
        desk.send("ApplyContract", **sound),
        desk.send("ApplyContract", **{**sound, "target": "message", "ttl_ms": 1}),
    ):
        assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "ttl_ms")
