"""Which calls run, how many at a time, and how far a partition is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.core.ids import CallId, CommandId
from backplane.executor.engine import CallEngine
from backplane.executor.open_call import PriorAttempts
from backplane.executor.settle import OutboxBroken
from tests.support.calls import Outbox, ScriptedProviders, call_event, capability, registry, requested, settler


class Rig:
    """An engine with its surroundings recorded."""

    def __init__(self, *, max_in_flight: int = 64, side_effects: str = "read") -> None:
        self.asking, self.outbox = ScriptedProviders(), Outbox()
        self.finished: dict[int, int] = {}
        self.crashes: list[Exception] = []
        known = registry(capability(side_effects=side_effects))
        self.engine = CallEngine(
            settler(known, self.asking, self.outbox),
            max_in_flight=max_in_flight,
            done=self.finished.__setitem__,
            crash=self.crashes.append,
        )

    def live(self, *partitions: int) -> CallEngine:
        """The engine owning partitions whose past is known."""
        self.engine.own(partitions or (0,))
        for partition in partitions or (0,):
            self.engine.ready(partition)
        return self.engine


def numbered(*facts: CallEvent | None, start: int = 0) -> list[tuple[int, CallEvent | None]]:
    """The facts at rising offsets."""
    return list(enumerate(facts, start))


async def until(reached: Callable[[], bool]) -> None:
    """Lets the loop run until it is so."""
    async with asyncio.timeout(2):
        while not reached():
            await asyncio.sleep(0)


async def test_live_calls_start_at_once_and_finish_their_offset() -> None:
    """The partition is finished up to behind its last record."""
    rig = Rig()

    await rig.live().deliver(0, numbered(requested("a"), requested("b")))
    await until(lambda: rig.finished.get(0) == 2)

    assert rig.asking.asked == ["one", "one"]


async def test_an_offset_is_finished_only_when_its_outcome_is_durable() -> None:
    """Until the log has the outcome, a successor must see the request again."""
    rig = Rig()
    rig.outbox.durable.clear()
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: len(rig.outbox.commands) == 1)

    assert rig.finished[0] == 0

    rig.outbox.durable.set()
    await until(lambda: rig.finished[0] == 1)


async def test_the_lowest_unfinished_offset_counts() -> None:
    """A slow call holds back the offset of fast ones behind it."""
    rig = Rig()
    slow = asyncio.Event()
    original = rig.asking.attempt

    async def attempt(contract, provider, request, claim=None):  # type: ignore[no-untyped-def]
        if request.call_id == "slow":
            await slow.wait()
        return await original(contract, provider, request)

    rig.asking.attempt = attempt  # type: ignore[method-assign]
    await rig.live().deliver(0, numbered(requested("a"), requested("slow"), requested("c")))
    await until(lambda: rig.outbox.kinds().count("CompleteCall") == 2)
    await asyncio.sleep(0.01)

    assert rig.finished[0] == 1

    slow.set()
    await until(lambda: rig.finished[0] == 3)


async def test_calls_are_held_until_the_past_is_known() -> None:
    """After an assignment nothing starts before ``ready``; outcomes delivered and outcomes told count alike."""
    rig = Rig()
    rig.engine.own([0])
    await rig.engine.deliver(
        0, numbered(requested("a"), requested("b"), requested("c"), call_event("CallCompleted", "a"))
    )
    await asyncio.sleep(0)
    assert rig.asking.asked == []

    rig.engine.ready(0, {"b"})
    await until(lambda: rig.finished.get(0) == 4)

    assert [command.outcome.call_id for command in rig.outbox.commands if command.outcome] == ["c"]


async def test_what_a_predecessor_spent_is_gone_from_the_budget_of_a_call() -> None:
    """A call that is taken over goes on with what is left of its reservation."""
    rig = Rig()
    price = {"id": "list", "per_call_nano_usd": 60}
    providers = [{"name": "one", "kind": "python", "function": "a:b", "price": price}]
    engine = CallEngine(
        settler(registry(capability(providers=providers)), rig.asking, rig.outbox),
        max_in_flight=4,
        done=rig.finished.__setitem__,
        crash=rig.crashes.append,
    )
    engine.own({0})
    await engine.deliver(0, numbered(*(requested(name, budget_nano_usd=100) for name in ("a", "b"))))
    assert [call.call_id for call in engine.held(0)] == ["a", "b"]
    engine.ready(0, past={"a": PriorAttempts(60, 1)})
    await until(lambda: rig.finished.get(0) == 2)

    outcomes = {command.outcome.call_id: command.outcome for command in rig.outbox.commands if command.outcome}
    assert (outcomes[CallId("a")].error_code, outcomes[CallId("a")].cost_nano_usd) == ("budget_exceeded", 60)
    assert (outcomes[CallId("b")].error_code, outcomes[CallId("b")].cost_nano_usd) == ("", 60)
    assert engine.held(0) == []


async def test_records_delivered_again_are_ignored() -> None:
    """A partition that was kept through a rebalance is read again from its commit; its calls run once."""
    rig = Rig()
    engine = rig.live()
    records = numbered(requested("a"), requested("b"))
    await engine.deliver(0, records)
    await until(lambda: rig.finished.get(0) == 2)
    engine.own([0])
    await engine.deliver(0, [*records, (2, requested("c"))])
    await until(lambda: rig.finished.get(0) == 3)
    await asyncio.sleep(0.01)

    assert len(rig.asking.asked) == 3


async def test_no_more_than_the_limit_are_in_flight() -> None:
    """1,024 is the default; here 3."""
    rig = Rig(max_in_flight=3)
    rig.asking.gate.clear()
    await rig.live().deliver(0, numbered(*(requested(f"c{n}") for n in range(8))))
    await until(lambda: rig.asking.active == 3)
    rig.asking.gate.set()
    await until(lambda: rig.finished.get(0) == 8)

    assert rig.asking.most_active == 3


async def test_deliver_waits_when_too_many_calls_wait() -> None:
    """Memory stays bounded: the shell does not fetch what cannot be started."""
    rig = Rig(max_in_flight=1)
    rig.asking.gate.clear()
    engine = rig.live()
    delivering = asyncio.ensure_future(engine.deliver(0, numbered(*(requested(f"c{n}") for n in range(12)))))
    await asyncio.sleep(0.01)
    assert not delivering.done()

    rig.asking.gate.set()
    await delivering


async def test_calls_of_a_lost_partition_are_cancelled_and_send_nothing() -> None:
    """Its new owner executes them; ours end without an outcome, other partitions go on."""
    rig = Rig()
    rig.asking.gate.clear()
    engine = rig.live(0, 1)
    await engine.deliver(0, numbered(requested("lost")))
    await engine.deliver(1, numbered(requested("kept")))
    await until(lambda: rig.asking.active == 2)

    engine.own([1])
    rig.asking.gate.set()
    await until(lambda: rig.finished.get(1) == 1)

    assert {command.outcome.call_id for command in rig.outbox.commands if command.outcome} == {"kept"}
    assert rig.finished[0] == 0


async def test_an_unsafe_call_of_a_lost_partition_runs_on_and_is_not_started_twice() -> None:
    """It may be in the middle of its effect: it is adopted when the partition comes back."""
    rig = Rig(side_effects="unsafe")
    rig.asking.gate.clear()
    engine = rig.live()
    await engine.deliver(0, numbered(requested("a")))
    await until(lambda: rig.asking.active == 1)

    engine.own([])
    engine.own([0])
    engine.ready(0)
    await engine.deliver(0, numbered(requested("a")))
    rig.asking.gate.set()
    await until(lambda: rig.finished.get(0) == 1)

    assert rig.asking.asked == ["one"]
    assert rig.outbox.kinds() == ["CompleteCall"]


async def test_draining_waits_for_unsafe_calls_only() -> None:
    """Before a partition is handed over, its unsafe calls get time to settle."""
    rig = Rig(side_effects="unsafe")
    rig.asking.gate.clear()
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: rig.asking.active == 1)
    draining = asyncio.ensure_future(rig.engine.drain_unsafe(2.0))
    await asyncio.sleep(0.01)
    assert not draining.done()

    rig.asking.gate.set()
    await draining
    assert rig.outbox.kinds()[-1] == "CompleteCall"


@pytest.mark.parametrize("kind", ["CallFailed", "CallCompleted", "CallCancelled"])
async def test_a_call_settled_elsewhere_is_stopped(kind: str) -> None:
    """When the log has an outcome for a running call, or its run has ended, it ends."""
    rig = Rig()
    rig.asking.gate.clear()
    engine = rig.live()
    await engine.deliver(0, numbered(requested("a")))
    await until(lambda: rig.asking.active == 1)

    await engine.deliver(0, numbered(call_event(kind, "a"), start=1))
    await until(lambda: rig.finished.get(0) == 2)

    assert rig.outbox.commands == []


async def test_unreadable_records_are_passed() -> None:
    """They are logged by the shell and hold nothing up."""
    rig = Rig()

    await rig.live().deliver(0, numbered(None, call_event("CallAwaited", "x")))

    assert rig.finished[0] == 2


async def test_a_bug_of_ours_fails_the_call_and_no_other() -> None:
    """An error in settling ends as FailCall executor_error."""
    rig = Rig()

    def broken(contract: object) -> None:
        raise ZeroDivisionError("ours")

    rig.asking.ranking = broken  # type: ignore[method-assign, assignment]
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: rig.finished.get(0) == 1)

    assert rig.outbox.outcome().error_code == "executor_error"
    assert "a bug of the executor" in rig.outbox.outcome().report
    assert rig.crashes == []


async def test_a_broken_way_to_the_ledger_stops_the_process() -> None:
    """The offset stays unfinished, so that a successor executes the call."""
    rig = Rig()

    async def refuse() -> None:
        raise OutboxBroken("fatal")

    rig.outbox.send = lambda commands: asyncio.ensure_future(refuse())  # type: ignore[method-assign]
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: bool(rig.crashes))

    assert rig.finished[0] == 0


async def test_stopping_lets_running_calls_end_and_starts_no_more() -> None:
    """What was waiting stays unfinished for the next owner."""
    rig = Rig(max_in_flight=1)
    rig.asking.gate.clear()
    await rig.live().deliver(0, numbered(requested("a"), requested("b")))
    await until(lambda: rig.asking.active == 1)
    stopping = asyncio.ensure_future(rig.engine.stop(2.0))
    await asyncio.sleep(0)
    rig.asking.gate.set()
    await stopping

    assert rig.asking.asked == ["one"]
    assert rig.finished[0] == 1


async def test_stopping_cancels_what_outlives_its_grace() -> None:
    """A process that is told to stop stops."""
    rig = Rig()
    rig.asking.gate.clear()
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: rig.asking.active == 1)

    await rig.engine.stop(0.01)

    assert (rig.asking.active, rig.finished[0], rig.outbox.commands) == (0, 0, [])


@pytest.mark.parametrize(("code", "asked"), [("call_settled", ["one"]), ("", ["one", "one"])])
async def test_a_call_whose_outcome_was_sent_is_begun_again_only_if_that_did_not_count(
    code: str, asked: list[str]
) -> None:
    """The ledger is asked by a claim, which lies behind the outcome in the log; here it comes back with its partition
    before the outcome was decided."""
    rig = Rig()
    await rig.live().deliver(0, numbered(requested("a")))
    await until(lambda: rig.finished.get(0) == 1)
    if code:
        rig.outbox.answer = Reply(command_id=CommandId(""), reply_to="", status="refused", code=code)

    rig.engine.own([])
    rig.live()
    await rig.engine.deliver(0, numbered(requested("a")))
    await until(lambda: rig.finished.get(0) == 1 and not rig.engine.in_flight)

    assert rig.outbox.claims == [("a", 1)]
    assert rig.asking.asked == asked


async def test_what_a_predecessor_did_counts_for_calls_of_later_batches() -> None:
    """A takeover reads the partition's past once, however many batches bring the calls of before. One with an outcome
    is not made; of the others it is waited for what was said of them; calls of later are begun at once."""
    rig = Rig()
    rig.engine.own([0])
    await rig.engine.deliver(0, numbered(requested("a")))
    rig.engine.ready(0, {"done"}, {"tried": PriorAttempts(60, 2)}, until=4)
    await rig.engine.deliver(0, numbered(requested("done"), requested("tried"), start=1))
    outcome = call_event("CallCompleted", "done")
    await rig.engine.deliver(0, numbered(outcome, requested("new"), start=3))
    await until(lambda: rig.finished.get(0) == 5)

    assert sorted(rig.outbox.claims) == [("a", 1), ("tried", 1)]
    made = {one.outcome.call_id: one for one in rig.outbox.commands if one.outcome is not None}
    assert sorted(made) == ["a", "new", "tried"]
    attempts = {name: one.attempt.attempt for name, one in made.items() if one.attempt is not None}
    assert attempts == {"a": 1, "new": 1, "tried": 3}
    tried = made[CallId("tried")].outcome
    assert tried is not None
    assert tried.cost_nano_usd == 60


async def test_a_call_whose_outcome_was_said_before_the_takeover_is_not_made() -> None:
    """It was in the log of commands and not decided when the past was read: the ledger's answer tells."""
    rig = Rig()
    rig.outbox.answer = Reply(command_id=CommandId(""), reply_to="", status="refused", code="call_settled")
    rig.engine.own([0])
    await rig.engine.deliver(0, numbered(requested("a")))
    rig.engine.ready(0, until=1)
    await until(lambda: rig.finished.get(0) == 1)

    assert rig.asking.asked == []
    assert rig.outbox.commands == []
