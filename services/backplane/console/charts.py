"""Series as a browser's chart takes them, and as a table for a reader without scripts. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from backplane.insight.figures import Spend

NANO_PER_USD = 1_000_000_000


class Chart(NamedTuple):
    """One chart: ``data`` for uPlot, JSON of columns, the first of them seconds."""

    data: str
    unit: str
    total: int
    rows: list[Spend]


def spend_chart(rows: Sequence[Spend], start: float, end: float, step_s: int) -> Chart:
    """Spend in USD and attempts over time, with nothing for the steps in which nobody was asked."""
    by_time = {row.at: row for row in rows}
    first = int(start // step_s * step_s)
    times = list(range(first, int(end) + 1, step_s))
    usd = [by_time[at].cost_nano_usd / NANO_PER_USD if at in by_time else None for at in times]
    return Chart(json.dumps([times, usd]), "USD", sum(row.cost_nano_usd for row in rows), list(rows))
