"""Long-term memory: it begins by being used, has state and nothing else, and its keys have a scope of their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.ledger import PartitionState
from agents_sdk.core.ledger.evolve import Gap, evolve
from tests.support.ledger_desk import Desk, answer, detail, kinds

LESSONS = "memory/content_lessons"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_memory_begins_with_its_first_command(desk: Desk) -> None:
    """A read of nothing is a fact already; versions and sequence count as in a run."""
    assert answer(desk.send("GetState", key="tone", run_id=LESSONS)).version == 0
    step = desk.send("SetState", key="tone", value='"dry"', run_id=LESSONS, correlation_id="some-run")
    fact: Any = step.facts[0]
    assert (fact.kind, fact.run_id, fact.run_seq, fact.version) == ("StateWritten", LESSONS, 2, 1)
    assert fact.correlation_id == "some-run"
    assert answer(desk.send("GetState", key="tone", run_id=LESSONS)).value == '"dry"'
    assert answer(desk.send("GetState", key="tone", run_id="memory/other")).version == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("StartRun", {"complete_when": "idle"}),
        ("CompleteRun", {}),
        ("AwaitRun", {}),
        ("Publish", {"name": "a.b"}),
        ("CallCapability", {"capability": "search"}),
        ("RecordDecision", {"action": "x"}),
        ("CompleteHandler", {}),
    ],
)
def test_a_memory_has_state_and_nothing_else(desk: Desk, kind: str, body: dict[str, Any]) -> None:
    """Before it was used and after: it can neither be started nor ended nor spoken to."""
    for _ in range(2):
        step = desk.send(kind, run_id=LESSONS, **body)
        assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "kind")
        desk.send("SetState", key="k", value="1", run_id=LESSONS)
    assert answer(desk.send("GetState", key="k", run_id=LESSONS)).version == 2


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "a/b", "ä", "x" * 201])
def test_a_namespace_that_is_no_name_is_refused(desk: Desk, name: str) -> None:
    """And leaves no memory behind."""
    step = desk.send("SetState", key="k", value="1", run_id=f"memory/{name}")
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "run_id")
    assert desk.book.runs == {}


def test_roles_see_a_memory_s_keys_under_its_namespace(desk: Desk) -> None:
    """Globs of a run's keys open no memory, and those of a memory no run."""
    desk.start()
    desk.register("a", reads=["memory/content_lessons/*"], writes=["memory/content_lessons/own.*"])
    desk.send("SetState", key="own.1", value="1", run_id="memory/other")
    step = desk.send("SetState", key="own.1", value="1", run_id=LESSONS, agent="a")
    assert kinds(step) == ["StateWritten"]
    for kind, key, run_id in (
        ("SetState", "theirs", LESSONS),
        ("GetState", "own.1", "memory/other"),
        ("SetState", "own.1", "r"),
        ("GetState", "own.1", "r"),
    ):
        denied = desk.send(kind, key=key, value="1", run_id=run_id, agent="a")
        assert (answer(denied).code, detail(denied)["rule"]) == ("scope", "writes" if kind == "SetState" else "reads")
    listed = msgspec.json.decode(answer(desk.send("ListState", key="", run_id=LESSONS, agent="a")).value)
    assert listed == [{"key": "own.1", "version": 1}]
    assert answer(desk.send("ListState", key="", run_id="memory/other", agent="a")).value == "[]"


def test_contracts_see_a_memory_s_keys_under_its_namespace(desk: Desk) -> None:
    """A counter that all runs share."""
    desk.send("ApplyContract", run_id="", target="state", pattern="memory/*/seen", schema="{}", reducer="counter")
    for _ in range(3):
        desk.send("SetState", key="seen", value="2", run_id=LESSONS)
    assert answer(desk.send("GetState", key="seen", run_id=LESSONS)).value == "6"


def test_a_handler_that_is_run_again_finds_what_it_wrote_to_a_memory(desk: Desk) -> None:
    """Its delivery lies elsewhere and may be settled there: the answers are kept all the same, 16,384 of them."""
    envelope = {"run_id": LESSONS, "delivery_id": "delivery-elsewhere", "causation_id": "fact-elsewhere"}
    first = desk.send("SetState", key="k", value="1", command_id="mine", **envelope)
    for number in range(2_000):  # more than a run keeps
        desk.send("SetState", key="k", value="0", command_id=f"other-{number}", **envelope)
    again = desk.send("SetState", key="k", value="1", command_id="mine", **envelope)
    assert (kinds(again), answer(again)) == ([], answer(first))


def test_a_memory_whose_first_facts_are_lost_is_a_gap(desk: Desk) -> None:
    """As in a run: nothing is decided on half a memory."""
    desk.send("SetState", key="k", value="1", run_id=LESSONS)
    second = desk.send("SetState", key="k", value="2", run_id=LESSONS).facts[0]
    with pytest.raises(Gap):
        evolve(PartitionState(), second)
