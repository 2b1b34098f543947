"""Cost over all runs: by whom, for what, when."""

from __future__ import annotations

import time
from typing import Final, get_args

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.charts import spend_chart
from backplane.console.desk import desk_of
from backplane.console.routes.overview import DAY_S, MICROS
from backplane.insight import figures
from backplane.insight.answers import RECENT_RUNS, By, costs, discarded, runs

router = APIRouter()
SPANS: Final = {"day": (DAY_S, 3_600), "week": (7 * DAY_S, 6 * 3_600), "month": (30 * DAY_S, DAY_S)}
"""Name → seconds back, and seconds of a step."""
BY: Final = get_args(By)


@router.get("/cost")
def show(request: Request, by: str = "agent", span: str = "day") -> Response:
    """The sums of everything, and the course of a day, a week or a month."""
    desk = desk_of(request)
    if by not in BY or span not in SPANS:
        raise HTTPException(400, f"by is one of {', '.join(BY)}; span is one of {', '.join(SPANS)}")
    back, step = SPANS[span]
    now = time.time()
    rows = costs(desk.store, by)  # type: ignore[arg-type]  # looked up in BY
    dear = sorted(runs(desk.store, 500), key=lambda run: -run.cost_nano_usd)[:10]
    return desk.page(
        request,
        "cost.html.j2",
        by=by,
        kinds=BY,
        span=span,
        spans=list(SPANS),
        rows=rows,
        total=sum(row.cost_nano_usd for row in rows),
        wasted=sum(row.wasted_nano_usd for row in rows),
        recent=RECENT_RUNS,
        discarded=sum(call.cost_nano_usd for call in discarded(desk.store)),
        unpriced=sum(row.unpriced for row in rows),
        dear=[run for run in dear if run.cost_nano_usd or run.unpriced],
        chart=spend_chart(figures.spend(desk.store, int((now - back) * MICROS), step), now - back, now, step),
    )
