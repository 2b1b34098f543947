"""How large the store's tables are."""

from __future__ import annotations

import msgspec


class Table(msgspec.Struct, frozen=True):
    """One table of the database."""

    name: str
    rows: int
    parts: int
    bytes_on_disk: int
    body_bytes: int
    """Of columns that are emptied before the rest, compressed; 0 while all parts are small, in one file each."""
