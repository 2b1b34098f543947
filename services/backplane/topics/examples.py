"""``schemas/examples``: named cases of every record, and cases that must be refused, each with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from agents_sdk import schemas
from agents_sdk.wire.codec import RECORDS, Record


@dataclass(frozen=True)
class Example:
    """A datum as it may be; fields left out have their default."""

    record: str
    case: str
    datum: dict[str, Any]

    def build(self) -> Record:
        """The record itself. Raises msgspec.ValidationError."""
        built: Record = msgspec.convert(self.datum, RECORDS[self.record], strict=True)
        return built


@dataclass(frozen=True)
class Counterexample:
    """A datum that must be refused."""

    record: str
    case: str
    refused_because: str
    path: str
    """The field that must be named when it is refused."""
    datum: Any


def examples(record: str | None = None) -> Iterator[Example]:
    """All examples of a record, or of all records, sorted by file."""
    for path in sorted((schemas.root() / "examples").glob(f"{record or '*'}/*.json")):
        yield Example(path.parent.name, path.stem, json.loads(path.read_text()))


def counterexamples(record: str | None = None) -> Iterator[Counterexample]:
    """All data that must be refused, of a record or of all records, sorted by file."""
    for path in sorted((schemas.root() / "examples").glob(f"{record or '*'}/invalid/*.json")):
        yield Counterexample(path.parent.parent.name, path.stem, **json.loads(path.read_text()))
