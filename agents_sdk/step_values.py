"""The values of a step: its arguments as they are recorded, and the type of its result. Pure."""

from __future__ import annotations

import functools
import inspect
import typing
from hashlib import sha256
from types import NoneType
from typing import Any, Final, TypeVar

import msgspec

from agents_sdk import values
from agents_sdk.core import ids
from agents_sdk.errors import BackplaneError

PARAMS_LIMIT: Final = 65_536
"""Characters of the recorded arguments; larger ones are recorded as their hash."""


def shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The arguments as they are recorded: JSON; where one is none, its type; where they are large, their hash."""
    plain: dict[str, Any] = {name: _plain(value) for name, value in kwargs.items()}
    if args:
        plain["args"] = [_plain(value) for value in args]
    if not plain:
        return ""
    text = ids.canonical(plain)
    if len(text) > PARAMS_LIMIT:
        return ids.canonical({"sha256": ids.sha256(text), "size": len(text)})
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"sha256": sha256(value).hexdigest(), "size": len(value)}
    try:
        return msgspec.Raw(values.to_json(value, 1 << 40).encode())
    except BackplaneError:
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


@functools.lru_cache(maxsize=4_096)
def _annotated(fn: Any) -> Any:
    try:
        found = typing.get_type_hints(fn).get("return")
    except Exception:  # noqa: BLE001  # names that only a type checker has
        return None
    plain = (None, NoneType, Any, str, int, float, bool, dict, list, object, bytes)
    return None if found in plain or isinstance(found, str | TypeVar) else found


def returned(fn: Any) -> Any:
    """The type that a function says it returns, where it is more than JSON has; None for none."""
    try:
        return _annotated(inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn))
    except TypeError:  # it has no hash
        return None
