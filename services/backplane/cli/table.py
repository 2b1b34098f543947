r"""Tables on a terminal: columns that fit, and ids whole.

Where the columns have no room side by side, the least needed are left out. Where even those do not fit, each row is
written as a block of lines, as psql does with ``\x auto``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from backplane.cli.data_text import Text
from backplane.cli.shown import escaped

ID: Final = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32,64}|\S+/\d+/\d+|artifact:\S+")
"""Values that people copy from a table into the next command: ids of ours, hashes, places in a topic."""
GAP: Final = 2
"""Blanks between two columns."""
LEAST: Final = 8
"""Characters a column of text needs, to be read at all."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], narrow: Sequence[str] = ()) -> None:
    """Prints rows of a person's terminal; ``narrow``: the columns that matter most."""
    console = Console(highlight=False, markup=False, emoji=False)
    chosen = _fitting(columns, rows, narrow, console.width)
    if not chosen:
        _print_blocks(console, columns, rows)
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for index in chosen:
        whole = _ids(index, rows)
        table.add_column(Text(columns[index]), no_wrap=whole, overflow="ignore" if whole else "fold")
        table.columns[-1].min_width = _least(index, columns, rows)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in chosen))
    console.print(table)
    if left_out := [name for index, name in enumerate(columns) if index not in chosen]:
        console.print(Text(f"not shown for want of room: {', '.join(left_out)} (a wider window, or --json)", "dim"))


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], narrow: Sequence[str], width: int) -> list[int]:
    """The columns that are shown, by number; none: they do not fit side by side."""
    every = list(range(len(columns)))
    for tried in (every, [index for index in every if columns[index] in narrow]):
        if tried and sum(_least(index, columns, rows) + GAP for index in tried) - GAP <= width:
            return tried
    return []


def _ids(index: int, rows: Sequence[Sequence[str]]) -> bool:
    return any(ID.fullmatch(row[index]) for row in rows)


def _least(index: int, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Characters that the column needs: all of an id, else enough to be read."""
    longest = max((len(escaped(row[index])) for row in rows), default=0)
    return max(longest if _ids(index, rows) else min(longest, LEAST), min(len(columns[index]), LEAST))


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    wide = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, cell in zip(columns, row, strict=True):
            line = Text(f"{name:<{wide}}  ", "bold").append(cell, "not bold")
            console.print(
                line,
                overflow="fold" if not ID.fullmatch(cell) else "ignore",
                no_wrap=bool(ID.fullmatch(cell)),
                crop=False,
            )
