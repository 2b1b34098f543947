"""Contracts: which one governs, what it refuses and how it names it, and when it begins to hold."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgspec
import pytest

from agents_sdk.core.facts import ContractEvent
from agents_sdk.core.ledger import PartitionState
from agents_sdk.core.ledger.contracts import most_specific
from agents_sdk.core.ledger.evolve import copy, evolve
from backplane.topics.contracts import newest
from tests.support.ledger_desk import Desk, answer, detail, kinds

FINDINGS = {
    "type": "object",
    "properties": {
        "sources": {"type": "array", "items": {"type": "string"}},
        "best": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"rank": {"type": "integer"}}}]},
    },
    "required": ["sources"],
    "additionalProperties": False,
}


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.start()
    return desk


def contract(desk: Desk, pattern: str, schema: Any, reducer: str = "", target: str = "state", **more: Any) -> Any:
    text = msgspec.json.encode(schema, order="sorted").decode()
    fields = {"target": target, "pattern": pattern, "schema": text, "reducer": reducer, "run_id": ""}
    return desk.send("ApplyContract", **{**fields, **more})


@pytest.mark.parametrize(
    ("value", "path", "shown"),
    [
        ('{"sources":["a",7]}', "sources[1]", "7"),
        ('{"other":1,"sources":[]}', "other", '{"other":1,"sources":[]}'),
        ("{}", "sources", "{}"),
        ("[]", "", "[]"),
        ('{"best":{"rank":"x"},"sources":[]}', "best.rank", '"x"'),
        ('"' + "x" * 5_000 + '"', "", '"' + "x" * 199),
    ],
)
def test_a_write_that_breaks_its_contract_is_refused_with_the_field(
    desk: Desk, value: str, path: str, shown: str
) -> None:
    """The refusal, which is a fact, names key, path, contract, and shows what stood there; nothing is written."""
    contract(desk, "findings", FINDINGS)
    step = desk.send("SetState", key="findings", value=value)
    assert (kinds(step), answer(step).code) == (["CommandRefused"], "contract")
    assert detail(step) == {"key": "findings", "path": path, "contract": "findings@1", "value": shown}
    assert path in answer(step).message
    assert answer(desk.send("GetState", key="findings")).version == 0
    assert answer(desk.send("SetState", key="findings", value='{"best":{"rank":1},"sources":["a"]}')).version == 1


def test_a_message_that_breaks_its_contract_is_refused_and_reaches_nobody(desk: Desk) -> None:
    """Published or sent; one without data is null."""
    desk.register("hears", subscriptions=["found.*"])
    contract(desk, "found.*", FINDINGS, target="message")
    for kind, more in (("Publish", {}), ("SendMessage", {"recipient": "hears"})):
        step = desk.send(kind, name="found.one", data='{"sources":[null]}', **more)
        assert (kinds(step), answer(step).code, detail(step)["path"]) == (["CommandRefused"], "contract", "sources[0]")
        assert detail(step)["name"] == "found.one"
        assert answer(desk.send(kind, name="found.one", **more)).code == "contract"
        assert kinds(desk.send(kind, name="found.one", data='{"sources":[]}', **more))[-1] == "MessageDelivered"
    assert answer(desk.send("Publish", name="other", data="7")).status == "ok"


def test_the_most_specific_contract_governs_whatever_came_first() -> None:
    """Without wildcards, then the longest beginning, then the most characters."""
    for patterns in permutations(["*", "a*", "a/*", "*/deep/*", "a/deep/x"]):
        chosen = {name: most_specific(patterns, name) for name in ("b", "ab", "a/b", "z/deep/x", "a/deep/x")}
        assert chosen == {"b": "*", "ab": "a*", "a/b": "a/*", "z/deep/x": "*/deep/*", "a/deep/x": "a/deep/x"}
    assert most_specific(("a",), "b") is None


def test_a_contract_holds_from_its_place_in_the_order_on(desk: Desk) -> None:
    """What was written before stays; the next one counts up; the same one again is no fact."""
    desk.send("SetState", key="n", value='"old"')
    first = contract(desk, "n", {"type": "integer"})
    assert (kinds(first), first.facts[0].contract_version) == (["ContractApplied"], 1)
    assert answer(desk.send("SetState", key="n", value='"no"')).code == "contract"
    assert answer(desk.send("GetState", key="n")).value == '"old"'
    assert kinds(contract(desk, "n", {"type": "integer"})) == []
    again = contract(desk, "n", {"type": "string"}, schema_id=3)
    assert (again.facts[0].contract_version, again.facts[0].schema_id) == (2, 3)
    assert answer(desk.send("SetState", key="n", value='"yes"')).version == 2


def test_an_older_contract_folded_late_does_not_replace_a_newer_one(desk: Desk) -> None:
    """As with agents: a snapshot may have the newer one already."""
    facts = [contract(desk, "n", {"type": kind}).facts[0] for kind in ("integer", "string")]
    book = PartitionState()
    for fact in (*facts, facts[0]):
        evolve(book, fact)
    assert book.contracts == desk.book.contracts
    assert book.contracts["state"]["n"].version == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"target": "agent"}, "target"),
        ({"pattern": ""}, "pattern"),
        ({"pattern": "x" * 513}, "pattern"),
        ({"reducer": "sum"}, "reducer"),
        ({"target": "message", "reducer": "append"}, "reducer"),
        ({"schema": "{"}, "schema"),
        ({"schema": ""}, "schema"),
        ({"schema": '{"type":"nonsense"}'}, "schema"),
        ({"schema": '{"$ref":"http://127.0.0.1:1/never-fetched"}'}, "schema"),
        ({"schema": '{"pattern":"(?=slow)"}'}, "schema"),
        ({"run_id": "r"}, "run_id"),
    ],
)
def test_a_contract_that_cannot_hold_is_refused(desk: Desk, changes: dict[str, str], field: str) -> None:
    """By its field; nothing holds then that did not before."""
    sound = {"target": "state", "pattern": "n", "schema": "{}", "run_id": ""}
    step = desk.send("ApplyContract", **{**sound, **changes})
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", field)
    assert desk.book.contracts == {}


def test_an_agent_may_not_apply_contracts(desk: Desk) -> None:
    """It could let itself write what its operator forbade."""
    desk.register("sly")
    step = contract(desk, "n", {}, agent="sly")
    assert (answer(step).code, detail(step)["rule"]) == ("scope", "contracts")


def test_reducers_join_and_a_guarded_write_replaces(desk: Desk) -> None:
    """The fact has the value after, how it came about, and what its writer gave."""
    contract(desk, "log", {}, "append")
    for value in ('"a"', "[1]"):
        step = desk.send("SetState", key="log", value=value)
    written: Any = step.facts[0]
    assert (written.value, written.reducer, written.operand, written.size) == ('["a",[1]]', "append", "[1]", 9)
    replaced: Any = desk.send("SetState", key="log", value="[]", guarded=True, expected_version=2).facts[0]
    assert (replaced.value, replaced.reducer, replaced.operand) == ("[]", "", "")
    desk.send("DeleteState", key="log")
    assert desk.send("SetState", key="log", value="1").facts[0].value == "[1]"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reducer", "before", "operand", "said"),
    [
        ("append", '{"a":1}', "1", "an object"),
        ("counter", "1", '"1"', "a string"),
        ("counter", "1", "true", "a boolean"),
        ("counter", "9223372036854775807", "1", "64 bits"),
        ("counter", "1e308", "1e308", "64 bits"),
        ("counter", "1", "1e400", "not JSON"),
        ("set-union", '"x"', "1", "a string"),
    ],
)
def test_what_cannot_be_joined_is_refused(desk: Desk, reducer: str, before: str, operand: str, said: str) -> None:
    """With the reason; the value stays as it was."""
    desk.send("SetState", key="k", value=before)
    contract(desk, "k", {}, reducer)
    step = desk.send("SetState", key="k", value=operand)
    assert answer(step).code == "contract"
    assert said in answer(step).message
    assert answer(desk.send("GetState", key="k")).value == before


def test_the_contract_is_held_against_the_value_after_the_reducer(desk: Desk) -> None:
    """And so is the limit: what grows beyond it is refused, not cut."""
    contract(desk, "log", {"type": "array", "maxItems": 2}, "append")
    desk.book.limits = msgspec.structs.replace(desk.book.limits, max_value_bytes=50)
    assert [answer(desk.send("SetState", key="log", value="1")).code for _ in range(3)] == ["", "", "contract"]
    contract(desk, "big", {}, "append")
    codes = [answer(desk.send("SetState", key="big", value='"' + "x" * 20 + '"')).code for _ in range(3)]
    assert codes == ["", "", "oversize"]


def test_a_number_that_no_reader_could_read_is_refused(desk: Desk) -> None:
    """JSON by its letters, beyond any float: under a contract it is found."""
    contract(desk, "n", {})
    assert answer(desk.send("SetState", key="n", value="1e400")).code == "invalid_command"


NUMBER = '{"type":"integer"}'


def test_a_contract_of_one_workflow_holds_there_and_nowhere_else() -> None:
    """Messages and state alike; the workflow's own goes over one that holds for all."""
    desk = Desk()
    for run_id, workflow in (("r", "reports"), ("other", "orders")):
        desk.start(run_id=run_id, workflow=workflow)
    for target, pattern in (("state", "k"), ("message", "draft.*")):
        desk.send("ApplyContract", run_id="", target=target, pattern=pattern, schema=NUMBER, workflow="reports")
        desk.send("ApplyContract", run_id="", target=target, pattern="*", schema='{"type":"string"}')
    for run_id, fits, breaks in (("r", "1", '"text"'), ("other", '"text"', "1")):
        assert answer(desk.send("SetState", run_id=run_id, key="k", value=fits)).status == "ok"
        assert answer(desk.send("SetState", run_id=run_id, key="k", value=breaks)).code == "contract"
        assert answer(desk.send("Publish", run_id=run_id, name="draft.ready", data=fits)).status == "ok"
        assert answer(desk.send("Publish", run_id=run_id, name="draft.ready", data=breaks)).code == "contract"


