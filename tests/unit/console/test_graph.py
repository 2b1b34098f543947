"""The drawing of a lineage: nothing lost, nothing on top of another, left to right."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from backplane.console.graph import BOX_HEIGHT, BOX_WIDTH, COLUMN_LIMIT, Box, GraphParts, draw, stem


def box(name: str, agent: str = "", kind: str = "state") -> Box:
    return Box(name, name, "", kind, agent, f"/{name}")


@st.composite
def things(draw_: st.DrawFn) -> GraphParts:
    """Up to 40 things, each resting on some that may themselves rest on it: cycles included."""
    count = draw_(st.integers(1, 40))
    names = [f"n{number}" for number in range(count)]
    edges: dict[str, list[str]] = defaultdict(list)
    for number in range(1, count):
        edges[names[draw_(st.integers(0, number - 1))]].append(names[number])
    for a, b in draw_(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=20)):
        if a != b and b not in edges[a]:
            edges[a].append(b)
    agents = {name: draw_(st.sampled_from(["", "a", "b"])) for name in names}
    return GraphParts({name: box(name, agents[name]) for name in names}, edges)


@given(things())
def test_no_thing_is_lost_and_none_covers_another(given_things: GraphParts) -> None:
    """Every thing is a box, or in one that says how many it holds."""
    drawing = draw(given_things, "n0")
    shown = [one.box for one in drawing.boxes]
    held = sum(int(one.title.split(" ")[0]) for one in shown if one.kind == "fold")

    assert held + sum(one.kind != "fold" for one in shown) == len(given_things.boxes)
    places = {(one.x, one.y) for one in drawing.boxes}
    assert len(places) == len(drawing.boxes)
    for one in drawing.boxes:
        assert one.x + BOX_WIDTH <= drawing.width
        assert one.y + BOX_HEIGHT <= drawing.height
        assert not any(
            other.x == one.x and 0 < abs(other.y - one.y) < BOX_HEIGHT for other in drawing.boxes if other is not one
        )
    assert drawing.boxes[0].box.id == "n0"


@given(things())
def test_lines_lead_to_the_right(given_things: GraphParts) -> None:
    """What a thing rests on stands behind it."""
    for line in draw(given_things, "n0").lines:
        start, end = line[1:].split("C")[0], line.split(" ")
        assert int(start.split(" ")[0]) < int(end[-2])


def test_two_thousand_things_stay_a_drawing() -> None:
    """Folded to a screenful; a fold that is opened shows what fits and keeps the rest in one box."""
    names = [f"note/{number}@1" for number in range(2_000)]
    everything = GraphParts(
        {"root": box("root"), **{name: box(name, "scout") for name in names}}, {"root": list(names)}
    )
    drawing = draw(everything, "root")
    (fold,) = [one.box for one in drawing.boxes if one.box.kind == "fold"]
    opened = draw(everything, "root", [fold.id])

    assert (len(drawing.boxes), drawing.folded) == (2, 1_999)
    assert fold.title == "2000 × note"
    assert len(opened.boxes) == 1 + COLUMN_LIMIT + 1
    assert [one.box.title for one in opened.boxes if one.box.kind == "fold"] == [f"{2_000 - COLUMN_LIMIT} × note"]


def test_titles_of_one_kind_have_one_stem() -> None:
    """Numbers and versions tell neighbours apart, not kinds."""
    assert [stem(title) for title in ("note/17@3", "note@1", "web_search → corpus", "part-12@4", "2024@1")] == [
        *("note", "note", "web_search", "part", "2024@1")
    ]
