"""Budgets case by case: who draws on what, what a refusal says, what a run that ends gives back."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core import money
from agents_sdk.core.facts import CallEvent
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import issued
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


def call(desk: Desk, budget: int, agent: str = "client") -> CallEvent:
    """A call with a budget."""
    step = desk.send("CallCapability", capability="search", budget_nano_usd=budget, agent=agent)
    fact = step.facts[0]
    assert isinstance(fact, CallEvent), fact
    return fact


def attempt(desk: Desk, fact: CallEvent, cost: int) -> None:
    """Somebody was paid for it."""
    body: dict[str, Any] = {
        "call_id": fact.call_id,
        "capability": "search",
        "cost_nano_usd": cost,
        "attempt": len(desk.sent),
    }
    desk.send("RecordAttempt", agent=EXECUTOR, **body)


def test_a_refused_call_says_what_was_left_and_of_which_budget() -> None:
    """The tighter budget is named, with amounts that add up; nothing is reserved."""
    desk = Desk()
    desk.register("writer", budget_nano_usd=30)
    desk.start(budget_nano_usd=100)
    call(desk, 20, "writer")
    step = desk.send("CallCapability", capability="search", budget_nano_usd=11, agent="writer")
    assert answer(step).code == "budget_exceeded"
    assert detail(step) == {"budget": "agent", "asked_nano_usd": 11, "left_nano_usd": 10, "limit_nano_usd": 30}
    assert "asks for 0.000000011 USD, and 0.00000001 USD are left of the agent's budget" in answer(step).message
    call(desk, 80)
    assert detail(desk.send("CallCapability", capability="search", budget_nano_usd=1))["budget"] == "run"


def test_a_retry_and_its_outcome_draw_on_one_reservation_and_release_the_rest() -> None:
    """What attempts cost comes out of the reservation; the outcome gives back what is left of it."""
    desk = Desk()
    desk.start(budget_nano_usd=100)
    fact = call(desk, 60)
    attempt(desk, fact, 25)
    attempt(desk, fact, 10)
    account = desk.book.runs[RunId("r")].account
    assert (account.spent, account.reserved) == (35, 25)
    desk.send("CompleteCall", agent=EXECUTOR, call_id=fact.call_id, result="1")
    assert (account.spent, account.reserved) == (35, 0)


def test_what_costs_nothing_goes_on_when_nothing_is_left() -> None:
    """A call that does not say what it may cost is never refused here: nothing is reserved for it."""
    desk = Desk()
    desk.start(budget_nano_usd=0)
    assert call(desk, money.NO_LIMIT).budget_nano_usd == 0


def test_the_most_specific_declaration_says_what_a_call_may_cost() -> None:
    """Unless the call does so itself."""
    desk = Desk()
    desk.register("writer", call_budgets={"*": 5, "sea*": 7})
    desk.start()
    assert call(desk, money.NO_LIMIT, "writer").budget_nano_usd == 7
    assert call(desk, 3, "writer").budget_nano_usd == 3


def test_a_run_that_ends_idle_tells_its_parent_what_it_spent_and_keeps_nothing_reserved() -> None:
    """The facts of the command that ends it count: the outcome, and the end of a child."""
    desk = Desk()
    desk.register("writer")
    desk.start("idle", budget_nano_usd=100, parent_run_id="p", root_run_id="p", agent="bp.ledger")
    delivery = desk.deliver("writer")
    fact = call(desk, 60)
    child = desk.send("StartChild", complete_when="idle", workflow="w", budget_nano_usd=20).facts[0]
    desk.complete(delivery)
    attempt(desk, fact, 25)
    desk.send("CompleteCall", agent=EXECUTOR, call_id=fact.call_id, result="1")
    report: dict[str, Any] = {"child_run_id": child.child_run_id, "status": "completed", "spent_nano_usd": 8}  # type: ignore[attr-defined]
    step = desk.send("ReportChild", agent="bp.ledger", **report)
    assert kinds(step) == ["ChildEnded", "RunCompleted"]
    (told,) = issued(step.facts[-1])
    assert told.run is not None
    assert told.run.spent_nano_usd == 25 + 8

    desk.start("idle", run_id="s", budget_nano_usd=100)
    delivery = desk.send("SendMessage", run_id="s", name="go", recipient="writer").facts[-1]
    asked = desk.send("CallCapability", run_id="s", capability="search", budget_nano_usd=60).facts[0]
    desk.complete(delivery)
    step = desk.send("FailCall", run_id="s", agent=EXECUTOR, call_id=asked.command_id)
    assert kinds(step) == ["CallFailed", "RunCompleted"]
    assert step.facts[-1].reserved_nano_usd == 0  # type: ignore[attr-defined]


def test_a_run_that_is_cancelled_keeps_what_its_open_calls_may_still_cost() -> None:
    """An attempt under way may be billed after the end: its parent must not spend that again."""
    desk = Desk()
    desk.start(budget_nano_usd=100, parent_run_id="p", root_run_id="p", agent="bp.ledger")
    attempt(desk, call(desk, 60), 25)
    end = desk.send("CancelRun").facts[-1]
    assert (end.spent_nano_usd, end.reserved_nano_usd) == (25, 35)  # type: ignore[attr-defined]
    (told,) = issued(end)
    assert told.run is not None
    assert told.run.spent_nano_usd == 60


@pytest.mark.parametrize("amount", [-2, money.LIMIT + 1])
def test_an_amount_that_is_none_is_refused_wherever_it_stands(amount: int) -> None:
    """Of a run, a call, a child, an agent and its calls."""
    desk = Desk()
    assert answer(desk.start(budget_nano_usd=amount)).code == "invalid_command"
    desk.start()
    commands: dict[str, dict[str, Any]] = {
        "CallCapability": {"capability": "c", "budget_nano_usd": amount},
        "StartChild": {"workflow": "w", "complete_when": "idle", "budget_nano_usd": amount},
        "RegisterAgent": {"agent": "a", "run_id": "", "name": "a", "budget_nano_usd": amount},
    }
    for kind, fields in commands.items():
        assert answer(desk.send(kind, **fields)).code == "invalid_command"
    step = desk.send("RegisterAgent", agent="a", run_id="", name="a", call_budgets={"x": amount})
    assert "call_budgets['x']" in answer(step).message


def test_the_outcome_of_a_call_that_its_budget_ended_says_what_was_left() -> None:
    """The caller of FailCall with an amount asked is told it in fields."""
    desk = Desk()
    desk.start()
    fact = call(desk, 50)
    report: dict[str, Any] = {
        "error_class": "quota",
        "error_code": "budget_exceeded",
        "asked_nano_usd": 60,
        "cost_nano_usd": 10,
    }
    told = desk.send("FailCall", agent=EXECUTOR, call_id=fact.call_id, **report).replies[-1].reply
    assert '"left_nano_usd":40,"limit_nano_usd":50' in told.detail


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.40 USD", 400_000_000), ("1 USD", money.NANO), ("0.000000001USD", 1), (" 12.5 USD ", 12_500_000_000)],
)
def test_amounts_are_read_exactly(text: str, amount: int) -> None:
    """And written so that they are read the same."""
    assert money.parse(text) == amount
    assert money.parse(money.usd(amount)) == amount


@pytest.mark.parametrize("text", ["0.40", "0.40 EUR", "-1 USD", "1e3 USD", "0.0000000001 USD", "", "2000000 USD", 0.4])
def test_what_is_no_amount_is_refused_with_the_text_and_an_example(text: str) -> None:
    """Above all a number without its currency."""
    with pytest.raises(ValueError, match=r"0\.40 USD") as raised:
        money.parse(text)
    assert repr(text) in str(raised.value)
