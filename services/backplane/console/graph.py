"""The grounds of a value, as boxes and lines: gathered from the tree of ``backplane.insight.lineage``, folded, laid
out.

Boxes stand in columns, the value in question on the left, its grounds to its right. The order within a column is the
mean of the neighbours' places (Sugiyama's barycentre heuristic). The columns are rustworkx's topological generations.
More than a few boxes of one kind and agent in one column are folded to one. It names how many it holds and opens when
asked. Pure. Laws: every box but the first has a line to it from a column before; folding loses no box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import rustworkx

from backplane.insight.lineage import Node

BOX_WIDTH: Final = 208
BOX_HEIGHT: Final = 46
COLUMN_GAP: Final = 56
ROW_GAP: Final = 14
MARGIN: Final = 12
VIEW_HEIGHT: Final = 680
"""The visible part of a drawing at first; short columns stand in the middle of that, so that the value is in sight."""
FOLD_ABOVE: Final = 4
"""Boxes of one kind and agent in one column, above which they are folded."""
COLUMN_LIMIT: Final = 40
"""Boxes that are drawn in one column, opened or not; the rest are one more box. The rest can be read."""
SWEEPS: Final = 6


class Box(NamedTuple):
    """One thing, before it has a place."""

    id: str
    title: str
    detail: str
    kind: str
    """state, decision, call, attempt, message, run or fold."""
    agent: str
    href: str
    tone: str = ""


class PlacedBox(NamedTuple):
    """A box with its place."""

    box: Box
    x: int
    y: int


@dataclass(frozen=True)
class GraphLayout:
    """Boxes and lines in a space of width × height."""

    width: int
    height: int
    boxes: list[PlacedBox]
    lines: list[str]
    """SVG paths."""
    folded: int
    """Boxes that are within others."""


@dataclass
class GraphParts:
    """Every thing once, and which rests on which."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Box → boxes that it rests on."""


def gathered(root: Node, box_of: Mapping[str, Box]) -> GraphParts:
    """The tree's nodes by their ids, things that stand in several places joined."""
    found = GraphParts()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        found.boxes.setdefault(identity(node), box_of[identity(node)])
        for child in node.rests_on:
            if identity(child) not in found.edges[identity(node)]:
                found.edges[identity(node)].append(identity(child))
            waiting.append(child)
    return found


def identity(node: Node) -> str:
    """One for each thing: its fact, or the version whose fact is not known."""
    return node.event.event_id if node.event else node.state


def draw(things: GraphParts, root: str, opened: Collection[str] = ()) -> GraphLayout:
    """The boxes laid out from ``root``; ``opened`` are ids of folds that are not to be folded."""
    things = _acyclic(things, root)
    columns = _columns(things, root)
    column_of = {box: number for number, boxes in enumerate(columns) for box in boxes}
    folds = _folds(things, column_of, opened)
    shown = {box: folds.get(box, things.boxes[box]).id for box in things.boxes}
    boxes = {shown[box]: folds.get(box, things.boxes[box]) for box in things.boxes}
    rows: dict[int, list[str]] = defaultdict(list)
    for box, number in column_of.items():
        if shown[box] not in rows[number]:
            rows[number].append(shown[box])
    edges = {(shown[a], shown[b]) for a, others in things.edges.items() for b in others if shown[a] != shown[b]}
    ordered = _ordered([rows[number] for number in sorted(rows)], edges)
    return _placed(ordered, boxes, edges, sum(1 for box in things.boxes if box in folds) - len(set(folds.values())))


def _acyclic(things: GraphParts, root: str) -> GraphParts:
    """Without the lines that lead back to what they come from: requests and answers may name each other."""
    kept = GraphParts({}, defaultdict(list))
    state: dict[str, int] = {}
    stack: list[tuple[str, int]] = [(root, 0)]
    while stack:
        box, index = stack.pop()
        if index == 0:
            state[box] = 1
            kept.boxes[box] = things.boxes[box]
        others = things.edges.get(box, [])
        if index == len(others):
            state[box] = 2
            continue
        stack.append((box, index + 1))
        other = others[index]
        if state.get(other) != 1:
            kept.edges[box].append(other)
            if other not in state:
                stack.append((other, 0))
    return kept


def _columns(things: GraphParts, root: str) -> list[list[str]]:
    graph: rustworkx.PyDiGraph[str, None] = rustworkx.PyDiGraph()
    index = dict(zip(things.boxes, graph.add_nodes_from(list(things.boxes)), strict=True))
    graph.add_edges_from([(index[a], index[b], None) for a, others in things.edges.items() for b in others])
    # in the order in which the things were found: within a generation rustworkx has its own
    return [[graph[node] for node in sorted(generation)] for generation in rustworkx.topological_generations(graph)]


def _folds(things: GraphParts, column_of: Mapping[str, int], opened: Collection[str]) -> dict[str, Box]:
    """Box → the fold it is in, for those that are in one."""
    groups: dict[tuple[int, str, str, str], list[Box]] = defaultdict(list)
    for name, box in things.boxes.items():
        groups[column_of[name], box.kind, box.agent, stem(box.title)].append(box)
    folds: dict[str, Box] = {}
    for (column, kind, agent, word), boxes in groups.items():
        identifier = f"{column}.{kind}.{agent}.{word}"
        start = (COLUMN_LIMIT if identifier in opened else 0) if len(boxes) > FOLD_ABOVE else len(boxes)
        if len(boxes) - start > 1:
            tone = "bad" if any(box.tone == "bad" for box in boxes[start:]) else ""
            fold = Box(
                identifier, f"{len(boxes) - start} × {word}", f"by {agent}" if agent else "", "fold", agent, "", tone
            )
            folds |= {box.id: fold for box in boxes[start:]}
    return folds


def stem(title: str) -> str:
    """The common part of titles of one kind: ``note/17@3`` and ``note/4@1`` are both ``note``."""
    return title.split("@", 1)[0].split("/", 1)[0].split(" ", 1)[0].rstrip("0123456789-_.") or title


def _ordered(columns: list[list[str]], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for a, b in sorted(edges):
        after[a].append(b)
        before[b].append(a)
    place = {box: float(index) for column in columns for index, box in enumerate(column)}
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for column in columns if sweep % 2 == 0 else reversed(columns):
            mean = {
                box: sum(place[other] for other in near) / len(near) if (near := neighbours[box]) else place[box]
                for box in column
            }
            column.sort(key=lambda box: (mean[box], place[box]))
            place.update({box: float(index) for index, box in enumerate(column)})
    return columns


def _placed(
    columns: list[list[str]], boxes: Mapping[str, Box], edges: Iterable[tuple[str, str]], folded: int
) -> GraphLayout:
    tallest = max((len(column) for column in columns), default=1)
    height = tallest * (BOX_HEIGHT + ROW_GAP) - ROW_GAP
    at: dict[str, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        top = max(0, (min(height, VIEW_HEIGHT) - (len(column) * (BOX_HEIGHT + ROW_GAP) - ROW_GAP)) // 2)
        for row, box in enumerate(column):
            at[box] = MARGIN + number * (BOX_WIDTH + COLUMN_GAP), MARGIN + top + row * (BOX_HEIGHT + ROW_GAP)
    lines = [_line(at[a], at[b]) for a, b in sorted(edges)]
    width = len(columns) * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP + 2 * MARGIN
    return GraphLayout(
        width, height + 2 * MARGIN, [PlacedBox(boxes[box], *place) for box, place in at.items()], lines, folded
    )


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + BOX_HEIGHT // 2
    bend = max(24, (x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def cut(text: str, limit: int) -> str:
    """The beginning of a text that has to fit a box."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
