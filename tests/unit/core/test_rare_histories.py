"""What seldom happens: limits that are reached, facts that come late, copies, and words that cannot be used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import pytest

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.commands import AttemptBody
from agents_sdk.core.facts import RefusalEvent, StateEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ids import CallId, CommandId, RunId
from agents_sdk.core.ledger import PartitionState, apply, evolve, room
from agents_sdk.core.ledger import state as ledger_state
from agents_sdk.core.ledger.contracts import _validator
from agents_sdk.core.ledger.issued import issued
from agents_sdk.core.ledger.rules import declared
from agents_sdk.core.ledger.schema_cost import cost_of
from agents_sdk.core.registry import ExecutorBeat
from agents_sdk.core.resumption import resumption
from agents_sdk.core.roster import roster
from agents_sdk.core.shortened import compact
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


def beat(at: int) -> ExecutorBeat:
    return ExecutorBeat(executor="e", period_ms=1_000, beat_at=at, ready=["search"])


def test_a_beat_that_comes_late_counts_for_nothing_and_is_not_said_again() -> None:
    """Compaction may keep the older one: the next beat mends it, within seconds."""
    catalogue = Catalogue()
    catalogue.take(beat(20), 0, 1.0)
    catalogue.take(beat(10), 1, 2.0)
    assert catalogue.beats["e"].beat.beat_at == 20
    assert catalogue.outlived == set()


def test_a_removal_that_is_older_than_what_counts_removes_nothing() -> None:
    """A copy of a tombstone; one that is newer takes the record back."""
    catalogue = Catalogue()
    catalogue.take(beat(20), 0, 1.0)
    catalogue.drop(ExecutorBeat, "e", at=10)
    assert "e" in catalogue.beats
    catalogue.drop(ExecutorBeat, "e", at=30)
    assert catalogue.beats == {}


def test_what_a_child_spent_is_in_the_end_that_it_causes() -> None:
    """The parent ends by the same command as the child's report."""
    desk = Desk()
    desk.register("one")
    desk.start("idle", budget_nano_usd=100)
    working = desk.deliver("one")
    (start,) = issued(desk.send("StartChild", workflow="w", complete_when="explicit", budget_nano_usd=40).facts[0])
    desk.put(start)
    desk.complete(working)
    call_id = desk.call(run_id=start.run_id, budget_nano_usd=30)
    desk.send("RecordAttempt", agent=EXECUTOR, run_id=start.run_id, call_id=call_id, attempt=1, cost_nano_usd=7)
    desk.send("CompleteCall", agent=EXECUTOR, run_id=start.run_id, call_id=call_id, result="1")
    (report,) = issued(desk.send("CompleteRun", run_id=start.run_id, result="1").facts[-1])
    ended: list[Any] = desk.put(report).facts
    assert [fact.kind for fact in ended] == ["ChildEnded", "RunCompleted"]
    assert (ended[-1].spent_nano_usd, ended[-1].reserved_nano_usd) == (7, 0)


def test_what_the_last_attempt_cost_is_in_the_end_that_its_outcome_causes() -> None:
    """The outcome brings the attempt along, and nothing is open after it."""
    desk = Desk()
    desk.register("one")
    desk.start("idle", budget_nano_usd=100)
    working = desk.deliver("one")
    call_id = desk.call(budget_nano_usd=30)
    desk.complete(working)
    attempt = AttemptBody(call_id=CallId(call_id), attempt=1, capability="search", cost_nano_usd=7)
    ended: list[Any] = desk.send("CompleteCall", agent=EXECUTOR, call_id=call_id, result="1", attempt=attempt).facts
    assert [fact.kind for fact in ended] == ["AttemptSucceeded", "CallCompleted", "RunCompleted"]
    assert (ended[-1].spent_nano_usd, ended[-1].reserved_nano_usd) == (7, 0)


def test_a_child_that_was_started_for_nobody_is_reported_to_nobody() -> None:
    """The refusal of a start names the parent where there is one."""
    fact = RefusalEvent(
        event_id="e",
        kind="CommandRefused",
        run_id=RunId("r"),
        run_seq=0,
        correlation_id="",
        causation_id="",
        agent=LEDGER,
        at=0,
        command_id=CommandId("c"),
        command_offset=0,
        command_kind="StartRun",
        code="run_exists",
        message="no",
        detail="{}",
    )
    assert issued(fact) == []
    assert len(issued(msgspec.structs.replace(fact, detail='{"parent_run_id":"p"}'))) == 1


