"""Two texts side by side, line by line. Pure."""

from __future__ import annotations

import difflib
from typing import Final, NamedTuple

SIGNS: Final = {" ": "", "+": "added", "-": "removed", "@": "place"}
LIMIT: Final = 4_000
"""Lines of a difference that are shown."""


class Piece(NamedTuple):
    """One line, and whether it was added, removed, is where lines are left out, or is the same."""

    what: str
    text: str


def difference(old: str, new: str) -> list[Piece]:
    """The lines that differ with three around them; empty: the texts are equal."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=3, lineterm="")
    pieces = [Piece(SIGNS[line[0]], line if line[0] == "@" else line[1:]) for line in list(lines)[2:]]
    return pieces[:LIMIT]
