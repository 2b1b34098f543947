"""Values as JSON sees them: what has to be found or made plain before, or after, a value is encoded. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from datetime import date
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

Path = tuple[int | str, ...]


class NoText(TypeError):
    """A key of a mapping that has no text of its own; the message names the key and its place."""


def first_not_finite(value: Any) -> tuple[Path, float] | None:
    """(place, number) of the first NaN or infinity in a value, however deep; None for none."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, float):
            if not isfinite(item):
                return path, item
        else:
            waiting.extend(reversed([((*path, name), inner) for name, inner in _inside(item)]))
    return None


def _inside(value: Any) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, list | tuple | Set):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, msgspec.Struct):
        yield from ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif hasattr(value, "model_dump") and not isinstance(value, type):
        yield from vars(value).items()


def with_text_keys(value: Any, path: Path = ()) -> Any:
    """The same value with the keys of its mappings as text, as pydantic writes them: whole numbers, dates, UUIDs and
    members of enumerations. Raises NoText for any other key, and where two keys would have one text."""
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for key, inner in value.items():
            text = _text_of(key, path)
            if text in made:
                raise NoText(f"key {key!r}{_at(path)} is there twice, as a number and as text")
            made[text] = with_text_keys(inner, (*path, text))
        return made
    if isinstance(value, list | tuple | Set):
        return [with_text_keys(inner, (*path, index)) for index, inner in enumerate(value)]
    if (dataclasses.is_dataclass(value) and not isinstance(value, type)) or isinstance(value, msgspec.Struct):
        return {name: with_text_keys(inner, (*path, name)) for name, inner in _inside(value)}
    return value


def _text_of(key: Any, path: Path) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, date):
        return key.isoformat()
    if isinstance(key, int | UUID) and not isinstance(key, bool):
        return str(key)
    raise NoText(f"key {key!r}{_at(path)} is no text; use strings or whole numbers as keys")


def _at(path: Path) -> str:
    from agents_sdk.values import path_of

    return f" at {path_of(path)!r}" if path else ""
