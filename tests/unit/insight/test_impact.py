"""What came of a value, walked in memory over the story of an article."""

from __future__ import annotations

from backplane.insight.impact import Impact
from backplane.insight.lineage import Lineage
from tests.support.stories import article
from tests.unit.insight.test_lineage import events, illustrated, shape, walk

EVENTS = events(article())
DOWN = Impact(EVENTS)
UP = Lineage(EVENTS)
VERSIONS = sorted({(event.key, event.version) for event in EVENTS if event.kind == "StateWritten"})


def test_down_is_up_the_other_way_round() -> None:
    """A version came of another exactly where it rests on it: for each pair of versions of the run."""
    above = {one: {node.state for node in walk(found)} for one in VERSIONS if (found := UP.up(*one))}
    below = {one: {node.state for node in walk(found)} for one in VERSIONS if (found := DOWN.of_state(*one))}

    pairs = {(a, b): f"{b[0]}@{b[1]}" in below[a] for a in VERSIONS for b in VERSIONS}
    assert pairs == {(a, b): f"{a[0]}@{a[1]}" in above[b] for a in VERSIONS for b in VERSIONS}
    assert any(pairs[a, b] for a, b in pairs if a != b)
    assert not all(pairs.values())


def test_effects_outside_are_told() -> None:
    """A bad brief reaches the calls of all whom it reached: what was searched, written and drawn with it."""
    root = DOWN.of_state("brief")

    assert root is not None
    called = {node.event.capability for node in walk(root) if node.relation == "called" and node.event}
    assert called == {"web_search", "text_generation", "image_generation"}


def test_what_nobody_read_led_to_nothing() -> None:
    """The last value of the run."""
    root = DOWN.of_state("review")

    assert root is not None
    assert [node for node in walk(root) if node.relation == "wrote"] == [root]


def test_a_message_led_to_what_its_receivers_did() -> None:
    """By the message's id: whoever got it, and what came of that."""
    [sent] = [event for event in EVENTS if event.kind == "MessagePublished" and event.name == "search.completed"]

    root = DOWN.of_event(sent.event_id)

    assert root is not None
    assert shape(root) == ["handled MessageDelivered"]
    assert "article@1" in {node.state for node in walk(root)}


def test_a_message_rests_on_what_its_sender_did_before() -> None:
    """Up from a message: the searcher's call and decision stand above what it then published."""
    [sent] = [event for event in EVENTS if event.kind == "MessagePublished" and event.name == "search.completed"]

    root = UP.up_from(sent.event_id)

    assert root is not None
    assert "called web_search" in shape(root)


def test_depth_bounds_the_walk() -> None:
    """One hop shows the next writers and nothing behind them; ids of other runs are unknown."""
    near = DOWN.of_state("brief", depth=1)

    assert near is not None
    whole = DOWN.of_state("brief")
    assert whole is not None
    assert len(list(walk(near))) < len(list(walk(whole)))
    assert DOWN.of_event("nothing") is None
    assert DOWN.of_state("nothing") is None


def test_a_call_led_to_what_its_caller_did_with_the_outcome() -> None:
    """By the outcome or the request; what was done before the outcome came is no consequence of it."""
    told = events(illustrated())
    image = next(event for event in told if event.kind == "CallRequested" and event.capability == "image_generation")
    made = next(event for event in told if event.kind == "CallCompleted" and event.call_id == image.call_id)

    for place in (image, made):
        root = Impact(told).of_event(place.event_id)
        assert root is not None
        assert (root.relation, root.event) == ("called", made)
        assert shape(root) == ["sent MessagePublished"]
        assert "film@1" in {node.state for node in walk(root)}
