"""When panels are told to ask again, how events are sent, and that a fact from Kafka looks as from the store."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.facts import CallEvent
from backplane.console.live import Pace, encoded
from backplane.console.positions import mark, read, read_mark, written
from backplane.console.routes.streams import EventRows
from backplane.insight.tail import event_of
from tests.support.stories import article, records

PLACES = st.dictionaries(
    st.tuples(st.sampled_from(["bp.runs", "bp.state", "bp.x_y.z"]), st.integers(0, 999)),
    st.integers(0, 10**15),
    max_size=40,
)


@given(PLACES)
def test_positions_survive_the_way_through_the_browser(places: dict[tuple[str, int], int]) -> None:
    """What was written is read; a header can carry it."""
    assert read(written(places)) == places
    assert written(places).isascii()
    assert "\n" not in written(places)


@given(st.integers(0, 10**17), PLACES)
def test_marks_survive_the_way_through_the_browser(shown: int, places: dict[tuple[str, int], int]) -> None:
    """The number of what was shown goes with them."""
    assert read_mark(mark(shown, places)) == (shown, places)


@pytest.mark.parametrize("text", ["", "7", "!", "x!runs-0-1", "-1!runs-0-1", "7!runs", "7!runs-0-1!", "9" * 40 + "!"])
def test_what_is_no_mark_is_refused(text: str) -> None:
    """The same."""
    with pytest.raises(ValueError, match=r"position|number of a fact"):
        read_mark(text)


@pytest.mark.parametrize("text", ["runs", "runs-0", "runs-0-x", "runs-0-1~", "../-0-1", "runs-0--1", "x" * 200_000])
def test_what_is_no_position_is_refused(text: str) -> None:
    """A header can be made up."""
    with pytest.raises(ValueError, match="position"):
        read(text)


@given(st.lists(st.tuples(st.floats(0.01, 3), st.booleans()), max_size=60))
def test_panels_are_told_seldom_and_once_more_at_the_end(steps: list[tuple[float, bool]]) -> None:
    """At most one a second while facts come, and after the last fact one more when the store has it; then silence."""
    pace, now, last = Pace(every_s=1.0, after_s=2.5), 0.0, None
    told: list[float] = []
    for step, came in steps:
        now += step
        last = now if came else last
        if pace.due(now, came):
            told.append(now)
    quiet = [now + 0.1 * number for number in range(1, 60)]
    late = [at for at in quiet if pace.due(at, False)]

    if last is None:
        assert told + late == []
    else:
        assert max(told + late) >= last + 2.5 - 1e-9
        assert len(late) <= 1
    hasty = [after for before, after in pairwise(told) if after - before < 1.0 - 1e-9]
    assert hasty == [] or all(any(at <= after - 2.5 + 1e-9 for at in [0.0, *told]) for after in hasty)


def test_an_event_keeps_its_lines_together() -> None:
    """Every line of the data has its field, so that nothing in it can begin an event of its own."""
    assert encoded("<tr>\n\nid: 7\n</tr>", id="runs-0-1") == (
        b"id: runs-0-1\ndata: <tr>\ndata: \ndata: id: 7\ndata: </tr>\n\n"
    )
    assert encoded(event="changed") == b"event: changed\ndata: -\n\n"


def test_rows_are_those_behind_the_page_in_the_order_of_the_run() -> None:
    """Whatever order the topics came in; and of those only the ones that the page asks for."""
    facts = records(article().facts)
    last = max(one.row.run_seq for one in facts)
    half = last // 2
    rows = EventRows(article().run_id, half)
    assert _numbers(rows.html(list(reversed(facts)), 0.0)) == list(range(half + 1, last + 1))
    assert rows.html(facts, 0.0) == ""
    assert read_mark(rows.mark({})) == (last, {})

    kind = next(one.row.kind for one in facts if one.row.run_seq == last)
    wanted = sorted(one.row.run_seq for one in facts if one.row.kind == kind and one.row.run_seq > half)
    assert 0 < len(wanted) < last - half
    assert _numbers(EventRows(article().run_id, half, kind=kind).html(facts, 0.0)) == wanted


def _numbers(html: str) -> list[int]:
    return [int(part.split('"', 1)[0]) for part in html.split('id="e')[1:]]


def test_long_texts_are_cut_as_the_store_cuts_them() -> None:
    """So that a row that came live and one that was loaded are alike."""
    (one, *_) = [record for record in records(article().facts) if record.row.kind == "CallCompleted"]
    assert isinstance(one.row, CallEvent)
    assert event_of(one).body == one.row.result[:300]
