"""What the whole schema accepts, the shortened one accepts: held against a validator, over schemas of every keyword."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from agents_sdk.core.shortened import compact

NAMES = st.sampled_from(["a", "b", "title", "pattern", "properties", "examples", "items"])
SMALL = st.integers(0, 3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.sampled_from(["", "a", "ab", "abcd", "title"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", ["string", "null"]]),
        "minLength": SMALL,
        "maxLength": SMALL,
        "minItems": SMALL,
        "maxItems": SMALL,
        "pattern": st.sampled_from(["^a", "b$"]),
        "uniqueItems": st.booleans(),
        "minimum": SMALL,
        "maxProperties": SMALL,
        "required": st.lists(NAMES, unique=True, max_size=2),
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=2), max_size=2),
        "const": VALUES,
        "enum": st.lists(VALUES, min_size=1, max_size=2),
        "title": st.just("T"),
        "examples": st.just([1]),
        "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b", "#/$defs/title", "#"]),
    },
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas that have these within them."""
    named = st.dictionaries(NAMES, inner, max_size=2)
    several = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "t"]), inner, max_size=1),
            "additionalProperties": inner,
            "propertyNames": inner,
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "dependentSchemas": named,
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "maxContains": SMALL,
            "minContains": SMALL,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "maxLength": SMALL,
            "required": st.lists(NAMES, unique=True, max_size=1),
        },
    )


SCHEMAS = st.recursive(LEAVES | st.booleans(), lambda inner: nested(inner) | inner, max_leaves=6)
DEFINED = st.fixed_dictionaries({"a": LEAVES, "b": SCHEMAS, "title": SCHEMAS})


@settings(max_examples=300)
@given(SCHEMAS, DEFINED, st.lists(VALUES, min_size=1, max_size=12))
@example({"not": {"$ref": "#/$defs/a"}}, {"a": {"maxLength": 1}, "b": True, "title": True}, ["abcd"])
@example({"oneOf": [{"maxLength": 1}, {"minLength": 2}]}, {"a": {}, "b": True, "title": True}, ["abcd", "a"])
@example({"if": {"maxLength": 1}, "then": False}, {"a": {}, "b": True, "title": True}, ["abcd"])
@example({"contains": {"maxLength": 1}, "maxContains": 1}, {"a": {}, "b": True, "title": True}, [["a", "abcd"]])
@example(
    {"additionalProperties": True, "unevaluatedProperties": False}, {"a": {}, "b": True, "title": True}, [{"a": 1}]
)
@example({"$ref": "#/$defs/title"}, {"a": {}, "b": True, "title": {"type": "string"}}, ["a"])
def test_what_the_whole_accepts_the_shortened_accepts(schema: Any, defined: dict[str, Any], values: list[Any]) -> None:
    """Whatever keywords stand in each other, refer to each other, or are names of properties."""
    whole = {**schema, "$defs": defined} if isinstance(schema, dict) else schema
    try:
        accepts = jsonschema_rs.validator_for(whole).is_valid
        verdicts = [accepts(value) for value in values]
    except (ValueError, RecursionError):  # circles of references without an end
        assume(False)
    shortened = jsonschema_rs.validator_for(compact(whole)).is_valid

    assert all(shortened(value) for value, accepted in zip(values, verdicts, strict=True) if accepted), compact(whole)


@pytest.mark.parametrize(
    ("whole", "shortened"),
    [
        ({"type": "string", "maxLength": 5, "title": "T"}, {"type": "string"}),
        ({"not": {"maxLength": 5, "title": "T"}}, {"not": {"maxLength": 5}}),
        ({"properties": {"title": {"pattern": "x"}}, "additionalProperties": False}, {"properties": {"title": {}}}),
        ({"oneOf": [{"maxLength": 1}, {"type": "null"}]}, {"anyOf": [{}, {"type": "null"}]}),
        ({"dependentRequired": {"title": ["pattern"]}}, {"dependentRequired": {"title": ["pattern"]}}),
        ({"default": {"title": "x", "maxLength": 1}}, {"default": {"title": "x", "maxLength": 1}}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "minItems": 1}, {}),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"maxLength": 1}]},
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"maxLength": 1}]},
        ),
    ],
)
def test_what_is_left_out(whole: Any, shortened: Any) -> None:
    """Bounds, where leaving them out accepts more; annotations; never names or literals."""
    assert compact(whole) == shortened
