"""Changes between two versions of a record, field by field, and which changes break a reader.

Pure. The rule is FULL_TRANSITIVE and a little more: every version of us reads the records of every other version. So
does ClickHouse, which fills a missing field with its column's zero and not with the Avro default. So an added field
needs a default, and that default is null, zero or empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]

ZEROS: Final[tuple[Any, ...]] = (None, False, 0, 0.0, "", [], {})
NO_DEFAULT: Final = object()


@dataclass(frozen=True)
class Difference:
    """One change from an old schema to a new one."""

    sign: str
    """``+`` added, ``-`` removed, ``~`` changed."""
    path: str
    """Dotted path of the field; empty for the record itself."""
    what: str
    breaks: str = ""
    """Why this must not be; empty: it may."""

    def __str__(self) -> str:
        line = f"{self.sign} {self.path + ': ' if self.path else ''}{self.what}"
        return f"{line}  <- {self.breaks}" if self.breaks else line


def differences(old: Schema, new: Schema) -> list[Difference]:
    """Every change from ``old`` to ``new``, in the order of the fields; empty: both say the same."""
    return list(_records(old, new, ""))


def breaking(old: Schema, new: Schema) -> list[Difference]:
    """The changes from ``old`` to ``new`` that must not be."""
    return [change for change in differences(old, new) if change.breaks]


def broken_by(new: Schema, older: Sequence[Schema]) -> list[tuple[int, list[Difference]]]:
    """For each of ``older`` that ``new`` breaks: its index, and all changes from it to ``new``."""
    return [(index, differences(old, new)) for index, old in enumerate(older) if breaking(old, new)]


def is_zero(default: Any) -> bool:
    """Whether a default is null, zero or empty; 1 == True and 0 == False, and both zeros are."""
    return any(default == zero and isinstance(default, type(zero)) for zero in ZEROS)


def described(field: Schema) -> str:
    """A field as ``type = default``."""
    shown = type_name(field.get("type"))
    return f"{shown} = {json.dumps(field['default'])}" if "default" in field else shown


def _records(old: Schema, new: Schema, at: str) -> Iterator[Difference]:
    here = at.rstrip(".")
    for key in ("name", "namespace"):
        if old.get(key) != new.get(key):
            what = f"{key} {old.get(key)!r} → {new.get(key)!r}"
            yield Difference("~", here, what, "readers find a record by its full name")
    yield from _kinds(old, new, here)
    if old.get("payloads", []) != new.get("payloads", []):
        yield Difference("~", here, f"payloads {old.get('payloads', [])} → {new.get('payloads', [])}")
    if old.get("doc") != new.get("doc"):
        yield Difference("~", here, "doc of the record")
    before = {field["name"]: field for field in old.get("fields", ())}
    after = {field["name"]: field for field in new.get("fields", ())}
    for name, field in before.items():
        if name in after:
            yield from _fields(field, after[name], f"{at}{name}")
        else:
            because = "" if "default" in field else "it has no default, so older readers cannot do without it"
            yield Difference("-", f"{at}{name}", described(field), because)
    for name, field in after.items():
        if name not in before:
            yield Difference("+", f"{at}{name}", described(field), _why_not_added(field))


def _kinds(old: Schema, new: Schema, here: str) -> Iterator[Difference]:
    before, after = old.get("kinds", []), new.get("kinds", [])
    for kind in before:
        if kind not in after:
            yield Difference("-", here, f"kind {kind}", "records of this kind are in the topic and stay there")
    for kind in after:
        if kind not in before:
            yield Difference("+", here, f"kind {kind}")


def _why_not_added(field: Schema) -> str:
    default = field.get("default", NO_DEFAULT)
    if default is NO_DEFAULT:
        return "an added field needs a default, or records written before cannot be read"
    if not is_zero(default):
        return f"the default of an added field is null, zero or empty, not {json.dumps(default)}: ClickHouse reads zero"
    return ""


def _fields(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    yield from _types(old["type"], new["type"], path)
    before, after = old.get("default", NO_DEFAULT), new.get("default", NO_DEFAULT)
    if type(before) is not type(after) or before != after:
        yield Difference("~", path, f"default {_shown(before)} → {_shown(after)}")
    if old.get("doc") != new.get("doc"):
        yield Difference("~", path, "doc")


def _types(old: Any, new: Any, path: str) -> Iterator[Difference]:
    before, after = _branches(old), _branches(new)
    if [name for name, _ in before] != [name for name, _ in after]:
        what = f"{type_name(old)} → {type_name(new)}"
        yield Difference("~", path, what, "no reader of the one type can be relied on to read the other")
        return
    for (_, was), (_, is_) in zip(before, after, strict=True):
        if not isinstance(was, dict) or not isinstance(is_, dict):
            continue
        if was.get("type") == "record":
            yield from _records(was, is_, f"{path}.")
        for inner in ("items", "values"):
            if inner in was:
                yield from _types(was[inner], is_[inner], f"{path}[]")


def _branches(schema: Any) -> list[tuple[str, Any]]:
    """Name and schema of each branch of a union, or of the one type that is none."""
    return [(type_name(branch, deep=False), branch) for branch in (schema if isinstance(schema, list) else [schema])]


def type_name(schema: Any, *, deep: bool = True) -> str:
    """A type in a few words; not ``deep``: without what an array or a map holds."""
    if isinstance(schema, list):
        return " | ".join(type_name(branch) for branch in schema)
    if not isinstance(schema, dict):
        return str(schema)
    kind = schema.get("type")
    if kind in ("array", "map"):
        inner = schema.get("items", schema.get("values"))
        return f"{kind} of {type_name(inner)}" if deep else str(kind)
    if kind in ("record", "enum", "fixed"):
        return str(schema.get("name"))
    if isinstance(kind, dict | list):
        return type_name(kind, deep=deep)
    return f"{kind} ({schema['logicalType']})" if "logicalType" in schema else str(kind)


def _shown(default: Any) -> str:
    return "none" if default is NO_DEFAULT else json.dumps(default)