def test_an_agent_repeats_no_failed_call_of_another() -> None:
    """Who asked for it may."""
    desk = Desk()
    for name in ("one", "two"):
        desk.register(name)
    desk.start()
    call_id = desk.call(agent="one")
    desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report="{}")
    again = {"capability": "search", "dead_call_id": call_id}
    refused = desk.send("CallCapability", agent="two", **again)
    assert (answer(refused).code, detail(refused)["rule"]) == ("scope", "asker")
    assert kinds(desk.send("CallCapability", agent="one", **again))[0] == "CallRequested"


def test_only_the_newest_dead_letters_of_a_run_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and calls alike; the older ones are in the record."""
    monkeypatch.setattr(import_module("agents_sdk.core.ledger.evolve"), "DEAD_LIMIT", 2)
    assert ledger_state.DEAD_LIMIT > 2
    desk = Desk()
    desk.register("boss")
    desk.register("one", max_deliveries=1, supervisor="boss")
    desk.start()
    letters = [desk.deliver("one") for _ in range(3)]
    dead_calls = [desk.call() for _ in range(3)]
    for letter in letters:
        desk.fail(letter)
    for call_id in dead_calls:
        desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report="{}")
    run = desk.book.runs[RunId("r")]
    assert list(run.dead) == [letter.delivery_id for letter in letters[1:]]
    assert list(run.failed_calls) == dead_calls[1:]
    known = {"name": "", "reason": "r"}
    assert answer(desk.send("Discard", dead_delivery_id=letters[0].delivery_id, **known)).code == "invalid_command"


def test_only_so_many_dependencies_wait_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says how many there are."""
    monkeypatch.setattr(room, "OPEN_LIMIT", 2)
    desk = Desk()
    desk.register("two")
    desk.start()
    waits: dict[str, Any] = {"downstream": "two", "trigger_when": "all_completed"}
    for term in ("state:a", "state:b"):
        assert kinds(desk.send("DeclareDependency", depends_on=[term], **waits)) == ["DependencyDeclared"]
    refused = desk.send("DeclareDependency", depends_on=["state:c"], **waits)
    assert (answer(refused).code, detail(refused)["limit"]) == ("overloaded", 2)


def test_an_agent_that_two_others_wait_for_is_looked_at_once() -> None:
    """Both ways lead to it, and neither is a cycle; one that comes back is."""
    desk = Desk()
    for name in ("top", "left", "right", "base"):
        desk.register(name)
    desk.start()

    def depends(downstream: str, *terms: str) -> Any:
        return desk.send("DeclareDependency", downstream=downstream, depends_on=[*terms], trigger_when="all_completed")

    depends("left", "base")
    depends("right", "base")
    assert kinds(depends("top", "left", "right")) == ["DependencyDeclared"]
    assert detail(depends("base", "top"))["cycle"][0] == "base"


def test_a_fact_that_is_larger_than_a_record_is_refused_with_its_size() -> None:
    """The message says what to do; facts that only might be too large are measured."""
    desk = Desk(max_record_bytes=3_000)
    desk.start()
    refused = desk.send("SetState", key="k", value=f'"{"x" * 5_000}"')
    assert (answer(refused).code, detail(refused)["limit"]) == ("oversize", 3_000)
    assert "artifacts" in answer(refused).message
    assert kinds(desk.send("SetState", key="k", value=f'"{"x" * 1_000}"')) == ["StateWritten"]


def test_facts_that_only_might_be_too_large_together_are_measured() -> None:
    """A character has at most three bytes, and mostly one."""
    desk = Desk(max_caused_bytes=9_000)
    desk.start()
    assert kinds(desk.send("SetState", key="k", value=f'"{"x" * 3_500}"')) == ["StateWritten"]


def test_a_number_that_no_float_can_hold_is_not_counted() -> None:
    """A fraction is added to it."""
    desk = Desk()
    desk.start()
    desk.send("SetState", key="n", value="0.5")
    desk.send("ApplyContract", run_id="", target="state", pattern="n", schema="{}", reducer="counter")
    refused = desk.send("SetState", key="n", value="1" + "0" * 400)
    assert answer(refused).code == "contract" or answer(refused).code == "invalid_command"
    assert answer(desk.send("GetState", key="n")).value == "0.5"


