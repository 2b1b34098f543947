"""An answer is its asker's: whoever else knows the id of a command, a call or a request is told nothing, and cannot
have the answer sent elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Step, evolve
from agents_sdk.core.ledger.state import PartitionState
from agents_sdk.core.replay import replay
from tests.support.guarded_desk import RightsDesk, code
from tests.support.ledger_desk import EXECUTOR, answer, kinds

SECRET = '"the treasure"'


@pytest.fixture
def desk() -> RightsDesk:
    """A run with its secret, and an intruder that takes part in it and may read nothing."""
    desk = RightsDesk()
    desk.agent("owner", **{right: ["*"] for right in ("workflows", "reads", "writes", "publishes", "capabilities")})
    desk.agent("intruder", workflows=["*"], publishes=["*"], capabilities=["*"], subscriptions=["none"])
    desk.start()
    desk.send("SetState", agent="owner", key="secret", value=SECRET)
    return desk


def told(desk: RightsDesk, address: str) -> list[Any]:
    return [reply for reply in desk.replies if reply.reply_to == address]


def steal(desk: RightsDesk, **changes: Any) -> Step:
    """The last command once more, by the intruder with its own address."""
    return desk.again(agent="intruder", reply_to="intruder", reply_partition=7, issued_at=0, **changes)


def test_a_read_is_not_told_to_who_knows_its_id(desk: RightsDesk) -> None:
    """The value is the reader's; it is still told to the reader that asks again."""
    assert answer(desk.send("GetState", agent="owner", key="secret")).value == SECRET
    asked = desk.sent[-1]
    assert code(steal(desk)) == "id_taken"
    assert all(SECRET not in reply.value for reply in told(desk, "intruder"))
    assert answer(desk.put(asked)).value == SECRET


def waiting(desk: RightsDesk) -> dict[str, Any]:
    """An open call, request, wait for the run and wait for a child, all of the owner; the command of each."""
    desk.agent("boss", workflows=["*"], subscriptions=["none"])
    asked = {}
    desk.send("CallCapability", agent="owner", capability="search", reply_to="owner")
    asked["call"] = desk.sent[-1]
    desk.send("Ask", agent="owner", name="go", recipient="boss", reply_to="owner")
    asked["request"] = desk.sent[-1]
    desk.send("AwaitRun", agent="owner", reply_to="owner")
    asked["run"] = desk.sent[-1]
    desk.send("StartChild", agent="client", workflow="w", complete_when="explicit", child_run_id="child")
    desk.send("AwaitChild", agent="owner", child_run_id="child", reply_to="owner")
    asked["child"] = desk.sent[-1]
    return asked


@pytest.mark.parametrize("what", ["call", "request", "run", "child"])
def test_who_waits_is_told_though_somebody_repeats_its_command(desk: RightsDesk, what: str) -> None:
    """The outcome is not sent to another address, and nothing of the run changes."""
    asked = waiting(desk)
    desk.sent.append(asked[what])
    desk.now += 1
    step = steal(desk)
    assert code(step) == "id_taken"
    assert step.facts[0].run_seq == 0
    if what == "call":
        desk.send("CompleteCall", agent=EXECUTOR, call_id=asked["call"].command_id, result=SECRET)
    elif what == "request":
        delivery = next(iter(desk.book.runs[RunId("r")].deliveries))
        desk.send("CompleteHandler", agent="boss", delivery_id=delivery, result=SECRET)
    elif what == "run":
        desk.send("CompleteRun", result=SECRET)
    else:
        desk.send("ReportChild", agent="bp.ledger", child_run_id="child", status="completed", result=SECRET)
    values = {reply.command_id: reply.value for reply in told(desk, "owner")}
    assert values[asked[what].command_id] == SECRET
    desk.sent.append(asked[what])
    assert code(steal(desk)) == ("id_taken" if what != "run" else "")  # the run is over: it is told as any other
    if what == "run":
        return
    assert all(SECRET not in reply.value for reply in told(desk, "intruder"))


def test_the_end_of_a_run_is_told_to_who_takes_part_controls_or_started_it(desk: RightsDesk) -> None:
    """Its id is no right; that it has ended, and how, is not told either."""
    desk.agent("stranger", workflows=["other"], controls=["other"])
    desk.send("CompleteRun", result=SECRET)
    for kind in ("AwaitRun", "GetState", "CancelRun"):
        step = desk.send(kind, agent="stranger", key="secret")
        assert code(step) == "scope", kind
        assert "completed" not in answer(step).message
    assert answer(desk.send("AwaitRun", agent="owner")).value == SECRET


def test_the_same_sender_with_a_newer_key_is_told(desk: RightsDesk) -> None:
    """A handler that goes on after a rotation is answered as before; with the revoked key nothing is told."""
    desk.send("GetState", agent="owner", key="secret")
    asked = desk.sent[-1]
    desk.send("IssueKey", agent="bp.operator", run_id="", name="owner", generation=2)
    assert code(desk.put(asked)) == "revoked"
    again = msgspec.structs.replace(asked, key_generation=2)
    assert answer(desk.put(again)).value == SECRET


def test_a_recovered_book_refuses_the_same(desk: RightsDesk) -> None:
    """Whose a command is follows from the facts; a replay decides the same."""
    waiting(desk)
    book = PartitionState()
    for fact in (*desk.facts, *desk.facts):
        evolve(book, fact)
    run, live = book.runs[RunId("r")], desk.book.runs[RunId("r")]
    ids = [command.command_id for command in desk.sent]
    assert [run.sender_of(id_) for id_ in ids] == [live.sender_of(id_) for id_ in ids]
    assert book.grants == desk.book.grants
    declared = [fact for fact in desk.facts if not fact.run_id]
    facts = [fact for fact in desk.facts if fact.run_id == "r"]
    verdict = replay("r", [each for each in desk.logged if each.command.run_id == "r"], declared, facts, book.limits)  # type: ignore[arg-type]  # facts about no run are declarations
    assert verdict.identical, verdict.difference


def test_without_rights_in_the_log_a_repeat_is_decided_as_before() -> None:
    """Older runs replay as they were: where nobody has to prove who it is, an id is all there is."""
    from tests.support.ledger_desk import Desk

    desk = Desk()
    desk.start()
    desk.send("CallCapability", capability="search", reply_to="one")
    assert kinds(desk.again(agent="other", reply_to="two")) == ["CallAwaited"]
