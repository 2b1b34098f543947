"""What only a contract makes expensive ends as a refusal, before the work is done."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.ledger.schema_cost import EXPLAINED_PARTS, Cost, TooCostly, cost_of, parts
from tests.support.ledger_desk import Desk, answer


def text(schema: Any) -> str:
    """As JSON."""
    return msgspec.json.encode(schema).decode()


DOUBLED = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "integer"}}
FORKED = {
    "anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 9},
        {"type": "array", "items": {"$ref": "#/$defs/n"}},
    ]
}
TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#/$defs/n"}, "right": {"$ref": "#/$defs/n"}, "value": {"type": "integer"}},
}
CHAIN = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2_000)} | {"d2000": {}}


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": DOUBLED, "$ref": "#/$defs/d0"},
        {"$defs": CHAIN, "$ref": "#/$defs/d0"},
        {"pattern": "((a{0,1000}){0,1000}){0,1000}"},
        {"pattern": "(?=look)behind"},
        {"maximum": msgspec.Raw(b"1e999999")},
        {"maximum": msgspec.Raw(b"9" * 5_000)},
        {"$ref": "http://example.org/elsewhere"},
        {"$ref": "#/nowhere"},
        {"$dynamicRef": "#nobody"},
        {"type": "no type"},
        {"enum": "no list"},
        {"multipleOf": 0},
        {"items": [{"$ref": "file:///etc/passwd"}]},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_as_it_is_applied(schema: Any) -> None:
    """The operator is told, and no value is ever held against it."""
    desk = Desk()
    step = desk.send("ApplyContract", run_id="", target="state", pattern="*", schema=text(schema))
    assert step.failure is None
    assert (answer(step).code, "schema" in answer(step).message) == ("invalid_command", True)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$defs": {"n": FORKED}, "$ref": "#/$defs/n"}, "[" * 150 + "]" * 150),
        ({"items": {"enum": [f"word {n}" for n in range(9_000)]}}, text(["none of them"] * 50_000)),
        ({"items": {"anyOf": [{"const": n} for n in range(5_000)]}}, text(["none of them"] * 50_000)),
        ({"items": {"type": "string"}}, "[" + "1," * 400_000 + "1]"),
        ({"type": "integer"}, "9" * 5_000),
        ({"type": "number"}, "1e999999"),
        ({"type": "string", "pattern": "^(a+)+$"}, text("a" * 900_000 + "b")),
        ({"$ref": "#", "type": "string"}, "1"),
        ({"allOf": [{"$ref": "#"}], "type": "string"}, "1"),
    ],
)
def test_a_value_that_costs_too_much_is_refused(schema: Any, value: str) -> None:
    """In bounded time, as a break of the contract or as no JSON; the next write is decided."""
    desk = Desk()
    desk.send("ApplyContract", run_id="", target="state", pattern="k", schema=text(schema))
    assert answer(desk.start()).status == "ok"
    step = desk.send("SetState", key="k", value=value)
    assert step.failure is None
    assert answer(step).code in ("contract", "invalid_command")
    assert answer(desk.send("SetState", key="other", value="1")).status == "ok"


def test_a_tree_of_any_depth_and_a_model_of_many_parts_cost_nothing_extra() -> None:
    """What a good schema allows is not refused for its cost."""
    desk = Desk()
    desk.send(
        "ApplyContract",
        run_id="",
        target="state",
        pattern="tree",
        schema=text({"$defs": {"n": TREE}, "$ref": "#/$defs/n"}),
    )
    desk.start()
    value: Any = {"value": 0}
    for number in range(150):
        value = {"left": value, "right": {"value": number}}
    assert answer(desk.send("SetState", key="tree", value=text(value))).status == "ok"
    rows = {"items": {"type": "object", "properties": {f"field {n}": {"type": "integer"} for n in range(60)}}}
    desk.send("ApplyContract", run_id="", target="state", pattern="rows", schema=text(rows))
    written = desk.send("SetState", key="rows", value=text([{f"field {n}": n for n in range(60)}] * 1_000))
    assert answer(written).status == "ok"


def test_growth_is_by_what_is_said_twice_of_one_part() -> None:
    """Not by how many parts a value has."""
    assert cost_of({"$defs": {"n": TREE}, "$ref": "#/$defs/n"}, 0).growth == 1
    assert cost_of({"$defs": {"n": FORKED}, "$ref": "#/$defs/n"}, 0).growth == 2
    assert cost_of({"properties": {"a": {"type": "string"}}}, 0).growth == 1
    with pytest.raises(TooCostly):
        cost_of({"$defs": DOUBLED, "$ref": "#/$defs/d0"}, 0)


def test_parts_are_never_counted_too_few() -> None:
    """They bound the work."""
    assert parts("1") == 1
    assert parts('[1,{"a":2}]') >= 4
    assert not Cost(1, 1, 1).explains("[" + "1," * EXPLAINED_PARTS + "1]")
