"""Messages and their handlers."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ids import RunId
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=2)
    desk.start()
    return desk


def test_a_published_message_goes_to_subscribers_of_the_workflow() -> None:
    """Globs of names and of workflows decide; the sender learns how many inboxes it went to."""
    desk = Desk()
    desk.register("hears", subscriptions=["search.*"])
    desk.register("elsewhere", subscriptions=["*"], workflows=["other"])
    desk.register("deaf")
    desk.start()
    step = desk.send("Publish", name="search.completed", data='{"n":1}')
    assert [(f.kind, getattr(f, "recipient", "")) for f in step.facts] == [
        ("MessagePublished", ""),
        ("MessageDelivered", "hears"),
    ]
    assert detail(step) == {"recipients": 1}


def test_a_message_to_nobody_names_who_may_be_meant(desk: Desk) -> None:
    """A typing error in a recipient is refused with the nearest names."""
    step = desk.send("SendMessage", name="go", recipient="thre")
    assert answer(step).code == "unknown_agent"
    assert detail(step)["nearest"] == ["three"]


@pytest.mark.parametrize("name", ["", "Search", "a..b", "a b", "x" * 201, "é"])
def test_a_message_name_is_dotted_lower_case(desk: Desk, name: str) -> None:
    """Names that would not fit a glob or a topic are refused."""
    assert answer(desk.send("Publish", name=name)).code == "invalid_command"


def test_an_agent_publishes_only_what_it_declared(desk: Desk) -> None:
    """The refusal names the rule."""
    desk.register("one", publishes=["draft.*"])
    step = desk.send("Publish", agent="one", name="search.done")
    assert detail(step) == {"rule": "publishes", "name": "search.done", "allowed": ["draft.*"]}


def test_a_failed_handler_gets_the_message_again_then_it_is_dead_and_the_run_failed(desk: Desk) -> None:
    """Redelivery keeps the delivery, counts the attempt, and ends in the dead letter with its cause."""
    first = desk.deliver("one")
    step = desk.fail(first)
    assert kinds(step) == ["HandlerFailed", "MessageDelivered"]
    second: Any = step.facts[-1]
    assert (second.delivery_id, second.attempt, second.data) == (first.delivery_id, 2, first.data)
    step = desk.fail(second)
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "EscalationRaised", "RunFailed"]
    assert step.facts[1].error_type == "ValueError"  # type: ignore[attr-defined]
    ended = desk.book.finished[RunId("r")]
    assert (ended.code, ended.reason) == ("handler_failed", "agent 'one' failed 2 times on 'go'")
    assert (ended.said, ended.said_by) == ("ValueError: no", "one")


def test_a_late_report_of_an_earlier_attempt_changes_nothing(desk: Desk) -> None:
    """A worker that lost its inbox reports attempt 1 while attempt 2 is under way: noted, not redelivered."""
    first = desk.deliver("one")
    second: Any = desk.fail(first).facts[-1]
    step = desk.within(first, "FailHandler", attempt=1, command_id="late")
    assert kinds(step) == ["HandlerFailed"]
    assert desk.book.runs[RunId("r")].deliveries[first.delivery_id].attempt == 2
    assert kinds(desk.complete(second)) == ["HandlerCompleted"]


@pytest.mark.parametrize("attempt", [0, -1, 2, 99])
def test_an_attempt_that_was_not_made_cannot_end(desk: Desk, attempt: int) -> None:
    """A report about no attempt is refused, so that it neither redelivers nor leaves the delivery hanging."""
    delivery = desk.deliver("one")
    assert answer(desk.within(delivery, "FailHandler", attempt=attempt)).code == "invalid_command"


def test_only_the_recipient_ends_a_delivery(desk: Desk) -> None:
    """Another agent's report is refused by scope."""
    delivery = desk.deliver("one")
    step = desk.send("CompleteHandler", agent="two", delivery_id=delivery.delivery_id)
    assert (answer(step).code, detail(step)["rule"]) == ("scope", "recipient")


def test_a_redelivered_handler_gets_the_first_answers_again(desk: Desk) -> None:
    """Its commands have the ids of the first attempt: no new facts, the same answers; once settled it is stopped."""
    first = desk.deliver("one")
    told = answer(desk.within(first, "SetState", 0, key="k", value="1"))
    second: Any = desk.fail(first).facts[-1]
    step = desk.within(second, "SetState", 0, key="k", value="1")
    assert (step.facts, answer(step)) == ([], told)
    desk.complete(second)
    assert answer(desk.within(second, "SetState", 0, key="k", value="3")).code == "delivery_settled"
    assert answer(desk.within(first, "SetState", 1, key="k", value="4")).code == "delivery_settled"
    assert len(desk.book.runs[RunId("r")].state["k"]) == 1
