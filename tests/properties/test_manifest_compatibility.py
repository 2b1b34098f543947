"""Laws of compatibility: a yes is never wrong, the same is compatible with itself, what is known to be fine passes."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backplane.manifests.compatibility import _Comparison, broken
from backplane.manifests.model import Capability

NAMES = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(-3, 3)
SIZES = st.integers(0, 3)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])}, optional={"minimum": NUMBERS, "maximum": NUMBERS}
    ),
    st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": SIZES, "maxLength": SIZES}),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["x", "yy", 1, None]), min_size=1, unique_by=repr)}),
    st.fixed_dictionaries({"type": st.lists(st.sampled_from(["null", "boolean", "string"]), min_size=1, unique=True)}),
)


def deeper(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, parts, max_size=2)},
        optional={
            "required": st.lists(NAMES, unique=True, max_size=2),
            "additionalProperties": st.one_of(st.booleans(), parts),
            "maxProperties": SIZES,
        },
    )
    arrays = st.fixed_dictionaries(
        {"type": st.just("array")}, optional={"items": parts, "minItems": SIZES, "maxItems": SIZES}
    )
    choices = st.fixed_dictionaries({"anyOf": st.lists(parts, min_size=1, max_size=2)})
    return st.one_of(objects, arrays, choices)


SCHEMAS = st.recursive(LEAVES, deeper, max_leaves=4)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from([0.5, "", "x", "yy", "zzz"])),
    lambda parts: st.one_of(st.lists(parts, max_size=3), st.dictionaries(NAMES, parts, max_size=3)),
    max_leaves=5,
)


def yes(inner: Any, outer: Any) -> bool:
    return next(_Comparison(inner, outer, open_objects=False).misfits("v"), None) is None


def loosened(schema: Any) -> st.SearchStrategy[Any]:
    """Schemas near this one, some of them wider: two at random are hardly ever comparable."""
    if not isinstance(schema, dict) or not schema:
        return st.just(schema)

    def change(keyword: str) -> st.SearchStrategy[Any]:
        value = schema[keyword]
        rest = {key: part for key, part in schema.items() if key != keyword}
        moved: st.SearchStrategy[Any] = st.nothing()
        if isinstance(value, bool):
            moved = st.just({**rest, keyword: not value})
        elif isinstance(value, int):
            moved = st.integers(-2, 2).map(lambda by: {**rest, keyword: max(value + by, 0)})
        elif keyword in ("items", "additionalProperties"):
            moved = loosened(value).map(lambda part: {**rest, keyword: part})
        elif keyword == "properties" and value:
            moved = st.sampled_from(sorted(value)).flatmap(
                lambda name: loosened(value[name]).map(lambda part: {**rest, keyword: {**value, name: part}})
            )
        elif keyword == "anyOf":
            moved = LEAVES.map(lambda part: {**rest, keyword: [*value, part]})
        return st.one_of(st.just(rest), moved)

    return st.sampled_from(sorted(schema)).flatmap(change)


NEAR = SCHEMAS.flatmap(lambda schema: st.tuples(st.just(schema), loosened(schema)))


@settings(max_examples=100)
@given(NEAR | NEAR.map(lambda pair: pair[::-1]), st.lists(VALUES, min_size=5, max_size=15))
def test_no_value_shows_a_yes_to_be_wrong(pair: tuple[Any, Any], values: list[Any]) -> None:
    """Where the comparison says that every value of one is a value of the other, the validator agrees, value by
    value."""
    inner, outer = pair
    assume(yes(inner, outer))
    within, without = jsonschema_rs.validator_for(inner), jsonschema_rs.validator_for(outer)
    assert [value for value in values if within.is_valid(value) and not without.is_valid(value)] == []


@given(SCHEMAS)
def test_a_schema_is_compatible_with_itself(schema: Any) -> None:
    """Applying the same manifest again is never refused."""
    assert yes(schema, copy.deepcopy(schema))


def capability(params: dict[str, Any], result: dict[str, Any], side_effects: str = "read") -> Capability:
    return Capability.model_validate(
        {
            "name": "probe",
            "description": "A capability of the tests.",
            "side_effects": side_effects,
            "params": {"type": "object", **params},
            "result": {"type": "object", **result},
            "providers": [{"name": "one", "kind": "python", "function": "a:b"}],
        }
    )


TEXT, INT = {"type": "string"}, {"type": "integer"}
FIFTY = {**INT, "maximum": 50}
HITS: dict[str, Any] = {
    "required": ["hits"],
    "properties": {"hits": {"type": "array", "items": {"properties": {"url": TEXT}}}},
}


@pytest.mark.parametrize(
    ("params", "result", "new_params", "new_result", "path"),
    [
        ({"properties": {"q": TEXT}}, {}, {"properties": {"q": TEXT, "n": INT}}, {}, None),
        ({"properties": {"q": TEXT}}, {}, {"properties": {"q": TEXT, "n": INT}, "required": ["n"]}, {}, "params.n"),
        ({"properties": {"q": TEXT}}, {}, {"properties": {"q": INT}}, {}, "params.q"),
        ({"properties": {"q": TEXT, "n": INT}}, {}, {"properties": {"q": TEXT}}, {}, "params.n"),
        ({"properties": {"q": TEXT}, "additionalProperties": True}, {}, {"properties": {"q": TEXT}}, {}, "params.*"),
        ({"properties": {"n": FIFTY}}, {}, {"properties": {"n": {**INT, "maximum": 90}}}, {}, None),
        ({"properties": {"n": FIFTY}}, {}, {"properties": {"n": {**INT, "maximum": 9}}}, {}, "params.n"),
        ({"properties": {"s": {"enum": ["a"]}}}, {}, {"properties": {"s": {"enum": ["a", "b"]}}}, {}, None),
        ({"properties": {"s": {"enum": ["a", "b"]}}}, {}, {"properties": {"s": {"enum": ["a"]}}}, {}, "params.s"),
        ({}, HITS, {}, {**HITS, "properties": {**HITS["properties"], "took": INT}}, None),
        ({}, {"additionalProperties": False}, {}, {"properties": {"n": INT}}, None),
        ({}, HITS, {}, {"properties": HITS["properties"]}, "result.hits"),
        ({}, HITS, {}, {"required": ["hits"], "properties": {"hits": {"type": "array"}}}, "result.hits[].url"),
        ({}, {"properties": {"n": INT}}, {}, {"properties": {"n": {"type": "number"}}}, "result.n"),
    ],
)  # fmt: skip
def test_params_may_widen_and_results_keep_their_promises(
    params: Any, result: Any, new_params: Any, new_result: Any, path: str | None
) -> None:
    """The cases an operator meets; the refusal names the place."""
    found = broken(capability(params, result), capability(new_params, new_result))
    assert [each.path for each in found] == ([] if path is None else [path])


def test_effects_may_not_grow() -> None:
    """Who was told that a call only reads does not expect it to write."""
    read, unsafe = capability({}, {}), capability({}, {}, "unsafe")
    assert [each.path for each in broken(read, unsafe)] == ["side_effects"]
    assert broken(unsafe, read) == []