def test_a_contract_of_before_there_were_limits_says_that_it_cannot_be_used() -> None:
    """Writes under it are refused until another one is applied."""
    desk = Desk()
    desk.start()
    sound: dict[str, Any] = {"run_id": "", "target": "state", "pattern": "n", "schema": "{}"}
    applied: Any = desk.send("ApplyContract", **sound).facts[0]
    old = msgspec.structs.replace(
        applied, schema='{"$ref":"http://127.0.0.1:1/x"}', contract_version=2, command_offset=9
    )
    evolve(desk.book, old)
    refused = desk.send("SetState", key="n", value="1")
    assert answer(refused).code == "contract"
    assert "apply another one" in answer(refused).message
    with pytest.raises(ValueError, match="127"):
        _validator(old.schema)


def test_of_alternatives_that_all_fail_at_once_the_whole_value_is_named() -> None:
    """None of them got any further."""
    desk = Desk()
    desk.start()
    schema = '{"anyOf":[{"type":"string"},{"type":"object"}]}'
    desk.send("ApplyContract", run_id="", target="state", pattern="n", schema=schema)
    refused = desk.send("SetState", key="n", value="1")
    assert (answer(refused).code, detail(refused)["path"]) == ("contract", "")


@pytest.mark.parametrize(
    ("schema", "growth"),
    [
        ({"$ref": "#", "items": {"$ref": "#"}}, 2),
        ({"prefixItems": [{"$ref": "#/$defs/n"}], "$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}}, 1),
        ({"allOf": [{"$ref": "#/allOf/1"}, {"items": {"$ref": "#/allOf/1"}}]}, 2),
        ({"dependentSchemas": {"a": {"properties": {"x": {"$ref": "#"}}}}, "properties": {"x": {"$ref": "#"}}}, 2),
        ({"properties": {"x": {"anyOf": [{"$ref": "#"}, True]}}}, 1),
    ],
)
def test_a_schema_that_refers_to_itself_costs_by_the_ways_it_does(schema: Any, growth: int) -> None:
    """A level deeper multiplies by them; flat values cost what they weigh."""
    cost = cost_of(schema, 100)
    assert cost.growth == growth
    assert cost.steps("1") == cost.weight
    assert cost.steps("[[[[1]]]]") >= cost.weight


def test_a_definition_that_refers_on_is_kept_whole_with_what_it_refers_to() -> None:
    """Bounds below ``not`` accept less when they are left out; the same definition is looked at once."""
    schema = {
        "not": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
        "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"maxLength": 3}, "c": {"maxLength": 3}},
    }
    kept = compact(schema)
    assert kept["$defs"] == {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"maxLength": 3}, "c": {}}
    whole = {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"items": {"$ref": "#"}, "maxItems": 2}}, "maxLength": 4}
    assert compact(whole) == whole


def test_the_roster_is_of_agents_and_passes_others_over() -> None:
    """A reader may meet facts of another kind in the topic."""
    fact = StateEvent(
        event_id="e",
        kind="StateWritten",
        run_id=RunId("r"),
        run_seq=1,
        correlation_id="",
        causation_id="",
        agent="one",
        at=0,
        command_id=CommandId("c"),
        command_offset=0,
        key="k",
    )
    assert roster({0: [fact]}, [fact], 1) == []


def test_what_a_handler_that_runs_again_waited_for_is_declared_by_it_anew() -> None:
    """And what was met is not waited for."""
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=1, subscriptions=["run.started"] if name == "one" else [])
    first = desk.start().facts[1]
    waits: dict[str, Any] = {"downstream": "two", "trigger_when": "all_completed"}
    desk.within(first, "DeclareDependency", "own", depends_on=["state:never"], **waits)
    desk.send("DeclareDependency", depends_on=["state:met"], **waits)
    desk.send("SetState", key="met", value="1")
    desk.send("DeclareDependency", depends_on=["state:late"], **waits)
    desk.fail(first)
    facts = sorted((f for f in desk.facts if f.run_id == "r" and f.run_seq), key=lambda fact: fact.run_seq)
    plan = resumption(facts)
    assert [one.depends_on for one in plan.dependencies] == [["state:late"]]
    assert [one.recipient for one in plan.messages][:1] == ["one"]


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit"])
def test_a_process_that_is_told_to_end_leaves_the_book_as_it_was(kind: str) -> None:
    """It is no failure of the command, and no refusal is written."""
    desk = Desk()
    desk.start()
    before = msgspec.msgpack.encode(desk.book)

    def ends(_: Any) -> None:
        raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[kind]

    command = msgspec.structs.replace(desk.sent[0], command_id="x", kind="CancelRun")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        apply(desk.book, command, 9, 9, check=ends)
    assert msgspec.msgpack.encode(desk.book) == before


