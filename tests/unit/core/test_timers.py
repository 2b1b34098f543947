"""Timers of a run: set and stopped by facts, fired by a command, once and never early."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import timers
from agents_sdk.core.ledger.timers import DEADLINE_LIMIT_MS
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    return Desk()


def fire(desk: Desk, name: str, due: int, at: int, ring: int = 0) -> list[str]:
    """The kinds of facts that a timer's command at this time causes."""
    return kinds(desk.put(timers.fired(RunId("r"), "", name, due, ring), at))


def test_a_run_that_is_late_fails(desk: Desk) -> None:
    """At its deadline, and not a microsecond before."""
    desk.start(deadline_ms=5)
    due = desk.facts[0].deadline_at  # type: ignore[attr-defined]  # a RunStarted
    assert due == desk.facts[0].at + 5_000
    assert fire(desk, "run", due, due - 1) == ["CommandRefused"]
    assert fire(desk, "run", due, due, ring=1) == ["RunFailed"]
    assert "deadline" in desk.book.finished[RunId("r")].reason


def test_a_timer_of_another_time_or_name_does_not_fire(desk: Desk) -> None:
    """What was set anew meanwhile, or never was."""
    desk.start(deadline_ms=5)
    due = desk.book.runs[RunId("r")].timers["run"]
    assert fire(desk, "run", due + 1, due + 2) == []
    assert fire(desk, "walk", due, due) == []
    assert "r" in desk.book.runs


def test_a_run_without_deadline_has_no_timer(desk: Desk) -> None:
    """Most have none: an idle run costs nothing."""
    desk.start()
    assert desk.book.runs[RunId("r")].timers == {}


def test_only_the_ledger_may_fire(desk: Desk) -> None:
    """Somebody who says that time is up is refused."""
    desk.start(deadline_ms=5)
    due = desk.book.runs[RunId("r")].timers["run"]
    step = desk.send("TimerFired", name="run", due_at=due)
    assert (answer(step).code, detail(step)["rule"]) == ("scope", "ledger")


@pytest.mark.parametrize("deadline_ms", [-1, DEADLINE_LIMIT_MS + 1])
def test_a_deadline_out_of_range_is_refused(desk: Desk, deadline_ms: int) -> None:
    """Below nothing, or so far away that the unit must be wrong."""
    step = desk.start(deadline_ms=deadline_ms)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "deadline_ms")


def expire(desk: Desk, at: int, due: int | None = None, key: str = "a/b") -> Any:
    """The ledger's word that a value of the run is due."""
    due = desk.book.runs[RunId("r")].timers[f"state/{key}"] if due is None else due
    return desk.put(timers.fired(RunId("r"), "", f"state/{key}", due, len(desk.sent)), at)


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
    assert desk.book.runs[RunId("r")].timers == {}
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
    assert desk.book.runs[RunId("r")].timers == ({} if due is None else {"state/a/b": due})
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
    step = desk.put(timers.fired(RunId("memory/m"), "", "state/note", 7_000), 7_000)
    assert kinds(step) == ["StateExpired"]
    assert answer(desk.send("GetState", key="note", run_id="memory/m")).version == 2


@pytest.mark.parametrize("ttl_ms", [-1, timers.DEADLINE_LIMIT_MS + 1])
def test_a_time_to_live_out_of_range_is_refused(desk: Desk, ttl_ms: int) -> None:
    """By its field; of a write and of a contract; messages have none at all."""
    desk.start()
    sound: dict[str, Any] = {"target": "state", "pattern": "k", "schema": "{}", "run_id": "", "ttl_ms": ttl_ms}
    for step in (
        desk.send("SetState", key="k", value="1", ttl_ms=ttl_ms),
        desk.send("ApplyContract", **sound),
        desk.send("ApplyContract", **{**sound, "target": "message", "ttl_ms": 1}),
    ):
        assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "ttl_ms")


def test_a_message_that_is_late_is_a_dead_letter(desk: Desk) -> None:
    """With its cause; the run goes on, its handler is stopped at its next command."""
    desk.register("one")
    desk.start()
    delivery: Any = desk.send("SendMessage", name="go", recipient="one", deadline_ms=5).facts[-1]
    name = f"message/{delivery.delivery_id}"
    assert desk.book.runs[RunId("r")].timers == {name: delivery.deadline_at}
    assert fire(desk, name, delivery.deadline_at, delivery.deadline_at) == ["MessageDeadLettered", "EscalationRaised"]
    letter: Any = desk.facts[-2]
    assert (letter.cause, letter.delivery_id, letter.agent) == ("expired", delivery.delivery_id, "bp.ledger")
    assert answer(desk.complete(delivery)).code == "delivery_settled"
    assert desk.book.runs[RunId("r")].timers == {}


def test_a_message_keeps_its_deadline_over_its_attempts_and_is_stopped_by_its_end(desk: Desk) -> None:
    """From sending until handled: a second attempt has what is left."""
    desk.register("one", max_deliveries=2)
    desk.start()
    first: Any = desk.send("SendMessage", name="go", recipient="one", deadline_ms=5).facts[-1]
    second: Any = desk.fail(first).facts[-1]
    assert second.deadline_at == first.deadline_at
    desk.complete(second)
    assert desk.book.runs[RunId("r")].timers == {}


