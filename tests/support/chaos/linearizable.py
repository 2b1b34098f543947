"""Whether a history of one register can be put into an order that a single copy would give. Pure.

The search of Wing and Gong with Lowe's memory: take an operation that may come next, see what the register then is, go
on, go back where nothing fits. What was tried is remembered as (operations taken, value), so that nothing is searched
twice. An operation whose outcome nobody knows may have happened at any time since it began, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

ABSENT: Final = None
"""The value of a key that was never written."""


@dataclass(frozen=True)
class Op:
    """One operation as its caller saw it."""

    kind: str
    """``write``, ``read`` or ``swap`` (write ``value`` where the register has ``expected``)."""
    began: float
    ended: float = inf
    """Infinite: the outcome is not known."""
    value: Any = None
    """Written, or read."""
    expected: Any = None
    done: bool = True
    """Of a swap: whether it happened."""


def linearizable(history: Sequence[Op]) -> bool:
    """Whether some order explains all that was seen, each operation taking effect between its beginning and end."""
    ops = sorted(history, key=lambda op: op.began)
    known = sum(1 << number for number, op in enumerate(ops) if op.ended < inf)
    seen: set[tuple[int, Any]] = set()
    stack: list[tuple[int, Any]] = [(0, ABSENT)]
    while stack:
        taken, value = stack.pop()
        if taken & known == known:
            return True
        if (taken, value) in seen:
            continue
        seen.add((taken, value))
        # whatever ends first of what is left bounds what may come before it
        limit = min(op.ended for number, op in enumerate(ops) if not taken >> number & 1)
        for number, op in enumerate(ops):
            if op.began > limit:
                break
            if not taken >> number & 1:
                stack += [(taken | 1 << number, after) for after in _after(op, value)]
    return False


def _after(op: Op, value: Any) -> list[Any]:
    """The values that the register may have behind the operation; none where it cannot come next."""
    unknown = op.ended == inf
    if op.kind == "read":
        return [value] if unknown or value == op.value else []
    if op.kind == "write":
        return [op.value, value] if unknown else [op.value]
    fits = value == op.expected
    if unknown:
        return [op.value, value] if fits else [value]
    if op.done:
        return [op.value] if fits else []
    return [] if fits else [value]
