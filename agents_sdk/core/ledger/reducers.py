"""How a write joins the value that is there, so that concurrent writers lose nothing of each other's. Pure.

A reducer is a function of the value before (None: there is none) and the operand, both JSON, to the value after. Laws:
the same arguments give the same bytes. The order of the writers does not matter for these: a counter has the sum, a
set-union the same elements. An append has each element once, in its writer's order.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import msgspec

from agents_sdk.core import ids

REPLACE: Final = "replace"
COUNTER_LIMIT: Final = 2**63
"""Whole numbers below this: what every reader of JSON has room for."""


class Irreducible(ValueError):
    """The operand, or the value before, is not what the reducer joins."""


def reduced(reducer: str, before: str, operand: str) -> str:
    """The value after, canonical JSON, from those before ("": none) and given. Raises Irreducible."""
    try:
        value, given = msgspec.json.decode(before) if before else None, msgspec.json.decode(operand)
    except msgspec.DecodeError as error:
        raise Irreducible(f"it is not JSON that {reducer} can read: {error}") from error
    return ids.canonical(REDUCERS[reducer](value, given))


def _replace(_: Any, operand: Any) -> Any:
    return operand


def _append(before: Any, operand: Any) -> Any:
    return [*_listed(before, "append"), operand]


def _merge(before: Any, patch: Any) -> Any:
    """RFC 7396: members of the patch replace, null removes, objects are merged member by member."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _counter(before: Any, operand: Any) -> Any:
    terms = [_number(0 if before is None else before, "the value"), _number(operand, "what was given")]
    try:
        total = sum(terms)
    except OverflowError:  # a whole number that no float can hold, and a float
        total = float("inf")
    if not isfinite(total) or abs(total) >= COUNTER_LIMIT:
        raise Irreducible("the count leaves the range of 64 bits")
    return total


def _set_union(before: Any, operand: Any) -> Any:
    known = _listed(before, "set-union")
    seen = {ids.canonical(element) for element in known}
    union = list(known)
    for element in operand if isinstance(operand, list) else [operand]:
        text = ids.canonical(element)
        if text not in seen:
            seen.add(text)
            union.append(element)
    return union


def _listed(before: Any, reducer: str) -> list[Any]:
    if before is None:
        return []
    if not isinstance(before, list):
        raise Irreducible(f"{reducer} adds to a list, and the value is {_kind(before)}")
    return before


def _number(value: Any, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Irreducible(f"a counter adds numbers, and {what} is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")


REDUCERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    REPLACE: _replace,
    "append": _append,
    "merge": _merge,
    "counter": _counter,
    "set-union": _set_union,
}
"""Name in a contract → the reducer."""
