"""What one command causes fits into a record each and into a transaction together, whatever it says and whatever is
open; and a run may only leave open what its end can tell of."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from agents_sdk.core.bounds import YEAR_MS
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits, Step, evolve, room
from agents_sdk.core.ledger.failed_calls import REPORT_LIMIT
from tests.properties.test_ledger_laws import CODEC
from tests.support.ledger_desk import Desk, answer, detail, kinds

MIB = '"' + "x" * (1_048_576 - 2) + '"'
WIDE = '"' + "🙂" * (262_144 - 1) + '"'
"""The same size in bytes, a quarter of the characters."""


def sizes(step: Step) -> list[int]:
    """Bytes of each fact."""
    return [len(CODEC.encode(fact)) for fact in step.facts]


def audience(count: int) -> Desk:
    """A run with so many agents that hear everything."""
    desk = Desk()
    for number in range(count):
        desk.register(f"agent-{number}", subscriptions=["*"])
    desk.start()
    return desk


@pytest.mark.parametrize("data", [MIB, WIDE])
def test_a_large_message_reaches_few_and_not_hundreds(data: str) -> None:
    """The refusal says how much it would be, and what to do instead; nobody got it."""
    assert kinds(audience(20).send("Publish", name="news", data=data)).count("MessageDelivered") == 20
    desk = audience(100)
    before = msgspec.msgpack.encode(desk.book.runs[RunId("r")])
    step = desk.send("Publish", name="news", data=data)
    assert (kinds(step), answer(step).code) == (["CommandRefused"], "oversize")
    assert detail(step)["size"] > detail(step)["limit"] == Limits().max_caused_bytes
    assert "artifact" in answer(step).message
    assert msgspec.msgpack.encode(desk.book.runs[RunId("r")]) == before
    assert kinds(desk.send("Publish", name="news", data="1")).count("MessageDelivered") == 100


def test_a_run_starts_with_what_all_of_its_agents_can_be_told() -> None:
    """The input of a run goes to each agent that hears of its start."""
    step = audience(100).send("StartRun", run_id="other", workflow="w", complete_when="idle", input=MIB)
    assert (kinds(step), answer(step).code) == (["CommandRefused"], "oversize")


def test_a_failed_call_is_kept_whole_within_a_record() -> None:
    """Its params, config and report together, and the story that goes to a supervisor."""
    desk = Desk()
    desk.register("alpha", supervisor="beta")
    desk.register("beta")
    desk.start()
    config = '{"retry":{"note":"' + "c" * 60_000 + '"}}'
    call = desk.call(agent="alpha", params=MIB, config=config)
    step = desk.send("FailCall", agent="bp.executor", call_id=call, report='{"cause":"' + "r" * 3_000_000 + '"}')
    assert kinds(step) == ["CallFailed", "EscalationRaised", "MessageDelivered"]
    assert max(sizes(step)) < Limits().max_record_bytes
    failed: Any = step.facts[0]
    assert len(failed.report) < REPORT_LIMIT
    assert "left out" in msgspec.json.decode(failed.report)["cause"]
    told = [addressed.reply for addressed in step.replies if addressed.reply.command_id == call]
    assert msgspec.json.decode(told[0].detail)["report"]["attempts"] == []


@pytest.mark.parametrize("report", ["no JSON", "[" * 500, "{", '{"a":NaN}'])
def test_a_report_that_is_no_json_does_not_spoil_the_answer(report: str) -> None:
    """It is written into the answer as it is."""
    desk = Desk()
    desk.start()
    call = desk.call()
    step = desk.send("FailCall", agent="bp.executor", call_id=call, report=report)
    for addressed in step.replies:
        msgspec.json.decode(addressed.reply.detail or "{}")
    assert kinds(step) == ["CallFailed", "EscalationRaised"]
    msgspec.json.decode(step.facts[1].data)  # type: ignore[attr-defined]  # an EscalationRaised is a MessageEvent


def test_those_who_wait_for_a_large_result_are_told_by_and_by() -> None:
    """As many as may be sent at once; the others ask again, and are told alone."""
    desk = Desk()
    desk.start()
    for number in range(40):
        desk.send("AwaitRun", command_id=f"wait-{number}")
    step = desk.send("CompleteRun", result=MIB)
    told = {addressed.reply.command_id for addressed in step.replies}
    assert "command-41" in told
    assert 10 < len(told) < 40
    left = next(sent for sent in desk.sent if sent.kind == "AwaitRun" and sent.command_id not in told)
    assert answer(desk.put(left)).value == MIB


def test_a_run_leaves_no_more_open_than_its_end_can_tell_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages, calls, children; then its end is as many short facts."""
    monkeypatch.setattr(room, "OPEN_LIMIT", 30)
    desk = Desk()
    desk.register("alpha")
    desk.start()
    for _ in range(10):
        desk.deliver("alpha")
        desk.call()
        desk.send("StartChild", workflow="w", complete_when="idle")
    for kind, fields in (
        ("SendMessage", {"name": "go", "recipient": "alpha"}),
        ("Ask", {"name": "go", "recipient": "alpha"}),
        ("CallCapability", {"capability": "search"}),
        ("StartChild", {"workflow": "w", "complete_when": "idle"}),
    ):
        step = desk.send(kind, **fields)
        assert (answer(step).code, detail(step)["limit"]) == ("overloaded", 30)
    ended = desk.send("CancelRun", reason="because")
    assert len(ended.facts) == 31
    assert kinds(ended)[-1] == "RunCancelled"


