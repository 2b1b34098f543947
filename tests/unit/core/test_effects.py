"""Steps of handlers: recorded once, given back, claimed where they are unsafe, and never without an outcome."""

from __future__ import annotations

from typing import Any, Final

import pytest

from agents_sdk.core import ids
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import evolve
from agents_sdk.core.ledger.effects import CLAIMS_LIMIT, USAGES_LIMIT
from tests.support.ledger_desk import Desk, answer, detail, kinds

RUN: Final = RunId("r")
WHOLE: Final[dict[str, Any]] = {"name": "draft", "params": '["a"]', "mode": "end", "result": '"text"', "attempts": 1}
CLAIM: Final[dict[str, Any]] = {
    "name": "pay", "mode": "claim", "unsafe": True, "holder": "first", "lease_ms": 1_000, "command_id": "pay",
}  # fmt: skip
END: Final[dict[str, Any]] = {
    "name": "pay", "mode": "end", "unsafe": True, "holder": "first", "call_id": "pay", "result": '"paid"',
}  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.register("one", max_deliveries=1)
    desk.register("two")
    desk.register("watched", supervisor="two", max_deliveries=1)
    desk.start(complete_when="idle")
    return desk


def usage(**fields: Any) -> dict[str, Any]:
    return {"provider": "openai", "model": "gpt-4o", "input_tokens": 5, "cost_nano_usd": 7, "price_id": "l", **fields}


def test_a_step_is_one_command_and_gives_its_result_to_each_attempt(desk: Desk) -> None:
    """Intent, usages of models and outcome are facts of one command. Sent again it says the same."""
    delivery = desk.deliver("one")
    usages = ids.canonical([usage(), usage(model="m", cost_nano_usd=3, prompt_version="writer@3")])
    first = desk.within(delivery, "RecordStep", **WHOLE, usages=usages)
    again = desk.within(delivery, "RecordStep", **{**WHOLE, "result": '"another"'})
    look = desk.within(delivery, "RecordStep", **{**WHOLE, "mode": "look", "result": ""})

    assert kinds(first) == ["CallRequested", "AttemptSucceeded", "AttemptSucceeded", "CallCompleted"]
    assert (kinds(again), kinds(look)) == ([], [])
    for step in (first, again, look):
        assert (answer(step).status, answer(step).value, detail(step)["cost_nano_usd"]) == ("ok", '"text"', 10)
    asked, tried, other, done = first.facts
    shown: Any = (asked, tried, other, done)
    assert [fact.capability for fact in shown] == ["step:draft"] * 4
    assert (shown[0].params, shown[0].effect, shown[3].effect, shown[0].fingerprint[:16]) == (
        '["a"]', "safe", "safe", "RecordStep draft",
    )  # fmt: skip
    assert (shown[1].attempt, shown[2].attempt, shown[2].prompt_version) == (1, 2, "writer@3")
    run = desk.book.runs[RUN]
    assert (run.account.spent, run.open_calls) == (10, 0)
    assert "RunCompleted" in kinds(desk.within(delivery, "CompleteHandler", attempt=1, counted=True, commands=1))


def test_nothing_is_recorded_of_a_step_that_is_only_looked_for(desk: Desk) -> None:
    delivery = desk.deliver("one")
    step = desk.within(delivery, "RecordStep", **{**WHOLE, "mode": "look"})
    assert (kinds(step), answer(step).status, answer(step).event_id) == ([], "ok", "")


def test_a_step_with_other_arguments_or_another_name_has_diverged(desk: Desk) -> None:
    for other in ({"name": "edit"}, {"params": '["b"]'}, {"params": '["b"]', "mode": "look"}):
        delivery = desk.deliver("two")
        desk.within(delivery, "RecordStep", **WHOLE)
        assert answer(desk.within(delivery, "RecordStep", **{**WHOLE, **other})).code == "diverged"
    delivery = desk.deliver("two")
    desk.within(delivery, "RecordStep", **WHOLE)
    step = desk.within(delivery, "CompleteHandler", attempt=1, counted=True, commands=0)
    assert answer(step).code == "diverged"


def test_an_error_is_recorded_in_the_words_of_its_agent(desk: Desk) -> None:
    delivery = desk.deliver("one")
    failed = {**WHOLE, "result": "", "error_code": "step_failed", "error_message": "ValueError: no such page"}
    step = desk.within(delivery, "RecordStep", **failed)
    assert kinds(step) == ["CallRequested", "CallFailed"]
    assert (answer(step).status, answer(step).code) == ("failed", "step_failed")
    assert (detail(step)["said"], detail(step)["said_by"]) == ("ValueError: no such page", "one")
    assert "no such page" not in answer(step).message
    assert not desk.book.runs[RUN].failed_calls


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": "later"}, "mode"),
        ({"name": ""}, "name"),
        ({"name": "n" * 191}, "name"),
        ({"unsafe": True}, "mode"),
        ({"mode": "claim"}, "holder"),
        ({"mode": "claim", "holder": "h"}, "mode"),
        ({"error_code": "mine"}, "error_code"),
        ({"result": "{"}, "result"),
        ({"usages": "{"}, "usages"),
        ({"usages": '[{"input_tokens":"x"}]'}, "usages"),
        ({"usages": '[{"input_tokens":-1}]'}, "usages[0].input_tokens"),
        ({"usages": ids.canonical([{}] * (USAGES_LIMIT + 1))}, "usages"),
        ({"delivery_id": "other"}, "delivery_id"),
        ({"agent": "two"}, "delivery_id"),
    ],
)
def test_what_is_no_step_is_refused(desk: Desk, fields: dict[str, Any], field: str) -> None:
    step = desk.within(desk.deliver("one"), "RecordStep", **{**WHOLE, **fields})
    assert (kinds(step), answer(step).code, detail(step)["field"]) == (["CommandRefused"], "invalid_command", field)