def test_a_contract_that_was_removed_holds_no_longer() -> None:
    """The one of the same pattern in another scope does; removing it again changes nothing."""
    desk = Desk()
    desk.start(workflow="reports")
    for workflow in ("", "reports"):
        schema = NUMBER if workflow else '{"type":"string"}'
        desk.send("ApplyContract", run_id="", target="state", pattern="k", schema=schema, workflow=workflow)
    gone = {"run_id": "", "target": "state", "pattern": "k", "workflow": "reports"}
    assert answer(desk.send("SetState", key="k", value='"text"')).code == "contract"
    assert kinds(desk.send("RemoveContract", **gone)) == ["ContractRemoved"]
    assert kinds(desk.send("RemoveContract", **gone)) == []
    assert answer(desk.send("SetState", key="k", value='"text"')).status == "ok"
    assert answer(desk.send("SetState", key="k", value="1")).code == "contract"
    desk.send("RemoveContract", **{**gone, "workflow": ""})
    assert answer(desk.send("SetState", key="k", value="1")).status == "ok"
    book = copy(desk.book)
    for fact in desk.facts:
        if isinstance(fact, ContractEvent) and fact.kind == "ContractApplied":
            evolve(book, fact)
    assert book == desk.book, "an older one folded again does not come back"


def test_what_holds_is_told_by_workflow_and_without_what_was_removed() -> None:
    """As `backplane contracts list` shows it."""
    desk = Desk()
    about: dict[str, str] = {"run_id": "", "target": "state", "pattern": "k"}
    for workflow in ("", "reports", "orders"):
        desk.send("ApplyContract", schema=NUMBER, workflow=workflow, **about)
    desk.send("RemoveContract", workflow="reports", **about)
    held = newest([fact for fact in desk.facts if isinstance(fact, ContractEvent)])
    assert [one.workflow for one in held] == ["", "orders"]
