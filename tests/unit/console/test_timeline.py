"""The axis of a run: true to time where something was under way, short where nothing was."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backplane.console.timeline import WIDTH, Axis

SPANS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=40
)


@given(SPANS, st.lists(st.integers(-(10**6), 2 * 10**9), max_size=30))
def test_time_never_runs_backwards(spans: list[tuple[int, int]], times: list[int]) -> None:
    """Later is never to the left of earlier, and everything has its place on the axis."""
    axis = Axis(spans)
    every = sorted([*times, *(at for span in spans for at in span)])
    places = [axis.place(at) for at in every]

    assert all(before <= after + 1e-6 for before, after in pairwise(places))
    assert all(-1e-6 <= place <= WIDTH + 1e-6 for place in places)


@given(SPANS)
def test_what_was_under_way_is_on_one_scale(spans: list[tuple[int, int]]) -> None:
    """Twice as long is twice as wide, wherever it lies; only idle stretches are cut."""
    axis = Axis(spans)
    wide = [(end - begin, axis.place(end) - axis.place(begin)) for begin, end in spans if end > begin]
    scales = [width / length for length, width in wide if length > 1_000]

    assert all(abs(scale - scales[0]) <= 1e-6 * max(scales) + 1e-9 for scale in scales)
    for gap in axis.gaps:
        assert not any(begin < gap.end and end > gap.start for begin, end in spans)


def test_an_hour_of_waiting_takes_little_room() -> None:
    """Two seconds of work around an hour of nothing: the work is what can be seen."""
    axis = Axis([(0, 1_000_000), (3_601_000_000, 3_602_000_000)])

    assert [gap.length for gap in axis.gaps] == [3_600_000_000]
    assert axis.place(1_000_000) > 450
    assert axis.place(3_601_000_000) - axis.place(1_000_000) < 50
    assert axis.gap_before(3_601_000_000, 1_000_000) == axis.gaps[0]
    assert axis.gap_before(3_602_000_000, 3_601_000_000) is None


def test_a_short_pause_is_left_as_it_is() -> None:
    """What costs no room is not worth a mark."""
    assert Axis([(0, 1_000_000), (1_100_000, 2_000_000)]).gaps == []
