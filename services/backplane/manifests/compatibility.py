"""Whether a new manifest may take the place of one that callers know: params may widen, results keep their promises.

Pure. All params that were right are right still. Every result is one that the schema before describes, further fields
of objects apart: a reader by the old schema finds all that it promised. Both are one question, "is every value of A a
value of B", answered keyword by keyword. Where that cannot be decided the answer is no. So a yes is sure, a no may be
too careful. Law (tests/properties/test_manifest_compatibility.py): no value shows a yes to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import jsonschema_rs

from agents_sdk.core import ids
from backplane.manifests.model import Capability

ALL_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
SAYS_NOTHING: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment"}
    | {"$defs", "definitions", "format", "type", "enum", "const", "$ref", "anyOf", "additionalProperties", "properties"}
    | {"required", "items"}
)
"""Annotations, and keywords with a rule of their own below."""
AT_LEAST: Final = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
AT_MOST: Final = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
TYPES_OF: Final = {
    "minimum": {"number"},
    "maximum": {"number"},
    "exclusiveMinimum": {"number"},
    "exclusiveMaximum": {"number"},
    "multipleOf": {"number"},
    "minLength": {"string"},
    "maxLength": {"string"},
    "pattern": {"string"},
    "minItems": {"array"},
    "maxItems": {"array"},
    "uniqueItems": {"array"},
    "minProperties": {"object"},
    "maxProperties": {"object"},
}
"""The types that a keyword is about; it says nothing about values of another type."""
DEPTH: Final = 50
"""Schemas nested deeper, or in themselves, are not compared."""

Schema = Any


class BreakingChange(NamedTuple):
    """Changes that break callers of the old manifest."""

    path: str
    """``params.…`` or ``result.…``; ``[]`` stands for the items of an array."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def broken(old: Capability, new: Capability) -> list[BreakingChange]:
    """All that forbids ``new`` to take the place of ``old``."""
    params = _Comparison(_closed(old.params), _closed(new.params), open_objects=False)
    result = _Comparison(new.result, old.result, open_objects=True)
    found = [
        *(
            BreakingChange(path, f"params that were right no longer are: {why}")
            for path, why in params.misfits("params")
        ),
        *(
            BreakingChange(path, f"a result may no longer be what it was: {why}")
            for path, why in result.misfits("result")
        ),
    ]
    effects = ("read", "idempotent", "unsafe")
    if effects.index(new.side_effects) > effects.index(old.side_effects):
        message = f"callers rely on {old.side_effects!r}; {new.side_effects!r} is a capability of another name"
        found.append(BreakingChange("side_effects", message))
    return found


