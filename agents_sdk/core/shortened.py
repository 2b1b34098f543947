"""JSON Schemas without what costs tokens and tells a model little. Pure.

Law: what the whole schema accepts, the shortened one accepts (``tests/properties/test_shortened_schemas.py``). Bounds
may be left out only where leaving them out accepts more: not below ``not``, ``if`` and ``contains``, nor in definitions
that are used there. Where that is not known, nothing but annotations is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

CLUTTER: Final = frozenset({"title", "$comment", "examples", "deprecated"})
"""Words of a schema that tell a model nothing about how to fill it in, and mean nothing to a validator."""
LEFT_TO_THE_CHECK: Final = frozenset(
    {"additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "pattern", "uniqueItems"}
)
"""Bounds that hardly a call breaks and that cost tokens in each: the executor checks them, and names the one that is
broken."""
CURRENT: Final = "https://json-schema.org/draft/2020-12/schema"
_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}) | {
    "dependencies"
}
"""Keywords whose value has a schema under each of the user's names."""
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SINGLE: Final = frozenset(
    {"additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else", "contentSchema"}
    | {"unevaluatedProperties", "unevaluatedItems", "additionalItems"}
)
_EXACT: Final = frozenset({"not", "if", "contains", "oneOf", "contentSchema"})
"""To accept more there may be to accept less in all."""
_TELLING: Final = frozenset({"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"}) | {
    "unevaluatedProperties",
    "unevaluatedItems",
}
"""Where one of these is, more depends on the other keywords than is known here."""
_REFERRED: Final = ("#/$defs/", "#/definitions/")


def compact(schema: Any) -> Any:
    """The schema without what a model does not need."""
    exact = _exact_definitions(schema)
    return _shortened(schema, whole=exact is None, exact=exact or frozenset())


def _shortened(schema: Any, *, whole: bool, exact: frozenset[str]) -> Any:
    """``whole``: without annotations only; ``exact``: references of definitions that are kept whole."""
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, part in schema.items():
        if key in CLUTTER or (not whole and key in LEFT_TO_THE_CHECK) or (key == "$schema" and part == CURRENT):
            continue
        if key == "oneOf" and not whole and "anyOf" not in schema and isinstance(part, list):
            # shorter branches may overlap; that it fits more than one is left to the check
            found["anyOf"] = [_shortened(each, whole=False, exact=exact) for each in part]
        elif key in _MAPS and isinstance(part, Mapping):
            found[key] = {
                name: _shortened(each, whole=whole or f"#/{key}/{name}" in exact, exact=exact)
                for name, each in part.items()
            }
        elif key in _LISTS and isinstance(part, list):
            found[key] = [_shortened(each, whole=whole or key in _EXACT, exact=exact) for each in part]
        elif key in _SINGLE:
            found[key] = _shortened(part, whole=whole or key in _EXACT, exact=exact)
        else:
            found[key] = part
    return found


def _exact_definitions(schema: Any) -> frozenset[str] | None:
    """References of the definitions that are used where bounds count; None: all of the schema is to be kept whole."""
    definitions: dict[str, Any] = {}
    if isinstance(schema, Mapping):
        for place in _REFERRED:
            kept = schema.get(place[2:-1])
            if isinstance(kept, Mapping):
                definitions |= {f"{place}{name}": each for name, each in kept.items()}
    wanted: list[str] = []
    for subschema, counts in _parts(schema, counts=False):
        if _TELLING & subschema.keys() or ("$schema" in subschema and subschema["$schema"] != CURRENT):
            return None
        reference = subschema.get("$ref")
        if reference is None:
            continue
        if reference not in definitions and (reference != "#" or counts):
            return None
        if counts:
            wanted.append(reference)
    exact: set[str] = set()
    while wanted:
        reference = wanted.pop()
        if reference in exact:
            continue
        exact.add(reference)
        if reference == "#":
            return None
        for subschema, _ in _parts(definitions[reference], counts=True):
            if "$ref" in subschema:
                wanted.append(subschema["$ref"])
    return frozenset(exact)


def _parts(schema: Any, *, counts: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Each schema within it, itself first, and whether its bounds count there."""
    if not isinstance(schema, Mapping):
        return
    yield schema, counts
    for key, part in schema.items():
        inner = counts or key in _EXACT
        if key in _MAPS and isinstance(part, Mapping):
            several: Any = part.values()
        elif key in _LISTS and isinstance(part, list):
            several = part
        else:
            several = [part] if key in _SINGLE else []
        for each in several:
            yield from _parts(each, counts=inner)
