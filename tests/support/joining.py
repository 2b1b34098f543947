"""Reducers as somebody would write them who has only the standard library and no hurry: the oracle of ours."""

from __future__ import annotations

import json
from typing import Any


def joined(reducer: str, before: str, operand: str) -> str:
    """The value after, as JSON; values that are equal in JSON are equal here."""
    return json.dumps(_joined(reducer, json.loads(before) if before else None, json.loads(operand)))


def _joined(reducer: str, before: Any, operand: Any) -> Any:
    if reducer == "append":
        return (before or []) + [operand]
    if reducer == "counter":
        return (before or 0) + operand
    if reducer == "merge":
        return patched(before, operand)
    assert reducer == "set-union"
    union = list(before or [])
    for element in operand if isinstance(operand, list) else [operand]:
        if json.dumps(element, sort_keys=True) not in [json.dumps(known, sort_keys=True) for known in union]:
            union.append(element)
    return union


def patched(target: Any, patch: Any) -> Any:
    """MergePatch, line by line from RFC 7396 §2."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        target = dict(target)
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = patched(target.get(name), value)
        return target
    return patch