def _closed(schema: Schema) -> Schema:
    """Params with each object that names its properties taking no others, where it does not say so itself. Values under
    the name of a field that is added later were never looked at."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: _closed(part) for name, part in schema.items()}
    if parts.get("type") == "object" and isinstance(parts.get("properties"), dict):
        parts.setdefault("additionalProperties", False)
    return parts


class _Comparison:
    """Is every value of ``inner`` one of ``outer``? ``open_objects``: fields that outer does not name are let pass."""

    def __init__(self, inner: Schema, outer: Schema, *, open_objects: bool) -> None:
        self._inner, self._outer, self._open = inner, outer, open_objects

    def misfits(self, path: str) -> Iterator[tuple[str, str]]:
        """(path, why) of each place where a value of inner may be none of outer."""
        yield from self._misfits(self._inner, self._outer, path, 0)

    def _misfits(self, inner: Schema, outer: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
        if outer is True or outer == {} or inner is False:
            return
        if depth > DEPTH:
            yield path, "it is nested too deeply to be compared"
            return
        if outer is False:
            yield path, "it is not allowed any more"
            return
        inner = {} if inner is True else inner
        inner, outer = _resolved(inner, self._inner), _resolved(outer, self._outer)
        if inner is None or outer is None:
            yield path, "a $ref leads nowhere that could be compared"
        elif "enum" in inner or "const" in inner:
            yield from self._finite(inner, outer, path)
        elif "anyOf" in inner and "anyOf" not in outer:
            for alternative in _alternatives(inner):
                yield from self._misfits(alternative, outer, path, depth + 1)
        else:
            yield from self._each_keyword(inner, outer, path, depth)

    def _finite(self, inner: Schema, outer: Schema, path: str) -> Iterator[tuple[str, str]]:
        root = {key: part for key, part in self._outer.items() if key in ("$defs", "definitions")}
        checks = jsonschema_rs.validator_for({**root, **outer})
        for value in inner.get("enum", [inner.get("const")]):
            if not checks.is_valid(value):
                yield path, f"{ids.canonical(value)} is allowed on one side only"

    def _each_keyword(self, inner: Schema, outer: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
        types, wanted = _types(inner), _types(outer)
        if not types <= wanted:
            yield path, f"its type may be {' or '.join(sorted(types - wanted))}"
            return
        for keyword, bound in outer.items():
            if keyword in ("enum", "const") and inner.get(keyword, ...) != bound:
                yield path, f"only {ids.canonical(bound)} is allowed on one side"
            elif keyword == "anyOf":
                yield from self._any_of(inner, bound, path, depth)
            elif keyword not in SAYS_NOTHING and not _implied(keyword, bound, inner, types):
                given = inner.get(keyword)
                yield (
                    path,
                    f"{keyword} is {ids.canonical(bound)}"
                    + (f", not {ids.canonical(given)}" if given is not None else " on one side only"),
                )
        if "array" in types:
            yield from self._misfits(inner.get("items", {}), outer.get("items", {}), f"{path}[]", depth + 1)
        if "object" in types:
            yield from self._fields(inner, outer, path, depth)

    def _any_of(self, inner: Schema, branches: list[Schema], path: str, depth: int) -> Iterator[tuple[str, str]]:
        """Each alternative of inner, or all of it, has to be within one alternative of outer."""
        for part in _alternatives(inner):
            if all(next(self._misfits(part, branch, path, depth + 1), None) for branch in branches):
                yield path, "it fits none of the alternatives for sure"

    def _fields(self, inner: Schema, outer: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
        have, want = inner.get("properties", {}), outer.get("properties", {})
        for name in sorted(set(outer.get("required", ())) - set(inner.get("required", ()))):
            yield f"{path}.{name}", "it is required on one side only"
        others = inner.get("additionalProperties", True)
        for name, schema in want.items():
            given = have.get(name, others)
            if name not in have and given is True and schema not in (True, {}):
                yield f"{path}.{name}", "it is not described any more"
            else:
                yield from self._misfits(given, schema, f"{path}.{name}", depth + 1)
        rest = outer.get("additionalProperties", True)
        if self._open and rest is False:
            return
        for name in have.keys() - want.keys():
            yield from self._misfits(have[name], rest, f"{path}.{name}", depth + 1)
        yield from self._misfits(others, rest, f"{path}.*", depth + 1)


def _alternatives(schema: Mapping[str, Any]) -> list[Schema]:
    """The schema once for each branch of its anyOf. It leaves out branches that say more about what it says itself:
    that is wider, so a yes stays sure."""
    rest = {key: part for key, part in schema.items() if key != "anyOf"}
    branches = [{} if part is True else part for part in schema.get("anyOf", [{}]) if part is not False]
    if any(branch.keys() & rest.keys() for branch in branches):
        return [rest]
    return [{**rest, **branch} for branch in branches]


def _resolved(schema: Schema, root: Schema) -> dict[str, Any] | None:
    """The target of a local ``$ref``; None where it leads nowhere, or has other keywords beside it."""
    for _ in range(DEPTH):
        if not isinstance(schema, Mapping):
            return {} if schema is True else {"not": {}} if schema is False else None
        if "$ref" not in schema:
            return dict(schema)
        found: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        if found is None or not str(schema["$ref"]).startswith("#/") or schema.keys() - {"$ref"} - SAYS_NOTHING:
            return None
        schema = found
    return None


def _types(schema: Mapping[str, Any]) -> set[str]:
    named = schema.get("type", sorted(ALL_TYPES))
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _implied(keyword: str, bound: Any, inner: Mapping[str, Any], types: set[str]) -> bool:
    """Whether values of ``inner`` keep to what the keyword of the other schema says."""
    about = TYPES_OF.get(keyword)
    if about is not None and not about & types and not ("number" in about and "integer" in types):
        return True
    given = inner.get(keyword)
    if given is not None and (given == bound) and type(given) is type(bound):
        return True
    if keyword in ("minItems", "minLength", "minProperties") and bound == 0:
        return True
    if keyword == "uniqueItems" and bound is False:
        return True
    if given is None:
        return False
    if keyword in AT_LEAST:
        return bool(given >= bound)
    return bool(given <= bound) if keyword in AT_MOST else False
