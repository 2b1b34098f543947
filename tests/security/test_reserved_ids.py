"""Nobody reserves the id of another's command: the platform's ids follow from what everybody may know and count all the
same; those of handlers follow from a secret of their agent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AttemptEvent
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import evolve
from agents_sdk.core.ledger.issued import issued
from agents_sdk.core.ledger.state import PartitionState
from agents_sdk.core.ledger.timers import fired
from tests.support.guarded_desk import RightsDesk, code
from tests.support.ledger_desk import EXECUTOR, kinds


@pytest.fixture
def desk() -> RightsDesk:
    """A run in which an intruder takes part, as it may."""
    desk = RightsDesk()
    everything = ("workflows", "reads", "writes", "publishes", "capabilities", "starts", "controls")
    desk.agent("owner", **{right: ["*"] for right in everything})
    desk.agent("intruder", **{right: ["*"] for right in everything}, subscriptions=["none"])
    desk.start(deadline_ms=60_000, budget_nano_usd=1_000)
    return desk


def reserve(desk: RightsDesk, command_id: str, how: str) -> None:
    """The intruder uses the id for something that it may do."""
    fields: dict[str, Any] = {
        "SetState": {"key": "mine", "value": "1"},
        "CallCapability": {"capability": "search"},
        "Ask": {"name": "go", "recipient": "owner"},
        "AwaitRun": {},
    }[how]
    step = desk.send(how, agent="intruder", command_id=command_id, reply_to="intruder", **fields)
    assert not code(step)


HOW = ("SetState", "CallCapability", "Ask", "AwaitRun")


@pytest.mark.parametrize("how", HOW)
def test_a_deadline_passes_though_its_id_was_reserved(desk: RightsDesk, how: str) -> None:
    """The id of a timer follows from run, name and time."""
    due = desk.book.runs[RunId("r")].timers["run"]
    timer = fired(RunId("r"), "r", "run", due)
    reserve(desk, timer.command_id, how)
    desk.now = due
    assert "RunFailed" in kinds(desk.put(timer))


@pytest.mark.parametrize("how", HOW)
def test_an_attempt_is_paid_for_and_a_call_ends_though_their_ids_were_reserved(desk: RightsDesk, how: str) -> None:
    """The ids of an executor's reports follow from the call's: whoever makes a call knows them before."""
    desk.send("CallCapability", agent="intruder", capability="search", budget_nano_usd=500)
    call_id = desk.sent[-1].command_id
    attempt = {"call_id": call_id, "attempt": 1, "capability": "search", "provider": "p"}
    for kind, name, fields in (
        ("StartAttempt", "start/1/e/1", {**attempt, "executor": "e", "assignment": 1}),
        ("RecordAttempt", "attempt/1", {**attempt, "executor": "e", "cost_nano_usd": 400}),
        ("CompleteCall", "outcome", {"call_id": call_id, "result": "1", "provider": "p"}),
    ):
        command_id = ids.derive(call_id, name)
        reserve(desk, command_id, how)
        for again in range(2):
            step = desk.send(kind, agent=EXECUTOR, command_id=command_id, reply_to="executor", **fields)
            assert not code(step), (kind, step.facts)
            assert bool(step.facts) is not bool(again)
            told = [one.reply for one in step.replies if one.reply.reply_to == "executor"]
            assert [reply.status for reply in told] == ["ok"]
            assert all("fencing_token" in reply.detail for reply in told if kind == "StartAttempt")
    assert sum(fact.cost_nano_usd for fact in desk.facts if isinstance(fact, AttemptEvent)) == 400
    book = PartitionState()
    for fact in desk.facts:
        evolve(book, fact)
    assert msgspec.msgpack.encode(book.runs) == msgspec.msgpack.encode(desk.book.runs)


@pytest.mark.parametrize("how", HOW)
def test_a_parent_is_told_of_its_childs_end_though_the_id_was_reserved(desk: RightsDesk, how: str) -> None:
    """Whoever ends a child run knows the id of the report before."""
    desk.send("StartChild", agent="owner", workflow="w", complete_when="explicit", child_run_id="child")
    (start,) = issued(desk.facts[-1])
    desk.put(start)
    ending = "0193aaaa-0000-7000-8000-000000000001"
    event = ids.derive(ending, f"child/{desk.book.runs[RunId('child')].seq + 1}")
    reserve(desk, ids.derive(event, "ReportChild"), how)
    desk.send("CompleteRun", agent="intruder", run_id="child", command_id=ending, result="1")
    ended = desk.facts[-1]
    assert ended.event_id == event
    (report,) = issued(ended)
    assert "ChildEnded" in kinds(desk.put(report))


def test_an_id_that_was_used_up_elsewhere_is_still_its_senders(desk: RightsDesk) -> None:
    """What is forgotten is remembered by sender, for all runs of a partition together."""
    victims = "0193aaaa-0000-7000-8000-000000000002"
    desk.grant("intruder", starts=["*"], workflows=["*"], writes=["*"], controls=["*"])
    desk.send("RegisterAgent", agent="intruder", run_id="", name="intruder", command_id=victims, writes=["*"])
    assert not code(desk.send("SetState", agent="owner", key="k", value="1", command_id=victims))


def test_an_agents_id_stays_its_own_once_it_is_used(desk: RightsDesk) -> None:
    """Of two agents, who comes first has it; that is why handlers derive theirs from a secret."""
    assert not code(desk.send("SetState", agent="owner", key="k", value="1"))
    assert code(desk.again(agent="intruder", issued_at=0)) == "id_taken"
    assert isinstance(desk.sent[-1], Command)
