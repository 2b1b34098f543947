"""Capability calls: intent, claims, attempts, outcome, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.commands import AttemptBody, Command, OutcomeBody
from agents_sdk.core.ids import CallId, RunId
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk(max_value_bytes=100)
    desk.register("one")
    desk.start()
    return desk


def test_the_caller_is_told_when_the_call_is_settled(desk: Desk) -> None:
    """Nothing at the intent; at the outcome the result and what it took."""
    step = desk.send("CallCapability", capability="search", params='{"q":1}', timeout_ms=-5)
    assert (kinds(step), step.replies) == (["CallRequested"], [])
    assert step.facts[0].timeout_ms == 0  # type: ignore[attr-defined]
    call_id = step.facts[0].command_id
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result="[]", provider="p",
                     attempts=2, cost_nano_usd=7, latency_us=9)  # fmt: skip
    told = answer(step)
    assert (told.command_id, told.status, told.value) == (call_id, "ok", "[]")
    assert detail(step) == {"provider": "p", "attempts": 2, "cost_nano_usd": 7, "latency_us": 9, "degraded": False}


def test_a_failed_call_tells_its_caller_why_and_its_executor_ok(desk: Desk) -> None:
    """The failure is the caller's; that it was recorded is the executor's."""
    call_id = desk.call()
    step = desk.send("FailCall", agent=EXECUTOR, reply_to="executor", call_id=call_id, error_class="outage",
                     error_code="no_provider", error_message="x" * 3_000)  # fmt: skip
    mine, callers = (addressed.reply for addressed in step.replies)
    assert (mine.reply_to, mine.status) == ("executor", "ok")
    assert (callers.reply_to, callers.status, callers.code) == ("me", "failed", "no_provider")
    assert len(callers.message) == 2_000


@pytest.mark.parametrize(
    ("result", "code"), [('"' + "x" * 99 + '"', "oversize"), ("{", "invalid_result"), ("", "invalid_result")]
)
def test_a_result_that_cannot_be_recorded_fails_the_call(desk: Desk, result: str, code: str) -> None:
    """The executor hears no answer; so the caller must be told, or it would wait for ever."""
    call_id = desk.call()
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result=result, cost_nano_usd=7)
    assert kinds(step) == ["CallFailed"]
    assert (answer(step).status, answer(step).code, detail(step)["cost_nano_usd"]) == ("failed", code, 7)


def test_only_the_executor_reports_about_calls(desk: Desk) -> None:
    """An agent cannot settle or claim its own calls."""
    call_id = desk.call()
    for kind in ("StartAttempt", "RecordAttempt", "CompleteCall", "FailCall"):
        step = desk.send(kind, agent="one", call_id=call_id)
        assert (answer(step).code, detail(step)["rule"]) == ("scope", "executor")


def test_an_attempt_is_claimed_by_one_executor(desk: Desk) -> None:
    """The second claim of an attempt at an unsafe call is refused and told who has it."""
    call_id = desk.call()
    claim: dict[str, Any] = {"agent": EXECUTOR, "call_id": call_id, "attempt": 1}
    assert answer(desk.send("StartAttempt", **claim, executor="x")).status == "ok"
    step = desk.send("StartAttempt", **claim, executor="y")
    assert (answer(step).code, detail(step)["executor"]) == ("attempt_taken", "x")
    assert answer(desk.send("StartAttempt", **{**claim, "attempt": 2}, executor="y")).status == "ok"


def test_a_call_is_settled_once(desk: Desk) -> None:
    """A second outcome is refused; so is one of a call that never was."""
    call_id = desk.call()
    desk.send("CompleteCall", agent=EXECUTOR, call_id=call_id, result="1")
    assert answer(desk.send("FailCall", agent=EXECUTOR, call_id=call_id)).code == "call_settled"
    assert answer(desk.send("FailCall", agent=EXECUTOR, call_id="none")).code == "unknown_call"


def test_a_caller_that_comes_back_from_another_address_is_told_there(desk: Desk) -> None:
    """After a restart the same call is asked for again: not called twice, and the outcome goes to the new address."""
    call_id = desk.call()
    assert kinds(desk.again(reply_to="new", reply_partition=3)) == ["CallAwaited"]
    assert desk.again().facts == []
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result="1")
    assert [(told.partition, told.reply.reply_to) for told in step.replies] == [(3, "new")]


def test_a_caller_is_told_though_its_handler_has_ended_meanwhile(desk: Desk) -> None:
    """A call that outlives its handler is forgotten only after its caller was told."""
    delivery = desk.deliver("one")
    call_id = desk.within(delivery, "CallCapability", capability="search").facts[0].command_id
    desk.complete(delivery)
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result="1")
    assert (answer(step).command_id, answer(step).value) == (call_id, "1")
    assert CallId(call_id) not in desk.book.runs[RunId("r")].calls


def record(desk: Desk, call_id: str, **fields: Any) -> list[str]:
    return kinds(desk.send("RecordAttempt", agent=EXECUTOR, call_id=call_id, capability="search", **fields))


def test_an_attempt_keeps_its_cost_however_late_it_is_recorded(desk: Desk) -> None:
    """After the outcome, after its handler, after the run: recorded, since it was paid for."""
    delivery = desk.deliver("one")
    call_id = desk.within(delivery, "CallCapability", capability="search").facts[0].command_id
    desk.send("FailCall", agent=EXECUTOR, call_id=call_id)
    assert record(desk, call_id, attempt=1, error_class="outage") == ["AttemptFailed"]
    desk.complete(delivery)
    assert record(desk, call_id, attempt=2) == ["AttemptSucceeded"]
    desk.send("CancelRun")
    assert record(desk, call_id, attempt=3, cost_nano_usd=7) == ["AttemptSucceeded"]
    late: Any = desk.facts[-1]
    assert (late.cost_nano_usd, late.run_seq) == (7, desk.facts[-2].run_seq + 1)


def test_an_attempt_is_paid_for_once(desk: Desk) -> None:
    """The record of an attempt that comes again, even after the run's end or in another command, adds no cost."""
    call_id = desk.call()
    assert record(desk, call_id, attempt=1) == ["AttemptSucceeded"]
    assert record(desk, call_id, attempt=1) == []
    desk.send("CancelRun")
    assert record(desk, call_id, attempt=1) == []
    assert record(desk, call_id, attempt=2) == ["AttemptSucceeded"]
    assert settle(desk, call_id, "CompleteCall", 2) == []
    assert settle(desk, call_id, "FailCall", 3) == ["AttemptFailed"]