def test_waits_and_dependencies_of_a_run_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told something at once one day; asking again for the same is no more."""
    monkeypatch.setattr(room, "OPEN_LIMIT", 3)
    monkeypatch.setattr(room, "TERMS_LIMIT", 200)
    desk = Desk()
    desk.register("alpha")
    desk.start()
    for number in range(3):
        desk.send("AwaitRun", command_id=f"wait-{number}")
    assert answer(desk.send("AwaitRun")).code == "overloaded"
    assert desk.put(msgspec.structs.replace(desk.sent[-2], reply_to="elsewhere")).replies == []
    terms = [f"state:{number}" for number in range(4)]
    declared = {"downstream": "alpha", "trigger_when": "all_completed"}
    assert answer(desk.send("DeclareDependency", depends_on=terms, **declared)).status == "ok"
    assert answer(desk.send("DeclareDependency", depends_on=terms, **declared)).code == "overloaded"


def test_a_partition_has_room_for_so_many_agents_and_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is held against all of them; a known one may always say something new."""
    monkeypatch.setattr(room, "AGENTS_LIMIT", 1)
    monkeypatch.setattr(room, "CONTRACTS_LIMIT", 1)
    desk = Desk()
    desk.register("alpha")
    assert answer(desk.register("beta")).code == "overloaded"
    assert answer(desk.register("alpha", supervisor="beta")).status == "ok"
    contract = {"run_id": "", "target": "state", "schema": "{}"}
    assert answer(desk.send("ApplyContract", pattern="a", **contract)).status == "ok"
    assert answer(desk.send("ApplyContract", pattern="b", **contract)).code == "overloaded"
    assert answer(desk.send("ApplyContract", pattern="a", reducer="append", **contract)).status == "ok"


def test_an_agent_of_before_there_were_bounds_starts_its_handlers() -> None:
    """Its registration is in the log: a timeout of more than a year is a year."""
    desk = Desk()
    desk.register("alpha")
    desk.start()
    old: Any = msgspec.structs.replace(desk.facts[0], handler_timeout_ms=2**62, command_offset=1)
    assert isinstance(old, AgentEvent)
    evolve(desk.book, old)
    step = desk.within(desk.deliver("alpha"), "StartHandler", attempt=1)
    assert step.failure is None
    ((_, _, due),) = step.timers
    assert due < 2 * YEAR_MS * 1_000
    assert len(CODEC.encode(step.facts[0])) < 1_000


def test_a_timeout_beyond_all_bounds_is_refused_by_its_field() -> None:
    """So that nobody has to mend it later."""
    desk = Desk()
    step = desk.register("alpha", handler_timeout_ms=2**62)
    assert (answer(step).code, detail(step)["field"], detail(step)["limit"]) == (
        "invalid_command", "handler_timeout_ms", YEAR_MS,
    )  # fmt: skip
    assert str(2**62) in answer(step).message


def test_reading_many_large_keys_keeps_their_answer_once() -> None:
    """Not one copy of it for each key, while it may still be taken back."""
    desk = Desk(max_value_bytes=1_048_576)
    desk.start()
    keys = [f"key-{number}" for number in range(300)]
    for key in keys:
        desk.send("SetState", key=key, value='"' + "x" * 3_000 + '"')
    tracemalloc.start()
    step = desk.send("GetStates", key="", keys=keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(msgspec.json.decode(answer(step).value)) == 300
    assert peak < 12_000_000


@pytest.mark.parametrize("kind", ["CompleteRun", "FailRun", "CancelRun"])
@pytest.mark.parametrize("result", ["{", MIB + " " * 10])
def test_a_run_ends_with_a_result_that_is_json_and_not_too_large(kind: str, result: str) -> None:
    """However it ends: it goes to all who wait."""
    desk = Desk()
    desk.start()
    assert answer(desk.send(kind, result=result)).code in ("invalid_command", "oversize")
    assert "r" in desk.book.runs
