"""Snapshot values that are larger than a record may be, as several of them. No I/O: changes come in, changes go out.

A value is cut into pieces, and what stands under its own key names them. Pieces are named by their contents, and
written before the name that points to them. Those that it no longer points to are removed after it. So at any moment
each key has its old value or its new one, whole. Laws: joining what was cut gives what was stored, wherever the writing
stopped; and nothing is left over once it was not stopped.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

PIECE_BYTES: Final = 900_000
"""Below what any broker takes by default, 1,048,588 bytes with key and headers."""
MARK: Final = b"\xc1"
"""The one byte that begins no msgpack value."""

Changes = list[tuple[str, bytes | None]]
"""Key and its new value, in the order in which they are to be written; None: the key is to go."""


class Pieces:
    """Which keys of one partition are in pieces."""

    def __init__(self, partition: int) -> None:
        self._prefix = f"{partition}/piece/"
        self._of: dict[str, list[str]] = {}
        """Key → its pieces' keys."""
        self._left_over: list[str] = []
        """Pieces that remain from a stopped writing."""

    def cut(self, changes: Changes) -> Changes:
        """The changes with large values cut."""
        out: Changes = []
        gone, self._left_over = self._left_over, []
        for key, value in changes:
            before = self._of.pop(key, [])
            if value is not None and len(value) > PIECE_BYTES:
                digest = hashlib.sha256(key.encode() + b"\0" + value).hexdigest()[:32]
                parts = [value[start : start + PIECE_BYTES] for start in range(0, len(value), PIECE_BYTES)]
                names = self._of[key] = [f"{self._prefix}{digest}/{number}" for number in range(len(parts))]
                out += zip(names, parts, strict=True)
                out.append((key, MARK + msgspec.msgpack.encode((digest, len(parts)))))
            else:
                out.append((key, value))
            gone += [name for name in before if name not in self._of.get(key, ())]
        kept = {name for names in self._of.values() for name in names}
        return out + [(name, None) for name in gone if name not in kept]

    def join(self, stored: dict[str, bytes]) -> dict[str, bytes]:
        """The stored value, whole, and without the pieces. Raises KeyError where one is missing."""
        joined: dict[str, bytes] = {}
        self._of.clear()
        for key, value in stored.items():
            if key.startswith(self._prefix):
                continue
            if value.startswith(MARK):
                digest, count = msgspec.msgpack.decode(value[len(MARK) :], type=tuple[str, int])
                names = self._of[key] = [f"{self._prefix}{digest}/{number}" for number in range(count)]
                joined[key] = b"".join(stored[name] for name in names)
            else:
                joined[key] = value
        kept = {name for names in self._of.values() for name in names}
        self._left_over = [key for key in stored if key.startswith(self._prefix) and key not in kept]
        return joined