def settle(desk: Desk, call_id: str, kind: str, number: int) -> list[str]:
    """The outcome of a call with the attempt that led to it, in one command."""
    made = AttemptBody(
        call_id=CallId(call_id), attempt=number, capability="search", error_class="outage" if kind == "FailCall" else ""
    )
    outcome = OutcomeBody(call_id=CallId(call_id), result="1")
    common: dict[str, Any] = {
        "command_id": f"{call_id} {kind} {number}",
        "kind": kind,
        "run_id": "r",
        "correlation_id": "",
    }
    return kinds(desk.put(Command(agent=EXECUTOR, outcome=outcome, attempt=made, **common)))


def test_an_outcome_may_bring_the_attempt_that_led_to_it(desk: Desk) -> None:
    """Both happen, in that order; the attempt counts also where the outcome comes too late, and once."""
    call_id = desk.call()
    assert settle(desk, call_id, "CompleteCall", 1) == ["AttemptSucceeded", "CallCompleted"]
    assert settle(desk, call_id, "CompleteCall", 1) == []
    assert settle(desk, call_id, "FailCall", 2) == ["AttemptFailed"]
    assert settle(desk, call_id, "FailCall", 2) == []
    again = desk.call()
    assert record(desk, again, attempt=1) == ["AttemptSucceeded"]
    assert settle(desk, again, "FailCall", 1) == ["CallFailed"]


def test_an_agent_calls_only_what_it_declared(desk: Desk) -> None:
    """The refusal names the rule and what it allows."""
    desk.register("one", capabilities=["s*"])
    step = desk.send("CallCapability", agent="one", capability="video")
    assert detail(step) == {"rule": "capabilities", "capability": "video", "allowed": ["s*"]}
    assert answer(desk.send("CallCapability", agent="one", capability="")).code == "invalid_command"
