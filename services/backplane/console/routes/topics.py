"""Topics, and what lies in them, decoded."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.desk import desk_of
from backplane.console.log import Ends, LogRecord, at_time, ends, read_page

router = APIRouter()
PAGE: Final = 50


@router.get("/topics")
def list_topics(request: Request) -> Response:
    """All topics on the broker, and what their files say."""
    from agents_sdk.wire.topic_files import find
    from agents_sdk.wire.topics_admin import existing

    desk = desk_of(request)
    rows = []
    for name, one in sorted(existing(desk.admin, desk.settings).items()):
        try:
            described = find(name)
        except LookupError:
            continue
        rows.append((name, one, described))
    return desk.page(request, "topics.html.j2", rows=rows)


@router.get("/topics/{topic}")
def show_topic(
    request: Request, topic: str, partition: int = -1, offset: int = -1, at: str = "", q: str = ""
) -> Response:
    """Records of one partition, up to an offset or from a time on; the newest by default."""
    from agents_sdk.wire.topic_files import find

    desk = desk_of(request)
    try:
        described = find(topic)
    except LookupError as error:
        raise HTTPException(404, str(error)) from error
    marks = ends(desk.settings, topic)
    chosen = _chosen(marks, partition)
    records: list[LogRecord] = []
    start = stop = 0
    if chosen is not None:
        start, stop = _span(desk.settings, topic, chosen, offset, at)
        records = read_page(desk.settings, desk.codec, topic, chosen.partition, start, stop)
    shown = [(one, _text(one)) for one in reversed(records)]
    return desk.page(
        request,
        "topic.html.j2",
        topic=described,
        name=topic,
        marks=marks,
        chosen=chosen,
        records=[(one, text) for one, text in shown if not q or q.lower() in f"{one.key} {text}".lower()],
        start=start,
        stop=stop,
        page=PAGE,
        asked={"offset": offset, "at": at, "q": q},
    )


def _chosen(marks: list[Ends], partition: int) -> Ends | None:
    """The partition that is asked for, else the one with the most records."""
    if partition >= 0:
        found = next((one for one in marks if one.partition == partition), None)
        if found is None:
            raise HTTPException(404, f"the topic has no partition {partition}; it has {len(marks)}")
        return found
    return max(marks, key=lambda one: one.high - one.low, default=None)


def _span(settings: Any, topic: str, chosen: Ends, offset: int, at: str) -> tuple[int, int]:
    """[start, stop) of what is shown."""
    if at:
        first = at_time(settings, topic, chosen.partition, _milliseconds(at))
        start = chosen.high - PAGE if first is None else first
    else:
        start = offset if offset >= 0 else chosen.high - PAGE
    start = min(max(start, chosen.low), max(chosen.low, chosen.high - 1))
    return start, min(start + PAGE, chosen.high)


def _milliseconds(text: str) -> int:
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise HTTPException(400, f"{text!r} is no time; write 2026-11-24T12:00:00, in UTC") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _text(one: LogRecord) -> str:
    if one.record is None:
        return ""
    values = msgspec.to_builtins(one.record)
    said = {name: value for name, value in values.items() if value not in ("", 0, False, None, [])}
    return json.dumps(said, indent=2, ensure_ascii=False, default=str)