def test_a_request_that_is_late_tells_its_asker(desk: Desk) -> None:
    """What it asked, of whom, and how long it waited."""
    desk.register("one")
    desk.start()
    delivery: Any = desk.send("Ask", name="clarify", recipient="one", deadline_ms=5, command_id="q").facts[-1]
    due = delivery.deadline_at
    step = desk.put(timers.fired(RunId("r"), "", f"message/{delivery.delivery_id}", due), due + 1_000)
    assert kinds(step) == ["MessageDeadLettered", "RequestExpired"]
    assert (answer(step).command_id, answer(step).status, answer(step).code) == ("q", "failed", "request_expired")
    assert (detail(step)["agent"], detail(step)["name"], detail(step)["waited_ms"]) == ("one", "clarify", 6)


def test_an_idle_run_ends_when_its_last_message_has_expired(desk: Desk) -> None:
    """Nothing is left to do: it would wait for ever."""
    desk.register("one")
    desk.start("idle")
    delivery: Any = desk.send("SendMessage", name="go", recipient="one", deadline_ms=5).facts[-1]
    due = delivery.deadline_at
    assert fire(desk, f"message/{delivery.delivery_id}", due, due) == [
        "MessageDeadLettered",
        "EscalationRaised",
        "RunCompleted",
    ]


def test_a_handler_that_is_late_has_failed_and_gets_the_message_again(desk: Desk) -> None:
    """A second after its timeout, in which a process that lives has said so itself; then the next attempt."""
    desk.register("one", max_deliveries=2, handler_timeout_ms=5)
    desk.start()
    first = desk.deliver("one")
    (started,) = desk.within(first, "StartHandler", "start/1", attempt=1).facts
    due: int = started.deadline_at  # type: ignore[attr-defined]  # a HandlerStarted
    assert due == started.at + 1_005_000
    name = f"handler/{first.delivery_id}/1"
    assert fire(desk, name, due, due) == ["HandlerFailed", "MessageDelivered"]
    failed: Any = desk.facts[-2]
    assert (failed.code, failed.cause, failed.attempt) == ("handler_timeout", "handler_timeout", 1)
    assert (failed.reason, failed.error_type) == ("the process that ran it neither ended nor gave it up in time", "")
    late = desk.within(first, "FailHandler", attempt=1, error_type="HandlerTimedOut")
    assert kinds(late) == ["HandlerFailed"]  # noted: attempt 2 is under way
    desk.within(desk.facts[-2], "StartHandler", "start/2", attempt=2)
    step = desk.within(desk.facts[-1], "FailHandler", attempt=2, error_type="HandlerTimedOut")
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "EscalationRaised", "RunFailed"]
    assert step.facts[1].cause == "handler_timeout"  # type: ignore[attr-defined]


def test_the_start_of_an_agent_without_timeout_or_of_an_old_attempt_is_nothing(desk: Desk) -> None:
    """A fact that sets no timer."""
    desk.register("one", max_deliveries=3)
    desk.start()
    first = desk.deliver("one")
    assert kinds(desk.within(first, "StartHandler", "start/1", attempt=1)) == ["HandlerStarted"]
    desk.register("one", max_deliveries=3, handler_timeout_ms=5)
    desk.fail(first)
    assert kinds(desk.within(first, "StartHandler", attempt=1, command_id="late")) == ["HandlerStarted"]
    assert desk.book.runs[RunId("r")].timers == {}


def test_an_attempt_that_ends_stops_the_timer_of_a_newer_one(desk: Desk) -> None:
    """The delivery is handled, whichever attempt did it."""
    desk.register("one", max_deliveries=3, handler_timeout_ms=5)
    desk.start()
    first = desk.deliver("one")
    second: Any = desk.fail(first).facts[-1]
    desk.within(second, "StartHandler", "start/2", attempt=2)
    assert list(desk.book.runs[RunId("r")].timers) == [f"handler/{first.delivery_id}/2"]
    desk.complete(first)
    assert desk.book.runs[RunId("r")].timers == {}


def test_a_dependency_that_is_late_fails_the_run_and_says_what_was_missing(desk: Desk) -> None:
    """Unless it was met: that stops its timer."""
    for name in ("one", "two"):
        desk.register(name)
    desk.start()
    depends: dict[str, Any] = {"downstream": "two", "trigger_when": "all_completed", "deadline_ms": 5}
    desk.send("DeclareDependency", command_id="met", depends_on=["state:k"], **depends)
    desk.send("SetState", key="k", value="1")
    assert desk.book.runs[RunId("r")].timers == {}
    declared: Any = desk.send("DeclareDependency", command_id="d/1", depends_on=["state:k", "one"], **depends).facts[0]
    due = declared.deadline_at
    ended = ["DependencyExpired", "EscalationRaised", "DeliveryCancelled", "RunFailed"]
    assert fire(desk, "dependency/d/1", due, due) == ended
    ended_run = desk.book.finished[RunId("r")]
    assert (ended_run.code, ended_run.said, ended_run.said_by) == ("dependency_expired", "one", "client")
