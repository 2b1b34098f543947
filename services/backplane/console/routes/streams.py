"""The live stream of a page, and one fact as a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from backplane.console import live
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.order import InOrder, matches
from backplane.console.positions import mark, read, read_mark
from backplane.console.render import environment
from backplane.insight import figures
from backplane.insight.tail import BODIES, Tail, event_of
from backplane.sink.fence import Place
from backplane.sink.rows import Record

router = APIRouter()
GROUP: Final = "bp.console"


@router.get("/live")
async def stream(
    request: Request, run: str = "", since: str = "", after: int = 0, tab: str = "", kind: str = "", agent: str = "",
    q: str = "",
) -> Response:  # fmt: skip
    """Facts from ``since`` on, or from where the browser was when its stream broke. The page shows those up to the one
    numbered ``after``; ``kind``, ``agent`` and ``q`` choose among the others as they do on the page."""
    desk = desk_of(request)
    at = request.headers.get("last-event-id", "")
    try:
        if tab == "events" and run:
            shown, following = read_mark(at) if at else (after, read(since))
            rows: live.Rows = EventRows(run, shown, kind=kind, agent=agent, q=q)
        else:
            following, rows = read(at or since), live.NoRows()
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if request.state.principal.restricted:
        if not run:
            raise HTTPException(403, "a stream of all runs shows more than those of your workflows")
        await asyncio.to_thread(desk.run, run)  # UnknownRun for one that is not shown
    desk = request.app.state.desks.all
    if len(desk.streams) >= live.STREAMS:
        raise HTTPException(503, f"{live.STREAMS} streams are open already; close a window")
    # its place is taken before anything is waited for: many may ask at once
    place = id(rows)
    desk.streams.add(place)
    try:
        tail = await asyncio.to_thread(lambda: Tail(desk.settings, desk.codec, following or None, run, group=GROUP))
    except BaseException:
        desk.streams.discard(place)
        raise
    return _Stream(desk, place, tail, rows)


class _Stream(StreamingResponse):
    """Gives its place back and closes its reader however it ends, also before its first event."""

    def __init__(self, desk: ConsoleContext, place: int, tail: Tail, rows: live.Rows) -> None:
        super().__init__(live.events(tail, rows), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._desk, self._place, self._tail = desk, place, tail
        self._rows = rows  # lives as long as its id is a place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The stream, to its end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._desk.streams.discard(self._place)
            await asyncio.shield(asyncio.to_thread(self._tail.close))


class EventRows:
    """Rows of the list of a run's events, in the order of the run."""

    def __init__(self, run: str, shown: int, **asked: str) -> None:
        """``shown``: the number of the last fact on the page; ``asked``: as ``matches`` takes it."""
        self._run = run
        self._order = InOrder(shown)
        self._asked = asked

    def html(self, records: list[Record], now: float) -> str:
        """The rows that are next."""
        events = [event_of(one) for one in self._order.take(records, now)]
        chosen = [event for event in events if matches(event, **self._asked)]
        if not chosen:
            return ""
        return environment().get_template("live_events.html.j2").render(events=chosen, run_id=self._run)

    def mark(self, following: Mapping[Place, int]) -> str:
        """The last fact that was shown, and where the reader is."""
        return mark(self._order.shown, self._order.following(following))


@router.get("/events/{topic}/{partition}/{offset}")
def show_event(request: Request, topic: str, partition: int, offset: int, kafka: int = 0) -> Response:
    """One fact: all its fields as the store has them, and if asked whether Kafka has the same."""
    desk = desk_of(request)
    found = figures.record(desk.store, topic, partition, offset)
    if found is None:
        raise HTTPException(404, f"the store has no record {topic}[{partition}]@{offset}")
    bodies = {
        name: str(found.pop(name)) for name in (*BODIES, "operand", "schema", "detail", "traceback") if name in found
    }
    return desk.page(
        request,
        "event.html.j2",
        fields={name: _shown(value) for name, value in found.items() if _says(value)},
        bodies=bodies,
        event={**BLANK, **found},
        kafka=_in_kafka(desk, topic, partition, offset, str(found.get("event_id", ""))) if kafka else None,
    )


BLANK: Final = {"run_id": "", "run_seq": 0, "event_id": "", "kind": "", "key": "", "version": 0}
"""The fields that the page names, for a fact without them: a refusal about no run has no run."""


def _says(value: Any) -> bool:
    return not (hasattr(value, "year") and value.year == 1970)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _in_kafka(desk: Any, topic: str, partition: int, offset: int, event_id: str) -> dict[str, Any]:
    """The record that Kafka has at that place."""
    from agents_sdk.errors import BackplaneError
    from backplane.console.log import read_one

    try:
        one = read_one(desk.settings, desk.codec, topic, partition, offset)
    except BackplaneError as error:
        return {"said": error.message, "same": None, "json": ""}
    if one is None:
        return {"said": "Kafka has no record there any more: its retention is over", "same": None, "json": ""}
    same = getattr(one.record, "event_id", None) == event_id
    text = json.dumps(msgspec.to_builtins(one.record), indent=2, ensure_ascii=False) if one.record else ""
    return {"said": "the same fact" if same else "another record", "same": same, "json": text}