def test_an_unsafe_step_is_claimed_before_its_effect(desk: Desk) -> None:
    """Its holder hears of it again; others hear who holds it, and for how long. Its outcome answers both."""
    delivery = desk.deliver("one")
    claim = desk.within(delivery, "RecordStep", **CLAIM)
    later = desk.within(delivery, "RecordStep", **{**CLAIM, "holder": "second"})
    end = desk.within(delivery, "SettleStep", "end", **END)
    again = desk.within(delivery, "SettleStep", "end", **END)
    looked = desk.within(delivery, "RecordStep", **{**CLAIM, "holder": "second"})

    assert (kinds(claim), kinds(later), kinds(end)) == (["CallRequested", "AttemptStarted"], [], ["CallCompleted"])
    assert detail(claim) == {"attempt": 1, "holder": "first", "lease_us": 1_000_000}
    assert (detail(later)["holder"], detail(later)["lease_us"]) == ("first", 999_000)
    assert [answer(step).value for step in (end, again, looked)] == ['"paid"'] * 3
    assert (kinds(again), kinds(looked)) == ([], [])
    assert "RunCompleted" in kinds(desk.within(delivery, "CompleteHandler", attempt=1, counted=True, commands=1))


def test_another_attempt_settles_a_claim_only_when_its_time_is_over(desk: Desk) -> None:
    """Neither its outcome nor the next claim is taken before; then the first holder's word comes too late."""
    delivery = desk.deliver("one")
    desk.within(delivery, "RecordStep", **CLAIM)
    second: dict[str, Any] = {**END, "holder": "second"}
    claim = {**second, "mode": "claim", "attempt": 2, "lease_ms": 1_000, "result": ""}
    for early in (second, claim):
        step = desk.within(delivery, "SettleStep", "early", **early)
        assert (answer(step).code, detail(step)["lease_us"] > 0) == ("attempt_taken", True)
    desk.sent += desk.sent[-1:] * 1_000  # a second later
    taken = desk.within(delivery, "SettleStep", "claim 2", **claim)
    assert (kinds(taken), detail(taken)) == (["AttemptStarted"], {"fencing_token": 2})
    late = desk.within(delivery, "SettleStep", "late", **END)
    assert answer(late).code == "attempt_taken"
    assert kinds(desk.within(delivery, "SettleStep", "end", **second)) == ["CallCompleted"]
    assert answer(desk.within(delivery, "SettleStep", "late 2", **END)).code == "call_settled"


def test_the_holder_may_claim_again_at_once(desk: Desk) -> None:
    """It knows that the effect did not happen."""
    delivery = desk.deliver("one")
    desk.within(delivery, "RecordStep", **CLAIM)
    again = desk.within(delivery, "SettleStep", "2", **{**END, "mode": "claim", "attempt": 2, "result": ""})
    assert kinds(again) == ["AttemptStarted"]
    for wrong in (1, 2, 4, CLAIMS_LIMIT + 1):
        step = desk.within(delivery, "SettleStep", f"x{wrong}", **{**END, "mode": "claim", "attempt": wrong})
        assert answer(step).code == "attempt_taken"


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_claim_that_its_handler_leaves_is_unknown(desk: Desk, end: str) -> None:
    """The run does not wait for it for ever, and the supervisor hears of it."""
    delivery = desk.deliver("watched")
    desk.within(delivery, "RecordStep", **CLAIM)
    step = getattr(desk, end)(delivery)
    assert "CallFailed" in kinds(step)
    failed: Any = next(fact for fact in step.facts if fact.kind == "CallFailed")
    assert (failed.error_code, failed.call_id) == ("outcome_unknown", "pay")
    assert kinds(step).count("EscalationRaised") == (1 if end == "complete" else 2)
    run = desk.book.runs[RUN]
    assert (run.open_calls, list(run.failed_calls)) == (0, ["pay"])


def test_a_run_that_ends_cancels_a_claimed_step(desk: Desk) -> None:
    delivery = desk.deliver("one")
    desk.within(delivery, "RecordStep", **CLAIM)
    assert "CallCancelled" in kinds(desk.within(delivery, "CompleteRun", "end"))


def test_only_its_handler_settles_a_step(desk: Desk) -> None:
    delivery, other = desk.deliver("one"), desk.deliver("two")
    desk.within(delivery, "RecordStep", **CLAIM)
    assert answer(desk.within(other, "SettleStep", "x", **END)).code == "scope"
    assert answer(desk.within(delivery, "SettleStep", "y", **{**END, "name": "other"})).code == "unknown_call"
    assert answer(desk.within(delivery, "SettleStep", "z", **{**END, "call_id": "none"})).code == "unknown_call"
    search = desk.within(delivery, "CallCapability", "c", capability="search").facts[0].command_id
    assert answer(desk.within(delivery, "SettleStep", "w", **{**END, "call_id": search})).code == "unknown_call"


def test_the_fold_gives_what_was_decided(desk: Desk) -> None:
    delivery = desk.deliver("one")
    desk.within(delivery, "RecordStep", **WHOLE, usages=ids.canonical([usage()]))
    desk.within(delivery, "RecordStep", **CLAIM)
    desk.within(delivery, "SettleStep", "end", **END)
    folded = Desk().book
    for fact in desk.facts:
        evolve(folded, fact)
    assert folded.runs[RUN] == desk.book.runs[RUN]
