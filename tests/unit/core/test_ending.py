"""The end of a run: what it leaves open is told so, each thing once, before the last fact."""

from __future__ import annotations

from tests.support.ledger_desk import EXECUTOR, Desk, answer, kinds


def desk_with_work() -> Desk:
    desk = Desk()
    desk.register("one")
    desk.register("two")
    desk.start()
    return desk


def test_open_deliveries_and_calls_are_cancelled_and_no_others() -> None:
    """What was handled or settled before stays as it was; the answer is the end itself."""
    desk = desk_with_work()
    desk.complete(desk.deliver("one"))
    first, second = desk.deliver("one"), desk.deliver("two")
    settled, open_call = desk.call(), desk.call()
    desk.send("FailCall", agent=EXECUTOR, call_id=settled)
    step = desk.send("CancelRun", reason="stop")
    assert kinds(step) == ["DeliveryCancelled", "DeliveryCancelled", "CallCancelled", "RunCancelled"]
    one, two, call, end = step.facts
    assert [(f.delivery_id, f.recipient, f.attempt) for f in (one, two)] == [  # type: ignore[attr-defined]
        (first.delivery_id, "one", 1),
        (second.delivery_id, "two", 1),
    ]
    assert call.call_id == open_call  # type: ignore[attr-defined]
    mine = [told.reply for told in step.replies if told.reply.command_id == desk.sent[-1].command_id]
    assert [reply.event_id for reply in mine] == [end.event_id]
    assert answer(desk.again()).event_id == end.event_id


def test_the_handler_that_ends_its_run_is_not_cancelled() -> None:
    """It knows, and may have more to do; the handlers of other deliveries are."""
    desk = desk_with_work()
    mine, other = desk.deliver("one"), desk.deliver("two")
    step = desk.within(mine, "CompleteRun", result="1")
    assert kinds(step) == ["DeliveryCancelled", "RunCompleted"]
    assert step.facts[0].delivery_id == other.delivery_id  # type: ignore[attr-defined]


def test_a_delivery_that_becomes_a_dead_letter_is_not_cancelled_too() -> None:
    """It has its end; what else was open is cancelled with the run that fails over it."""
    desk = Desk()
    desk.register("one", max_deliveries=1)
    desk.start()
    poison, other = desk.deliver("one"), desk.deliver("one")
    step = desk.fail(poison)
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "EscalationRaised", "DeliveryCancelled", "RunFailed"]
    assert step.facts[3].delivery_id == other.delivery_id  # type: ignore[attr-defined]
