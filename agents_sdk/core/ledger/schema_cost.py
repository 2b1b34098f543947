"""The cost of holding a value against a JSON Schema, as a number that follows from both alone. Pure.

A schema is an operator's word, a value anybody's. Both may be harmless and their product not: alternatives that double
on every level, or lists of thousands of words held against thousands of words. No clock may decide that, since a replay
has to decide the same. So the steps are estimated, from above, before any is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

WEIGHT_LIMIT: Final = 1_000_000
"""Parts of a schema with all that it refers to written out."""
STEPS_LIMIT: Final = 200_000_000
"""About a second."""
EXPLAINED_LIMIT: Final = 20_000_000
"""Characters of schema times parts of a value, up to which each fault is looked for: every one quotes the schema."""
EXPLAINED_PARTS: Final = 20_000
"""Parts of a value up to which each fault is looked for: one costs about 20 µs."""
DEPTH_LIMIT: Final = 400
"""Of schemas and references inside each other."""
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", *_REFERENCES})
"""Keywords whose schemas are about the same value."""
_MEMBERS: Final = frozenset({"properties"})
_ANY_MEMBER: Final = frozenset({"patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"})
_ITEMS: Final = frozenset({"items", "prefixItems", "contains", "additionalItems", "unevaluatedItems"})


class TooCostly(ValueError):
    """The schema is larger than any value could be held against."""


class Cost(NamedTuple):
    """Of a schema."""

    weight: int
    growth: int
    """How many times more a value costs that is one level deeper; 1: it does not."""
    size: int
    """Characters."""

    def steps(self, text: str) -> int:
        """The most that a value of this JSON text may cost; above the limit some number above it."""
        total = self.weight * parts(text)
        if self.growth > 1:
            for _ in range(_depth(text)):
                total *= self.growth
                if total > STEPS_LIMIT:
                    break
        return total

    def explains(self, text: str) -> bool:
        """Whether the faults of a value of this JSON text may all be looked for."""
        return parts(text) <= min(EXPLAINED_PARTS, EXPLAINED_LIMIT // max(self.size, 1))


def parts(text: str) -> int:
    """Values inside a JSON text, at most."""
    return 1 + text.count(",") + text.count("[") + text.count("{") + text.count(":")


def _depth(text: str) -> int:
    from agents_sdk.core.ledger.payloads import nesting

    return nesting(text)


def cost_of(schema: Any, size: int) -> Cost:
    """Of a schema that is decoded already. Raises TooCostly."""
    found = _Weighing(schema)
    weight = found.weigh(schema, (), 0)
    if weight > WEIGHT_LIMIT:
        raise TooCostly(f"with all that it refers to it has more than {WEIGHT_LIMIT} parts")
    return Cost(weight, found.growth(), size)


class _Weighing:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[str, int] = {}
        self._recursive: set[str] = set()
        self._nodes: list[dict[str, Any]] = []

    def weigh(self, node: Any, within: tuple[str, ...], depth: int) -> int:
        """Parts of the node, references written out once on each way to them."""
        if depth > DEPTH_LIMIT:
            raise TooCostly(f"it refers to itself or nests deeper than {DEPTH_LIMIT} levels")
        if isinstance(node, list):
            return 1 + sum(self.weigh(inner, within, depth + 1) for inner in node)
        if not isinstance(node, dict):
            return 1 + (len(node) // 10 if isinstance(node, str) else 0)
        self._nodes.append(node)
        total = 1
        for key, inner in node.items():
            is_reference = key in _REFERENCES and isinstance(inner, str)
            total += self._referred(inner, within, depth) if is_reference else self.weigh(inner, within, depth + 1)
        return min(total, WEIGHT_LIMIT + 1)

    def _referred(self, reference: str, within: tuple[str, ...], depth: int) -> int:
        if reference in within:
            self._recursive.update(within[within.index(reference) :])
            return 1
        if reference not in self._known:
            target = _target(self._root, reference)
            self._known[reference] = self.weigh(target, (*within, reference), depth + 1)
        return self._known[reference]

    def growth(self) -> int:
        """The most ways in which one schema holds one and the same part of a value against a recursive schema."""
        if not self._recursive:
            return 1
        return max((self._ways(node) for node in self._nodes), default=1)

    def _ways(self, node: dict[str, Any]) -> int:
        counts: Counter[str] = Counter()
        for place, inner in self._inside(node, frozenset(), 0):
            if self._recurs(inner):
                counts[place] += 1
        anywhere = counts.pop("*", 0)
        return max(1, anywhere, *(count + (anywhere if place != "[]" else 0) for place, count in counts.items()))

    def _inside(self, node: Any, seen: frozenset[str], depth: int) -> Iterator[tuple[str, Any]]:
        """(place in the value, schema of it) of all that is said about the parts of the value."""
        if not isinstance(node, dict) or depth > DEPTH_LIMIT:
            return
        for key, inner in node.items():
            if key in _REFERENCES and isinstance(inner, str):
                if inner not in seen:
                    yield from self._inside(_target(self._root, inner), seen | {inner}, depth + 1)
            elif key in _IN_PLACE:
                for each in _schemas(inner):
                    yield from self._inside(each, seen, depth + 1)
            elif key in _MEMBERS and isinstance(inner, dict):
                yield from inner.items()
            elif key in _ANY_MEMBER or key in _ITEMS:
                place = "[]" if key in _ITEMS else "*"
                yield from ((place, each) for each in _schemas(inner))

    def _recurs(self, node: Any) -> bool:
        """Whether it refers to a recursive schema. It is no deeper than ``weigh`` allows."""
        if isinstance(node, list):
            return any(map(self._recurs, node))
        if not isinstance(node, dict):
            return False
        return any(
            inner in self._recursive or inner == "#" if key in _REFERENCES else self._recurs(inner)
            for key, inner in node.items()
            if not (key in _REFERENCES and not isinstance(inner, str))
        )


def _schemas(inner: Any) -> list[Any]:
    if isinstance(inner, list):
        return inner
    if isinstance(inner, dict) and inner and all(isinstance(each, dict | bool) for each in inner.values()):
        return [inner, *inner.values()]  # a schema, or a mapping of schemas: both ways of reading count
    return [inner]


def _target(root: Any, reference: str) -> Any:
    """The target of a reference within the schema; the whole schema where that is not known."""
    if not reference.startswith("#/"):
        return root
    found = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
            found = found[int(name[:9])]
        else:
            return root
    return found
