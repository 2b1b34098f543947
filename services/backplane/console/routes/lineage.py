"""Where a value came from: one hop a page, with the whole way drawn below."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from agents_sdk.core import kinds
from agents_sdk.core.artifacts import digest
from backplane.console import graph
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.provenance import Hop, folded, hops, provenance_of
from backplane.console.render import link, path
from backplane.insight import figures
from backplane.insight.answers import Archive, Event
from backplane.insight.artifacts import made
from backplane.insight.impact import Impact
from backplane.insight.lineage import Lineage, Node

router = APIRouter()
DEPTH: Final = 3
"""Hops that are drawn at first; each click adds two."""
MAX_DEPTH: Final = 60
VERIFIED: Final = 100
"""Hops that are read in Kafka for one page; `backplane lineage RUN KEY --verify` reads them all."""
FACT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AFTER: Final = 50
"""Readers of a value that are shown; `backplane lineage RUN KEY --down` tells all."""


@router.get("/lineage")
def start(request: Request, q: str = "") -> Response:
    """Places to begin: the values that were written last, or those whose key holds the text. An artifact or the id of a
    fact leads to its own walk."""
    desk = desk_of(request)
    if where := _of_id(desk, q.strip()):
        return RedirectResponse(where, 303)
    return desk.page(request, "lineage_start.html.j2", found=figures.keys(desk.store, text=q, limit=60), q=q)


def _of_id(desk: ConsoleContext, text: str) -> str:
    """The walk from an artifact, or from a fact; empty where the text is neither."""
    if sha256 := digest(text):
        found = made(desk.store, sha256=sha256, limit=1)
        return link(path("lineage", found[0].run_id), fact=found[0].event_id) if found else ""
    run_id = Archive(desk.store).run_of(text) if FACT_ID.fullmatch(text) else ""
    return link(path("lineage", run_id), fact=text) if run_id else ""


@router.get("/lineage/{name}")
def walk(
    request: Request, name: str, key: str = "", version: int = 0, fact: str = "", find: str = "", verify: int = 0
) -> Response:
    """The grounds and consequences of one version of a key, or of a message or another ``fact``."""
    desk = desk_of(request)
    run = desk.run(name)
    events = desk.events(run.run_id)
    known = Lineage(events, Archive(desk.store))
    root = known.up_from(fact) if fact else known.up(key, version)
    if root is None:
        there = ", ".join(known.keys()) or "nothing"
        wanted = f"has no fact {fact!r}" if fact else f"never wrote {key!r}"
        raise HTTPException(404, f"run {run.run_id} {wanted}; it wrote {there}")
    assert root.event is not None
    below = Impact(events)
    after = below.of_event(fact) if fact else below.of_state(root.event.key, root.event.version)
    found = hops(root, run.run_id)
    checks, problem = _checked(desk, root.event, found) if verify else (None, "")
    return desk.page(
        request,
        "lineage.html.j2",
        run=run,
        node=root,
        says=_says(desk, run.run_id, root),
        find=find,
        provenance=provenance_of(root, run.run_id),
        hops=folded(found),
        checks=checks,
        problem=problem,
        verify=link(request.url.path, key=key, version=version, fact=fact, find=find, verify=1),
        after=_after(after, run.run_id),
        **_drawing(request, root, run.run_id),
    )


def _says(desk: ConsoleContext, run_id: str, root: Node) -> str:
    """The value of a version; the beginning of what another fact holds."""
    event = root.event
    assert event is not None
    if not root.state:
        return event.body
    versions = figures.versions(desk.store, run_id, event.key)
    return next((one.value for one in versions if one.version == event.version), "")


def _checked(desk: ConsoleContext, root: Event, found: list[Hop]) -> tuple[dict[str, str] | None, str]:
    """Fact → its differences in Kafka, empty where there is none; or why they cannot be found."""
    from confluent_kafka import KafkaException

    from agents_sdk.errors import BackplaneError
    from backplane.insight.verify import verify

    events = [root, *(hop.event for hop in found[:VERIFIED] if hop.event)]
    try:
        return {one.event.event_id: one.problem for one in verify(events, desk.settings.kafka, desk.codec)}, ""
    except (KafkaException, BackplaneError) as error:
        return None, f"Kafka cannot be asked: {getattr(error, 'message', error)}"


def _after(below: Node | None, run_id: str) -> list[tuple[Hop, list[Hop]]]:
    """Its readers and receivers, and the later acts of each."""
    readers = below.rests_on[:AFTER] if below else []
    return [(hop, hops(node, run_id)) for node, hop in zip(readers, hops(_only(readers), run_id), strict=True)]


def _only(nodes: list[Node]) -> Node:
    return Node(relation="", event=None, rests_on=nodes)


def drawn_run(desk: ConsoleContext, request: Request, run_id: str) -> dict[str, Any]:
    """The way to the value that was written last, or to the one that is asked for."""
    known = Lineage(desk.events(run_id), Archive(desk.store))
    last = [key for key in figures.keys(desk.store, run_id, limit=1_000) if not key.deleted]
    key = request.query_params.get("key", "") or (last[0].key if last else "")
    root = known.up(key)
    if root is None:
        return {"node": None, "choices": last, "key": key, "provenance": None}
    return {
        "node": root,
        "choices": last[:200],
        "key": key,
        "provenance": provenance_of(root, run_id),
        **_drawing(request, root, run_id),
    }


def _drawing(request: Request, root: Node, run_id: str) -> dict[str, Any]:
    text = request.query_params.get("depth", "")
    depth = min(int(text) if text.isdecimal() else DEPTH, MAX_DEPTH)
    opened = tuple(part for part in request.query_params.get("open", "").split(",") if part)
    shallow, hidden = _within(root, depth)
    boxes = {graph.identity(node): _box(node, run_id) for node in _all(shallow)}
    things = graph.gathered(shallow, boxes)
    drawing = graph.draw(things, graph.identity(shallow), opened)
    given = dict(request.query_params)
    where = request.url.path

    def folded(identifier: str) -> str:
        """Where the fold is open; one that is open already holds what has no room."""
        return (
            "" if identifier in opened else link(where, **{**given, "open": ",".join((*opened, identifier))}) + "#graph"
        )

    return {
        "drawing": drawing,
        "fold_link": folded,
        "hidden": hidden,
        "deeper": link(where, **{**given, "depth": depth + 2}) + "#graph",
        "less": link(where, **{**given, "depth": max(1, depth - 2)}) + "#graph" if depth > DEPTH else "",
        "close_all": link(where, **{**given, "open": ""}) + "#graph" if opened else "",
    }


def _within(root: Node, depth: int) -> tuple[Node, int]:
    """The tree down to ``depth``, and how many nodes lie below."""
    hidden = 0

    def copied(node: Node, left: int) -> Node:
        nonlocal hidden
        kept = Node(relation=node.relation, event=node.event, agent=node.agent, state=node.state, run_id=node.run_id)
        # attempts belong to their call: they are shown with it, whatever the depth
        if left > 0 or node.relation == "called":
            kept.rests_on = [copied(child, left - 1) for child in node.rests_on]
        else:
            hidden += sum(1 for child in node.rests_on for _ in _all(child))
        return kept

    return copied(root, depth), hidden


def _all(root: Node) -> list[Node]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(node.rests_on)
    return found


KINDS: Final = {
    "decided": "decision",
    "called": "call",
    "given": "call",
    "tried": "attempt",
    "delegated": "run",
    "started": "run",
    "wrote": "state",
    "read": "state",
}


def _box(node: Node, run_id: str) -> graph.Box:
    hop = hops(_only([node]), run_id)[0]
    kind = KINDS.get(node.relation, "message")
    failed = node.event is not None and node.event.kind in (
        kinds.ATTEMPT_FAILED,
        kinds.CALL_FAILED,
        kinds.REQUEST_FAILED,
    )
    detail = f"by {node.agent}" if node.agent else hop.detail
    return graph.Box(graph.identity(node), hop.what, detail, kind, node.agent, hop.href, "bad" if failed else "")
