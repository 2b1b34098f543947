"""Page and stream show each fact of a run once, in its order, whatever the store had and wherever the stream is cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backplane.console.order import GAP_S, HELD, InOrder, beginning
from backplane.console.positions import mark, read_mark
from backplane.sink.rows import Record

TOPICS = ("bp.runs", "bp.state", "bp.calls")
NOW_US = 1_800_000_000_000_000


def _facts(topics: list[str]) -> list[Record]:
    """A run's facts, one for each topic named, in their order; other runs' records lie between them."""
    offsets = dict.fromkeys(TOPICS, 0)
    facts = []
    for number, topic in enumerate(topics, 1):
        row: Any = SimpleNamespace(run_seq=number)
        facts.append(Record(topic, 0, offsets[topic], 0, row))
        offsets[topic] += 3
    return facts


def _stored(facts: list[Record], following: dict[Any, int]) -> list[Any]:
    """The store's events: what lies before an offset in each topic."""
    return [
        SimpleNamespace(run_seq=one.row.run_seq, topic=one.topic, partition=one.partition, offset=one.offset, at=NOW_US)
        for one in facts
        if one.offset < following[one.topic, 0]
    ]


@given(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=25), data=st.data())
def test_each_fact_is_shown_once_in_its_order(topics: list[str], data: st.DataObject) -> None:
    """The store has some of each topic when it is asked where it is, and some more when it is asked for the events. The
    stream gets the topics in any order, in pieces, and is cut anywhere: what it had not sent is not known."""
    facts = _facts(topics)
    some = st.integers(0, 3 * len(topics))
    stored = {(topic, 0): data.draw(some, f"stored {topic}") for topic in TOPICS}
    later = {place: offset + data.draw(some, "more") for place, offset in stored.items()}
    events = _stored(facts, later)

    begun = beginning(events, stored, NOW_US)
    shown = [event.run_seq for event in events if event.run_seq <= begun.shown]
    at = mark(*begun)
    for _ in range(data.draw(st.integers(1, 4), "streams")):
        number, following = read_mark(at)
        order, read = InOrder(number), dict(following)
        for _ in range(data.draw(st.integers(0, 8), "pieces")):
            shown += [one.row.run_seq for one in order.take(_piece(facts, read, data), 0.0)]
            at = mark(order.shown, order.following(read))
    number, following = read_mark(at)
    order = InOrder(number)
    rest = [one for one in facts if one.offset >= following[one.topic, 0]]
    shown += [one.row.run_seq for one in order.take(data.draw(st.permutations(rest), "rest"), 0.0)]
    assert shown == list(range(1, len(facts) + 1))


def _piece(facts: list[Record], read: dict[Any, int], data: st.DataObject) -> list[Record]:
    """The next records of one topic; moves on in it."""
    topic = data.draw(st.sampled_from(TOPICS), "topic")
    stop = read[topic, 0] + data.draw(st.integers(1, 9), "offsets")
    found = [one for one in facts if one.topic == topic and read[topic, 0] <= one.offset < stop]
    read[topic, 0] = stop
    return found


def test_a_fact_that_never_comes_is_waited_for_and_passed_over() -> None:
    """Neither a record that cannot be read nor one that Kafka has deleted ends what is shown."""
    facts = _facts(["bp.runs"] * 5)
    order = InOrder(0)
    assert order.take(facts[1:3], 0.0) == []
    assert order.take([], GAP_S - 1) == []
    assert order.take([], GAP_S + 1) == facts[1:3]
    assert order.take(facts[4:], GAP_S + 2) == []
    assert order.take([], 2 * GAP_S + 3) == facts[4:]
    assert order.take(facts, 3 * GAP_S) == []


def test_a_stream_holds_no_more_than_its_bound() -> None:
    """However long the gap is open."""
    facts = _facts(["bp.runs"] * (HELD + 3))
    order = InOrder(0)
    assert order.take(facts[1 : HELD + 1], 0.0) == []
    assert order.take(facts[HELD + 1 :], 0.0) == facts[1:]


def test_a_gap_of_long_ago_is_not_waited_for() -> None:
    """The page shows what is there."""
    old: Any = [SimpleNamespace(run_seq=n, topic="bp.runs", partition=0, offset=n, at=0) for n in (1, 2, 5)]
    assert beginning(old, {("bp.runs", 0): 9}, NOW_US) == (5, {("bp.runs", 0): 9})
