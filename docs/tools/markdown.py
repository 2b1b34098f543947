"""Pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """The text of a table cell: one line, no bars."""
    return " ".join(str(text).split()).replace("|", "\\|") or "–"


def code(text: object) -> str:
    """The text as code; a dash for none."""
    plain = " ".join(str(text).split()).replace("|", "\\|")
    return f"`{plain}`" if plain else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; rows hold finished cells."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def prose(docstring: str) -> str:
    """A docstring as Markdown: its double backquotes are single ones, its indented examples are fenced."""
    text = docstring.replace("``", "`").strip()
    text = re.sub(r"::\n\n((?: {4,}.*\n?)+)", lambda found: f":\n\n```text\n{_undented(found[1])}\n```\n", text)
    return re.sub(r"^(Raises|Args|Returns|Laws):\n((?: {4,}.*\n?)+)", _listed, text, flags=re.MULTILINE)


def _undented(block: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in block.rstrip().split("\n"))


def _listed(found: re.Match[str]) -> str:
    """A section of a docstring as a list; a line that is indented further belongs to the item before it."""
    items: list[str] = []
    for line in found[2].rstrip().split("\n"):
        if line.startswith("     ") and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip())
    return f"{found[1]}:\n\n" + "\n".join(f"- {item}" for item in items) + "\n"
