"""Runs, and one run with its tabs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from agents_sdk.resume import resumed_as
from backplane.console.access import own_form
from backplane.console.chunks import chunks_at
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.listing import CANDIDATES, COLUMNS, ListQuery, amount, listed, moment
from backplane.console.order import beginning, matches
from backplane.console.positions import written
from backplane.console.routes.overview import stored_up_to
from backplane.console.timeline import Axis
from backplane.insight import figures
from backplane.insight.answers import (
    POLL_S,
    By,
    RunRow,
    budgets,
    by_parent,
    costs,
    discarded,
    progress,
    reports,
    runs,
)
from backplane.insight.failure_causes import related
from backplane.insight.postmortem import explain
from backplane.insight.wording import Line, ending

router = APIRouter()
ASKED: Final = ("q", "since", "until", "cost", "sort", "order")
"""Fields of the list's form, besides workflow and status."""
SORTED_RUNS: Final = 200
"""Rows of a list in an order of its own, which has no further page."""
TABS: Final = ("timeline", "events", "lineage", "cost", "state", "messages", "artifacts", "why")
"""The last one where something failed."""
PAGE_RUNS: Final = 50
SEEN_S: Final = 5.0
"""How long a page waits until the store shows what was done; it is shown a moment later otherwise."""
COST_BY: Final[tuple[By, ...]] = ("agent", "capability", "provider", "model", "key")


@router.get("/runs")
def list_runs(request: Request, workflow: str = "", status: str = "", tag: str = "", before: int = 0) -> Response:
    """The newest runs first, a page at a time; or those that are asked for, in the order that is asked for."""
    desk = desk_of(request)
    since = written(stored_up_to(desk))
    given = {name: request.query_params.get(name, "") for name in ASKED}
    asked = _asked(given)
    if asked.plain:
        found = runs(desk.store, PAGE_RUNS + 1, workflow=workflow, status=status, before=before, tag=tag)
        more = found[PAGE_RUNS - 1].started_at if len(found) > PAGE_RUNS else 0
        rows = by_parent(found[:PAGE_RUNS])
    else:
        found = runs(desk.store, CANDIDATES, workflow=workflow, status=status, before=asked.until, tag=tag)
        more, rows = 0, [(0, run) for run in listed(found, asked)[:SORTED_RUNS]]
    return desk.page(
        request,
        "runs.html.j2",
        runs=rows,
        workflow=workflow,
        status=status,
        tag=tag,
        before=before,
        more=more,
        asked=asked,
        given=given,
        looked=len(found) if len(found) == CANDIDATES else 0,
        stream={"since": since} if not before else None,
    )


def _asked(given: dict[str, str]) -> ListQuery:
    """Raises HTTPException where a field says what it cannot say."""
    sort = given["sort"] or "started"
    if sort not in COLUMNS:
        raise HTTPException(400, f"sort is one of {', '.join(COLUMNS)}")
    try:
        return ListQuery(
            given["q"],
            moment(given["since"]),
            moment(given["until"]),
            amount(given["cost"]),
            sort=sort,
            descending=given["order"] != "up",
        )
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


@router.get("/runs/{name}")
def show_run(request: Request, name: str) -> Response:
    """The run's first tab, under its whole id."""
    return RedirectResponse(f"/runs/{desk_of(request).run(name).run_id}/timeline", 303)


@router.post("/runs/{name}/cancel")
async def cancel_run(request: Request, name: str) -> Response:
    """Ends a run that goes on."""
    form = await own_form(request)
    desk = desk_of(request)
    run_id = desk.run(name).run_id
    await asyncio.to_thread(_cancel, desk, run_id, form.get("reason", ""))
    return RedirectResponse(f"/runs/{run_id}/timeline", 303)


@router.post("/runs/{name}/resume")
async def resume_run(request: Request, name: str) -> Response:
    """Goes on from a run that ended, and shows the new one."""
    await own_form(request)
    desk = desk_of(request)
    run_id = desk.run(name).run_id
    resumed = await asyncio.to_thread(_resume, desk, run_id)
    return RedirectResponse(f"/runs/{resumed}/timeline", 303)


def _cancel(desk: ConsoleContext, run_id: str, reason: str) -> None:
    from agents_sdk.blocking import Backplane

    with Backplane.connect(desk.settings, name="console") as backplane:
        backplane.run(run_id).cancel(reason)
    _await(desk, run_id, ended=True)


def _resume(desk: ConsoleContext, run_id: str) -> str:
    from agents_sdk.blocking import Backplane

    with Backplane.connect(desk.settings, name="console") as backplane:
        resumed: str = backplane.resume_run(run_id).id
    _await(desk, resumed, ended=False)
    return resumed


def _await(desk: ConsoleContext, run_id: str, *, ended: bool) -> None:
    """Waits until the store has heard of it, so that the page which follows shows it."""
    deadline = time.monotonic() + SEEN_S
    while time.monotonic() < deadline:
        seen = progress(desk.store, run_id)
        if seen.ended if ended else seen.facts:
            return
        time.sleep(POLL_S)


