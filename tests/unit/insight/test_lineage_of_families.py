"""Where a value came from, through child runs, parents and memories."""

from __future__ import annotations

from backplane.insight.lineage import Lineage, Node
from tests.support.family_story import CHECK, EDIT, LESSONS, TEACH, Remembered, events_of, family

KNOWN = Remembered(events_of(family()))


def told(node: Node) -> list[str]:
    """The tree in lines: how deep, what, and in which run where that changes."""
    event = node.event
    what = node.state or (event.capability or event.kind if event is not None else "")
    line = f"{node.relation} {what}{f' in {node.run_id[-1]}' if node.run_id and node.run_id != LESSONS else ''}"
    return [line, *(f"  {below}" for child in node.rests_on for below in told(child))]


def test_a_value_rests_on_its_childs_work_and_on_what_another_run_taught() -> None:
    """Every hop, in whichever run it happened."""
    root = Lineage(KNOWN.events(EDIT), KNOWN).up("article")
    assert root is not None
    assert told(root) == [
        "wrote article@1",
        "  read memory/lessons/tone@1",
        "    called web_search in a",
        "      tried web_search",
        "    triggered RunStarted in a",
        "  delegated ChildEnded",
        "    called document_search in c",
        "      tried document_search",
        "    triggered RunStarted in c",
        "  triggered RunStarted",
    ]


def test_a_childs_value_rests_on_what_its_parent_had_read() -> None:
    """Up through the start of the run."""
    root = Lineage(KNOWN.events(CHECK), KNOWN).up("verdict")
    assert root is not None
    assert told(root) == [
        "wrote verdict@1",
        "  called document_search",
        "    tried document_search",
        "  triggered RunStarted",
        "    started ChildStarted in b",
        "      read memory/lessons/tone@1",
        "        called web_search in a",
        "          tried web_search",
        "        triggered RunStarted in a",
        "      triggered RunStarted",
    ]


def test_alone_a_run_is_walked_to_its_bounds() -> None:
    """What the demo and users' own tests do."""
    root = Lineage(KNOWN.events(EDIT)).up("article")
    assert root is not None
    assert told(root) == ["wrote article@1", "  delegated ChildEnded", "  triggered RunStarted"]


def test_a_memory_is_walked_like_a_run() -> None:
    """Its values were written by handlers of runs."""
    root = Lineage(KNOWN.events(LESSONS), KNOWN).up("tone")
    assert root is not None
    assert told(root)[1:] == ["  called web_search in a", "    tried web_search", "  triggered RunStarted in a"]
    assert TEACH[-1] == "a"
