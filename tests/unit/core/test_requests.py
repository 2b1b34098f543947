"""Requests: answered, failed or refused, and the asker told wherever it is."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core import ids
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import Step
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=2)
    desk.start()
    return desk


def ask(desk: Desk, delivery: Any, recipient: str, number: int = 0, **fields: Any) -> Step:
    """The handler of the delivery asks another agent."""
    return desk.within(delivery, "Ask", number, name="clarify", recipient=recipient, **fields)


def test_what_the_handler_returns_is_the_answer(desk: Desk) -> None:
    """The asker is told nothing until the handler has completed; then its result and how long it took."""
    asked = desk.send("Ask", name="clarify", recipient="two", data='{"q":1}', command_id="question")
    assert (kinds(asked), asked.replies) == (["RequestSent", "MessageDelivered"], [])
    delivery: Any = asked.facts[-1]
    assert (delivery.request_id, delivery.data) == ("question", '{"q":1}')
    step = desk.within(delivery, "CompleteHandler", attempt=1, result='{"a":2}', reply_to="")
    assert kinds(step) == ["HandlerCompleted", "RequestAnswered"]
    told = answer(step)
    assert (told.command_id, told.reply_to, told.status, told.value) == ("question", "me", "ok", '{"a":2}')
    assert detail(step) == {"agent": "two", "name": "clarify", "waited_ms": 1}


def test_a_handler_that_returns_nothing_answers_null(desk: Desk) -> None:
    """So that every answer is JSON."""
    delivery = desk.send("Ask", name="clarify", recipient="two").facts[-1]
    assert desk.complete(delivery).replies[-1].reply.value == "null"


def test_an_asker_that_restarted_is_told_at_its_new_address(desk: Desk) -> None:
    """Asking again from elsewhere is noted once; from the same place it is nothing; later it is the answer."""
    asking = desk.deliver("one")
    delivery = ask(desk, asking, "two").facts[-1]
    assert kinds(desk.again()) == []
    assert kinds(desk.again(reply_to="elsewhere", reply_partition=3)) == ["RequestAwaited"]
    step = desk.within(delivery, "CompleteHandler", attempt=1, result="7", reply_to="")
    (addressed,) = step.replies
    assert (addressed.partition, addressed.reply.reply_to, addressed.reply.value) == (3, "elsewhere", "7")
    assert answer(ask(desk, asking, "two", reply_to="third")).value == "7"
    desk.complete(asking)
    assert answer(ask(desk, asking, "two")).code == "delivery_settled"


def test_a_request_whose_handler_gives_up_fails_the_asker_not_the_run(desk: Desk) -> None:
    """After the last attempt, with the cause; the message is a dead letter."""
    delivery: Any = desk.send("Ask", name="clarify", recipient="two", command_id="question").facts[-1]
    second: Any = desk.fail(delivery).facts[-1]
    assert (second.attempt, second.request_id) == (2, "question")
    step = desk.within(second, "FailHandler", attempt=2, error_type="KeyError", error_message="x", reply_to="")
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "RequestFailed"]
    told = answer(step)
    assert (told.command_id, told.status, told.code, told.message) == ("question", "failed", "request_failed", "")
    assert [detail(step)[name] for name in ("error_type", "said", "said_by")] == ["KeyError", "x", "two"]
    assert "r" in desk.book.runs


def test_a_run_that_a_failed_request_leaves_idle_ends(desk: Desk) -> None:
    """As it does where the request was answered: nothing else will come to end it."""
    desk.start("idle", run_id="i")
    asked = desk.send("Ask", run_id="i", name="clarify", recipient="two")
    step = desk.fail(desk.fail(asked.facts[-1]).facts[-1])
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "RequestFailed", "RunCompleted"]


def test_a_result_that_cannot_be_recorded_fails_the_attempt(desk: Desk) -> None:
    """A refusal would leave the asker waiting for ever."""
    delivery = desk.send("Ask", name="clarify", recipient="two").facts[-1]
    step = desk.within(delivery, "CompleteHandler", attempt=1, result="{")
    assert kinds(step) == ["HandlerFailed", "MessageDelivered"]
    failed: Any = step.facts[0]
    assert (failed.code, "JSON" in failed.reason, failed.error_type) == ("invalid_command", True, "")


def test_agents_that_would_wait_for_each_other_are_refused_with_the_cycle(desk: Desk) -> None:
    """An agent handles a run's deliveries one by one: asked back by the one it waits for, it would never answer."""
    first = desk.deliver("one")
    assert detail(ask(desk, first, "one"))["cycle"] == ["one", "one"]
    second = ask(desk, first, "two", 1).facts[-1]
    third = ask(desk, second, "three").facts[-1]
    step = ask(desk, third, "one")
    assert detail(step)["cycle"] == ["three", "one", "two", "three"]
    assert "three → one → two → three" in answer(step).message


def test_only_one_that_certainly_waits_closes_a_cycle(desk: Desk) -> None:
    """A client waits in no handler, and neither does an agent whose delivery is settled or that was answered."""
    assert kinds(desk.send("Ask", name="clarify", recipient="one")) == ["RequestSent", "MessageDelivered"]
    first = desk.deliver("one")
    second = ask(desk, first, "two").facts[-1]
    desk.complete(first)
    assert kinds(ask(desk, second, "one")) == ["RequestSent", "MessageDelivered"]