@router.get("/runs/{name}/{tab}")
def show_tab(request: Request, name: str, tab: str) -> Response:
    """One tab of a run; only the lines from ``from`` on, where htmx asks for a part of the page."""
    desk = desk_of(request)
    if tab not in TABS:
        raise HTTPException(404, f"a run has no tab {tab!r}; there are {', '.join(TABS)}")
    if tab in LISTS and request.headers.get("hx-request-type") == "partial":
        return desk.page(request, "run_chunk.html.j2", tab=tab, run_id=name, **LISTS[tab](desk, request, name))
    run = desk.run(name)
    live = None
    if run.status == "running":
        # where the stream begins is asked before what is shown, so that nothing is missed in between
        stored = stored_up_to(desk)
        run = desk.run(run.run_id)
        live = {"since": written(stored), "run": run.run_id, "tab": tab}
    tabs = TABS if run.failures or run.status in ("failed", "cancelled") or tab == "why" else TABS[:-1]
    if not (live and tab == "events"):
        made = LISTS[tab](desk, request, run.run_id) if tab in LISTS else MAKERS[tab](desk, request, run)
    else:
        begun = beginning(desk.events(run.run_id), stored, int(time.time() * 1e6))
        live |= {"since": written(begun.following), "after": str(begun.shown), **_asked_events(request)}
        made = _events(desk, request, run.run_id, begun.shown)
    return desk.page(
        request,
        f"run_{tab}.html.j2",
        ends=figures.ends(desk.store, run.run_id),
        run=run,
        run_id=run.run_id,
        tab=tab,
        tabs=tabs,
        stream=live,
        keys=_outputs(desk, run),
        resumed=_resumed(desk, run),
        **made,
    )


def _resumed(desk: ConsoleContext, run: RunRow) -> str:
    """The run that goes on from this one; empty while there is none."""
    if run.status not in ("failed", "cancelled"):
        return ""
    return next((found.run_id for found in runs(desk.store, 1, resumed_as(run.run_id))), "")


def _outputs(desk: ConsoleContext, run: RunRow) -> list[figures.Key]:
    """The keys that were written last: people ask about these first."""
    return [key for key in figures.keys(desk.store, run.run_id, limit=50) if not key.deleted][:4]


def _timeline(desk: ConsoleContext, request: Request, run: str) -> dict[str, Any]:
    story = desk.story(run)
    lines = story.lines
    chunks = chunks_at(request.query_params.get("from", ""), len(lines))
    return {
        "rows": _rows(lines[chunks.here], story.axis, lines[chunks.start - 1].at if chunks.start else 0),
        "chunks": chunks,
        "began": lines[0].at if lines else 0,
        "ticks": _ticks(story.axis),
    }


def _rows(lines: Sequence[Line], scale: Axis, since: int) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        gap = scale.gap_before(line.at, since) if since else None
        begin = scale.place(line.at)
        length = scale.place(line.at + (line.duration_us or 0)) - begin
        rows.append({"line": line, "gap": gap, "x": round(begin, 2), "width": round(max(length, 2.0), 2)})
        since = line.at
    return rows


def _ticks(scale: Axis) -> list[dict[str, Any]]:
    """Where the stretches that were cut short lie."""
    return [{"x": round(scale.place(gap.start), 2), "end": round(scale.place(gap.end), 2)} for gap in scale.gaps]


def _events(desk: ConsoleContext, request: Request, run: str, until: int = 0) -> dict[str, Any]:
    """``until``: the number of the last fact on a page that a stream goes on from; 0: what the address says, or all."""
    asked = _asked_events(request)
    until = until or _number(request.query_params.get("until", ""))
    every = [event for event in desk.events(run) if not until or event.run_seq <= until]
    found = [event for event in every if matches(event, **asked)] if any(asked.values()) else every
    chunks = chunks_at(request.query_params.get("from", ""), len(found))
    return {
        "events": found[chunks.here],
        "chunks": chunks,
        "asked": asked | ({"until": until} if until else {}),
        "kinds": sorted({event.kind for event in every}),
        "agents": sorted({event.agent for event in every if event.agent}),
    }


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _asked_events(request: Request) -> dict[str, str]:
    return {name: request.query_params.get(name, "") for name in ("kind", "agent", "q")}


def _lineage(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    from backplane.console.routes.lineage import drawn_run

    return drawn_run(desk, request, run.run_id)


def _cost(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    tree = request.query_params.get("tree") == "1"
    by = {name: costs(desk.store, name, run.run_id, tree=tree) for name in COST_BY}
    total = sum(row.cost_nano_usd for row in by["agent"])
    wasted = sum(row.wasted_nano_usd for row in by["agent"])
    purses = budgets(desk.store, run.run_id)
    return {
        "by": by,
        "purses": purses,
        "total_cost": total,
        "wasted": wasted,
        "discarded": sum(call.cost_nano_usd for call in discarded(desk.store, run.run_id, tree=tree)),
        "tree": tree,
        "unpriced": _unpriced(by["agent"]),
    }


def _unpriced(rows: Sequence[Any]) -> int:
    return sum(row.unpriced for row in rows)


def _state(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    return {"found": figures.keys(desk.store, run.run_id)}


def _messages(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    # the first fact of a message is the one that sent it
    sent = {event.message_id: event.event_id for event in reversed(desk.events(run.run_id)) if event.message_id}
    return {"deliveries": figures.deliveries(desk.store, run.run_id), "sent": sent}


def _artifacts(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    facts = {event.run_seq: event.event_id for event in desk.events(run.run_id)}
    found: dict[str, dict[str, Any]] = {}
    for output in figures.outputs(desk.store, run.run_id):
        for one in desk.files.previews(output.text):
            found.setdefault(one.href, {"preview": one, "output": output, "fact": facts.get(output.run_seq, "")})
    return {"found": list(found.values())}


def _why(desk: ConsoleContext, request: Request, run: RunRow) -> dict[str, Any]:
    events = related(run.run_id, desk.events)
    found = explain(run.run_id, events, reports(desk.store, sorted({event.run_id for event in events})))
    return {"found": found, "ended": ending(run.status, found)}


LISTS: Final = {"timeline": _timeline, "events": _events}
"""Tabs that come in chunks."""
MAKERS: Final = {
    "lineage": _lineage,
    "cost": _cost,
    "state": _state,
    "messages": _messages,
    "artifacts": _artifacts,
    "why": _why,
}