def test_a_fact_of_a_run_that_is_not_known_moves_the_offset_alone() -> None:
    """The run began before what is kept of the log."""
    fact = StateEvent(
        event_id="e",
        kind="StateWritten",
        run_id=RunId("r"),
        run_seq=7,
        correlation_id="",
        causation_id="",
        agent="one",
        at=0,
        command_id=CommandId("c"),
        command_offset=5,
        key="k",
    )
    book = PartitionState()
    evolve(book, fact)
    assert (book.runs, book.applied) == ({}, 5)


def test_a_record_that_names_a_letter_which_is_kept_no_longer_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was written when more of them were kept: discarded, redriven, messages and calls."""
    desk = Desk()
    desk.register("boss")
    desk.register("one", max_deliveries=1, supervisor="boss")
    desk.start()
    letters = [desk.deliver("one") for _ in range(2)]
    dead_calls = [desk.call() for _ in range(3)]
    for letter in letters:
        desk.fail(letter)
    for call_id in dead_calls:
        desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report="{}")
    desk.send("Discard", name="", dead_delivery_id=letters[0].delivery_id, reason="r")
    desk.send("DiscardCall", capability="", dead_call_id=dead_calls[0], reason="r")
    assert kinds(desk.send("RedriveCall", capability="", dead_call_id=dead_calls[1]))[-1] == "CallRedriven"
    monkeypatch.setattr(import_module("agents_sdk.core.ledger.evolve"), "DEAD_LIMIT", 1)
    book = PartitionState()
    for fact in desk.facts:
        evolve(book, fact)
    assert list(book.runs[RunId("r")].dead) == [letters[1].delivery_id]
    assert list(book.runs[RunId("r")].failed_calls) == [dead_calls[2]]


def test_a_client_that_asks_again_from_elsewhere_is_told_there() -> None:
    """It is in no handler, so nothing of a handler's order changes."""
    desk = Desk()
    desk.register("two")
    desk.start()
    asked: Any = desk.send("Ask", name="clarify", recipient="two", command_id="question").facts[-1]
    assert kinds(desk.again(reply_to="elsewhere")) == ["RequestAwaited"]
    step = desk.within(asked, "CompleteHandler", attempt=1, result="7", reply_to="")
    assert [told.reply.reply_to for told in step.replies] == ["elsewhere"]


def test_a_fallback_to_a_result_asks_for_no_right() -> None:
    """One to a capability does."""
    desk = Desk()
    desk.register("one", capabilities=["search"])
    desk.start()
    for capability, allowed in (("", True), ("search", True), ("other", False)):
        config = msgspec.json.encode({"fallback": [{"capability": capability}]}).decode()
        step = desk.send("CallCapability", agent="one", capability="search", config=config)
        assert (kinds(step) == ["CallRequested"]) is allowed


def test_a_run_of_before_there_were_ends_goes_on_from_the_handler_that_failed_it() -> None:
    """Its record says nothing of how that handler ended."""
    desk = Desk()
    desk.register("one", max_deliveries=1, subscriptions=["run.started"])
    desk.register("two", max_deliveries=1)
    first = desk.start(rules=0).facts[1]
    desk.deliver("two")
    desk.within(first, "FailRun", "b", reason="no")
    facts = sorted((f for f in desk.facts if f.run_id == "r" and f.run_seq), key=lambda fact: fact.run_seq)
    assert [one.recipient for one in resumption(facts).messages] == ["one", "two"]


def test_the_end_that_is_forgotten_first_is_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition remembers so many of them; the other end stays."""
    monkeypatch.setattr(import_module("agents_sdk.core.ledger.evolve"), "FINISHED_LIMIT", 1)
    desk = Desk()
    for run_id in ("first", "second"):
        desk.start(run_id=run_id)
        desk.send("CompleteRun", run_id=run_id, result="1")
    assert list(desk.book.finished) == ["second"]
    assert answer(desk.send("AwaitRun", run_id="first")).code == "unknown_run"


def test_an_agent_declares_no_right_to_apply_contracts() -> None:
    """An operator grants it, to clients."""
    desk = Desk()
    desk.register("one")
    assert declared(desk.book.agents["one"], "contracts") == ()
