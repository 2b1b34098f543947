"""Calls whose attempts their caller makes itself: told to begin once the intent is recorded, believed of its own."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agents_sdk.core.commands import AttemptBody
from agents_sdk.core.facts import EXECUTE_LOCALLY
from agents_sdk.core.ids import CallId
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk(max_value_bytes=100)
    desk.register("one")
    desk.register("two")
    desk.start()
    return desk


def call(desk: Desk, **fields: Any) -> str:
    return desk.call(agent="one", local=True, **fields)


def complete(desk: Desk, call_id: str, attempt_of: str = "", number: int = 1) -> Any:
    attempt = AttemptBody(call_id=CallId(attempt_of or call_id), attempt=number, capability="search", cost_nano_usd=7)
    return desk.send("CompleteCall", agent="one", call_id=call_id, result="[]", provider="p", attempt=attempt)


def test_the_caller_is_told_to_begin_when_the_intent_is_recorded(desk: Desk) -> None:
    """With what its attempts may cost, and the intent's id, which they are caused by; however often it asks."""
    first = desk.send("CallCapability", agent="one", capability="search", local=True, budget_nano_usd=9)
    again = desk.again(reply_to="elsewhere", reply_partition=3)

    assert (kinds(first), kinds(again)) == (["CallRequested"], [])
    assert first.facts[0].local  # type: ignore[attr-defined]
    for step in (first, again):
        assert (answer(step).status, answer(step).code, answer(step).event_id) == (
            "ok",
            EXECUTE_LOCALLY,
            first.facts[0].event_id,
        )
        assert detail(step) == {"attempts": 0, "budget_nano_usd": 9, "spent_nano_usd": 0}


def test_whoever_begins_again_is_told_what_was_spent(desk: Desk) -> None:
    """A process that died has cost what it cost."""
    asked = desk.send("CallCapability", agent="one", capability="search", local=True, budget_nano_usd=9)
    failed: dict[str, Any] = {
        "call_id": asked.facts[0].command_id,
        "attempt": 1,
        "cost_nano_usd": 4,
        "error_class": "outage",
    }
    desk.send("RecordAttempt", agent="one", **failed)

    told = detail(desk.put(desk.sent[-2]))
    assert (told["spent_nano_usd"], told["attempts"]) == (4, 1)


def test_the_outcome_is_answered_as_the_call_would_be(desk: Desk) -> None:
    """Once, to whoever reports it; the same when it is reported or asked again."""
    call_id = call(desk)
    asking = desk.sent[-1]
    step = complete(desk, call_id)

    assert kinds(step) == ["AttemptSucceeded", "CallCompleted"]
    assert step.facts[1].local
    told = answer(step)
    assert (told.command_id, told.status, told.value) == (desk.sent[-1].command_id, "ok", "[]")
    assert detail(step)["provider"] == "p"
    assert answer(desk.again()) == told
    asked = answer(desk.put(asking))
    assert (asked.command_id, asked.value, asked.detail) == (call_id, told.value, told.detail)


def test_an_outcome_without_an_attempt_is_answered_as_well(desk: Desk) -> None:
    """Such as one that params which break the schema have."""
    call_id = call(desk)
    step = desk.send("FailCall", agent="one", call_id=call_id, error_class="invalid_request", error_code="no")

    assert (answer(step).status, answer(step).code) == ("failed", "no")
    assert answer(desk.again()).code == "no"


@pytest.mark.parametrize("kind", ["StartAttempt", "RecordAttempt", "CompleteCall", "FailCall"])
def test_nobody_else_is_believed(desk: Desk, kind: str) -> None:
    """No other agent, of no other's call; and claims are for executors."""
    local, remote = call(desk), desk.call(agent="one")
    strangers = [("two", local), ("one", remote), ("one", "none"), *[("one", local)] * (kind == "StartAttempt")]
    for agent, call_id in strangers:
        step = desk.send(kind, agent=agent, call_id=call_id)
        assert (answer(step).code, detail(step)["rule"]) == ("scope", "executor")


def test_an_attempt_at_one_call_does_not_bring_the_outcome_of_another(desk: Desk) -> None:
    """Whichever of them is the sender's."""
    call_id, other = call(desk), desk.call(agent="two")

    assert answer(complete(desk, call_id, attempt_of=other)).code == "scope"
    assert answer(complete(desk, other, attempt_of=call_id)).code == "scope"


def test_an_executor_may_take_it_over(desk: Desk) -> None:
    """Whoever comes second is told no outcome, and has to ask for it; what it did is paid for."""
    call_id = call(desk)
    asking = desk.sent[-1]
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result="1")

    assert (kinds(step), step.replies) == (["CallCompleted"], [])
    assert not step.facts[0].local  # type: ignore[attr-defined]
    late = complete(desk, call_id, number=2)
    assert (kinds(late), answer(late).value, answer(late).detail) == (["AttemptSucceeded"], "", "")
    assert answer(complete(desk, call_id, number=2)).code == "call_settled"
    assert answer(desk.put(asking)).value == "1"


def test_who_leaves_it_to_executors_waits_for_the_outcome(desk: Desk) -> None:
    """The same call, asked for as one that is not local."""
    call_id = call(desk)
    asking = desk.sent[-1]
    assert asking.call is not None
    assert kinds(desk.put(replace(asking, call=replace(asking.call, local=False)))) == ["CallAwaited"]
    step = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result="1")

    assert (answer(step).command_id, answer(step).value) == (call_id, "1")


def test_roles_and_budgets_are_held_against_it(desk: Desk) -> None:
    """As against any other call."""
    desk.register("poor", capabilities=["search"], budget_nano_usd=5)

    assert answer(desk.send("CallCapability", agent="poor", capability="text", local=True)).code == "scope"
    dear = desk.send("CallCapability", agent="poor", capability="search", local=True, budget_nano_usd=6)
    assert answer(dear).code == "budget_exceeded"


def test_a_run_that_ends_ends_it(desk: Desk) -> None:
    """The call is cancelled; its outcome comes too late."""
    call_id = call(desk)
    ended = desk.send("CancelRun")

    assert "CallCancelled" in kinds(ended)
    assert answer(complete(desk, call_id)).code == "run_finished"


def test_a_redrive_of_it_is_made_by_executors(desk: Desk) -> None:
    """Whatever failed in the agent's process may work elsewhere."""
    call_id = call(desk)
    desk.send("FailCall", agent="one", call_id=call_id, error_class="outage", report="{}")
    step = desk.send("RedriveCall", capability="", dead_call_id=call_id, local=True)

    assert (step.facts[0].local, step.replies) == (False, [])  # type: ignore[attr-defined]
