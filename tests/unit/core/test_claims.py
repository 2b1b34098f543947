"""Claims: which incarnation of which executor may make an attempt at an unsafe call, and who says how the call ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.commands import AttemptBody
from agents_sdk.core.ids import CallId
from agents_sdk.core.ledger import Step
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.start()
    return desk


def _claim(desk: Desk, call_id: str, executor: str, assignment: int, number: int = 1, **more: Any) -> Step:
    body: dict[str, Any] = {
        "call_id": call_id,
        "attempt": number,
        "executor": executor,
        "assignment": assignment,
        "lease_ms": 50,
    }
    name = f"claim {number} by {executor} in {assignment}"
    return desk.send("StartAttempt", agent=EXECUTOR, command_id=name, **body, **more)


def test_a_claim_belongs_to_one_incarnation_and_is_counted(desk: Desk) -> None:
    """Said again by the same one it is answered as the first time; any other is told who holds it, and for how long its
    effect may still happen: by the broker's clock, on which this claim was granted at 2 ms."""
    call_id = desk.call()
    granted = _claim(desk, call_id, "x", 1)

    assert detail(granted) == {"fencing_token": 1}
    assert detail(desk.again()) == {"fencing_token": 1}
    other = desk.put(msgspec.structs.replace(desk.sent[-1], command_id="the next incarnation"), at=32_000)
    assert answer(other).code == "attempt_taken"
    assert detail(other) | {"call_id": ""} == {
        "call_id": "", "executor": "x", "assignment": 1, "fencing_token": 1, "lease_us": 20_000,
        "started_at": 0, "asked": "search/",
    }  # fmt: skip
    assert detail(_claim(desk, call_id, "y", 1, number=2)) == {"fencing_token": 2}


def test_an_outcome_of_one_whose_claim_was_followed_by_another_is_refused_and_its_attempt_is_paid(desk: Desk) -> None:
    """It was frozen, say, and believes that it still decides. What it spent counts all the same."""
    call_id = desk.call()
    _claim(desk, call_id, "x", 1)
    _claim(desk, call_id, "y", 1, number=2)
    outcome: dict[str, Any] = {"agent": EXECUTOR, "call_id": call_id, "error_class": "unknown"}

    late = desk.send("FailCall", **outcome, fencing_token=1)
    assert (answer(late).code, detail(late)["executor"]) == ("attempt_taken", "y")
    attempt = AttemptBody(call_id=CallId(call_id), attempt=1, cost_nano_usd=7, provider="p", capability="search")
    assert kinds(desk.send("FailCall", **outcome, fencing_token=1, attempt=attempt)) == ["AttemptSucceeded"]
    assert kinds(desk.send("FailCall", **outcome, fencing_token=2))[0] == "CallFailed"


def test_a_claim_said_again_after_the_outcome_is_refused_to_any_other_incarnation(desk: Desk) -> None:
    """The history in which an effect happened twice: outcome sent, partitions lost and regained, claimed again."""
    call_id = desk.call()
    _claim(desk, call_id, "x", 1)
    desk.send("CompleteCall", agent=EXECUTOR, call_id=call_id, result="{}", fencing_token=1)

    assert answer(_claim(desk, call_id, "x", 2)).code == "call_settled"


def test_executors_that_tell_no_assignment_are_answered_as_before(desk: Desk) -> None:
    """A recorded history of theirs replays to the same facts and answers."""
    call_id = desk.call()
    granted = desk.send("StartAttempt", agent=EXECUTOR, call_id=call_id, attempt=1, executor="x")
    refused = desk.send("StartAttempt", agent=EXECUTOR, call_id=call_id, attempt=1, executor="y")

    assert (answer(granted).detail, granted.facts[0].fencing_token) == ("", 0)  # type: ignore[attr-defined]
    assert detail(refused).keys() == {"call_id", "executor", "started_at", "asked"}
