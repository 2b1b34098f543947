"""Where a value came from: one hop a page, with the whole way drawn below."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from services.console import graph
from services.console.desk import Desk, desk_of
from services.console.provenance import Hop, hops, told
from services.console.render import link
from services.sink import figures
from services.sink.answers import Archive
from services.sink.blast import Blast
from services.sink.lineage import Lineage, Node

router = APIRouter()
DEPTH: Final = 3
"""Hops that are drawn at first; each click adds two."""
MAX_DEPTH: Final = 60
AFTER: Final = 50
"""Readers of a value that are shown; `backplane lineage RUN KEY --down` tells all."""


@router.get("/lineage")
def start(request: Request, q: str = "") -> Response:
    """Where to begin: the values that were written last, or those whose key holds the text."""
    desk = desk_of(request)
    return desk.page(request, "lineage_start.html.j2", found=figures.keys(desk.store, text=q, limit=60), q=q)


@router.get("/lineage/{name}")
def walk(request: Request, name: str, key: str = "", version: int = 0, find: str = "") -> Response:
    """What one version of a key rests on, and what rests on it."""
    desk = desk_of(request)
    run = desk.run(name)
    known = Lineage(desk.events(run.run_id), Archive(desk.store))
    root = known.up(key, version)
    if root is None:
        there = ", ".join(known.keys()) or "nothing"
        raise HTTPException(404, f"run {run.run_id} never wrote {key!r}; it wrote {there}")
    assert root.event is not None
    texts = figures.versions(desk.store, run.run_id, root.event.key)
    value = next((one for one in texts if one.version == root.event.version), None)
    return desk.page(
        request,
        "lineage.html.j2",
        run=run,
        node=root,
        value=value,
        find=find,
        told=told(root, run.run_id),
        hops=hops(root, run.run_id),
        after=_after(desk, run.run_id, root),
        **_drawing(request, root, run.run_id),
    )


def _after(desk: Desk, run_id: str, root: Node) -> list[tuple[Hop, list[Hop]]]:
    """Who read this version, and what each did afterwards."""
    assert root.event is not None
    below = Blast(desk.events(run_id)).of_state(root.event.key, root.event.version)
    readers = below.rests_on[:AFTER] if below else []
    return [(hop, hops(node, run_id)) for node, hop in zip(readers, hops(_only(readers), run_id), strict=True)]


def _only(nodes: list[Node]) -> Node:
    return Node(relation="", event=None, rests_on=nodes)


def drawn_run(desk: Desk, request: Request, run_id: str) -> dict[str, Any]:
    """The way to the value that was written last, or to the one that is asked for."""
    known = Lineage(desk.events(run_id), Archive(desk.store))
    last = [key for key in figures.keys(desk.store, run_id, limit=1_000) if not key.deleted]
    key = request.query_params.get("key", "") or (last[0].key if last else "")
    root = known.up(key)
    if root is None:
        return {"node": None, "choices": last, "key": key, "told": None}
    return {
        "node": root,
        "choices": last[:200],
        "key": key,
        "told": told(root, run_id),
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
    "tried": "attempt",
    "delegated": "run",
    "started": "run",
    "wrote": "state",
    "read": "state",
}


def _box(node: Node, run_id: str) -> graph.Box:
    hop = hops(_only([node]), run_id)[0]
    kind = KINDS.get(node.relation, "message")
    failed = node.event is not None and node.event.kind in ("AttemptFailed", "CallFailed", "RequestFailed")
    detail = f"by {node.agent}" if node.agent else hop.detail
    return graph.Box(graph.identity(node), hop.what, detail, kind, node.agent, hop.href, "bad" if failed else "")