def test_an_asker_that_has_gone_on_does_not_wait(desk: Desk) -> None:
    """It gave the answer up by a limit of its own, and does something else: it can be asked. What was asked side by
    side is waited for, and so is an answer without a deadline, for which nothing else would end a cycle."""
    first = desk.deliver("one")
    second = ask(desk, first, "two", 1, deadline_ms=1_000).facts[-1]
    third: Any = ask(desk, first, "three", 2, deadline_ms=1_000).facts[-1]
    assert detail(ask(desk, second, "one", 1))["cycle"] == ["two", "one", "two"]
    desk.within(first, "SetState", 3, key="k", value="1")
    assert kinds(ask(desk, second, "one", 2)) == ["RequestSent", "MessageDelivered"]
    fourth = ask(desk, first, "three", 4).facts[-1]
    desk.within(first, "SetState", 5, key="k", value="2")
    assert detail(ask(desk, fourth, "one", 3))["cycle"] == ["three", "one", "three"]
    assert third.recipient == "three"


def withdraw(desk: Desk, delivery: Any, number: int, asked: int, **fields: Any) -> Step:
    """The handler waits no longer for what it asked with its command of this number."""
    request_id = ids.derive(delivery.delivery_id, str(asked))
    return desk.within(delivery, "WithdrawRequest", number, name="clarify", request_id=request_id, **fields)


def test_an_asker_that_withdrew_does_not_wait_though_it_says_nothing_more(desk: Desk) -> None:
    """Whatever the deadline; for what it asked besides it does. Said once; what is answered cannot be withdrawn."""
    first = desk.deliver("one")
    second = ask(desk, first, "two", 1).facts[-1]
    third: Any = ask(desk, first, "three", 2, deadline_ms=1_000).facts[-1]
    assert detail(ask(desk, second, "one", 1))["cycle"] == ["two", "one", "two"]
    assert kinds(withdraw(desk, first, 3, 1)) == ["RequestWithdrawn"]
    assert kinds(desk.again()) == []
    assert kinds(withdraw(desk, first, 4, 1)) == []
    assert kinds(ask(desk, second, "one", 2)) == ["RequestSent", "MessageDelivered"]
    assert detail(ask(desk, third, "one", 1))["cycle"] == ["three", "one", "three"]
    desk.complete(third)
    assert kinds(withdraw(desk, first, 5, 2)) == []


def test_an_asker_that_comes_back_to_what_it_withdrew_waits_again_and_is_told(desk: Desk) -> None:
    """Its handler began anew: the same question is no second one, and the answer is the one that was given."""
    first = desk.deliver("one")
    second = ask(desk, first, "two").facts[-1]
    withdraw(desk, first, 1, 0)
    assert kinds(ask(desk, first, "two")) == ["RequestAwaited"]
    assert detail(ask(desk, second, "one"))["cycle"] == ["two", "one", "two"]
    withdraw(desk, first, 2, 0)
    desk.within(second, "CompleteHandler", attempt=1, result="7", reply_to="")
    assert answer(ask(desk, first, "two")).value == "7"


def test_only_who_asked_withdraws(desk: Desk) -> None:
    """Another agent, or another handler of the same one, does not; what ended with its run needs no withdrawing."""
    first, other = desk.deliver("one"), desk.deliver("one")
    ask(desk, first, "two")
    request_id = ids.derive(first.delivery_id, "0")
    assert answer(desk.within(other, "WithdrawRequest", name="clarify", request_id=request_id)).code == "scope"
    assert answer(desk.send("WithdrawRequest", name="clarify", request_id=request_id)).code == "scope"
    desk.send("CancelRun")
    assert kinds(withdraw(desk, first, 1, 0)) == []


def test_an_asker_that_was_taken_over_waits_again(desk: Desk) -> None:
    """The process that has it now says that it begins, and asks again for what was asked before."""
    first = desk.deliver("one")
    second = ask(desk, first, "two", deadline_ms=1_000).facts[-1]
    desk.within(first, "StartHandler", attempt=1)
    assert kinds(ask(desk, first, "two", deadline_ms=1_000, reply_to="another")) == ["RequestAwaited"]
    assert detail(ask(desk, second, "one"))["cycle"] == ["two", "one", "two"]


def test_an_answer_to_an_asker_that_is_gone_is_kept_for_nobody(desk: Desk) -> None:
    """The fact is written all the same."""
    first = desk.deliver("one")
    second = ask(desk, first, "two").facts[-1]
    desk.complete(first)
    assert kinds(desk.complete(second)) == ["HandlerCompleted", "RequestAnswered"]
    run = desk.book.runs[RunId("r")]
    assert (run.requests, [name for name in run.answers if name == second.request_id]) == ({}, [])  # type: ignore[attr-defined]


def test_who_waits_when_the_run_ends_is_told_so(desk: Desk) -> None:
    """No answer comes any more."""
    desk.send("Ask", name="clarify", recipient="two", command_id="question")
    step = desk.send("CancelRun")
    told = {addressed.reply.command_id: addressed.reply.code for addressed in step.replies}
    assert told[CommandId("question")] == "run_finished"


def test_an_agent_asks_only_what_it_may_publish_and_whom_there_is(desk: Desk) -> None:
    """As with any message."""
    desk.register("one", publishes=["draft.*"])
    assert detail(desk.send("Ask", agent="one", name="clarify", recipient="two"))["rule"] == "publishes"
    assert answer(desk.send("Ask", name="clarify", recipient="twoo")).code == "unknown_agent"
