"""Finds and loads the contracts of ``schemas/``: beside this file in a wheel, else in the checkout above it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any


@cache
def root() -> Path:
    """The folder that holds ``avro/``, ``topics/`` and the rest. Looks only beside its own file: an editable install
    leaves a stale copy in site-packages that must never win."""
    here = Path(__file__).resolve().parent
    packaged = here / "_schemas"
    return packaged if packaged.is_dir() else here.parent / "schemas"


def avro(record: str, version: int = 1) -> dict[str, Any]:
    """The Avro schema of a record as it is registered, docs and logical types included. Raises FileNotFoundError."""
    loaded: dict[str, Any] = json.loads((root() / "avro" / f"{record}.v{version}.avsc").read_text())
    return loaded


def latest_version(record: str) -> int:
    """The highest version of a record in ``schemas/avro``."""
    return max(int(path.stem.rsplit(".v", 1)[1]) for path in (root() / "avro").glob(f"{record}.v*.avsc"))


def latest(record: str) -> dict[str, Any]:
    """The newest Avro schema of a record, as ``avro``."""
    return avro(record, latest_version(record))


def records() -> Iterator[str]:
    """Names of all records, each once, sorted."""
    yield from sorted({path.name.split(".")[0] for path in (root() / "avro").glob("*.avsc")})
