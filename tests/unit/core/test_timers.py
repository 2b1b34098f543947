"""Timers of a run: set and stopped by facts, fired by a command, once and never early."""

from __future__ import annotations

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
