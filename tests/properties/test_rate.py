"""The rate core against an oracle that tries every moment; and the law it is there for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backplane.recovery.rate import Entry, Window

SECONDS = 10.0
ARRIVALS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, 9.5, 10.0, 25.0]), st.integers(1, 12)), max_size=30
)


def earliest(booked: list[Entry], amount: int, now: float, limit: int) -> float:
    """The first moment, from now and from the last booked one on, at which the window has room; by trying them all."""
    start = max([now, *(entry.at for entry in booked)])
    moments = sorted({start, *(entry.at + SECONDS for entry in booked if entry.at + SECONDS > start)})
    for at in moments:
        if sum(entry.amount for entry in booked if entry.at > at - SECONDS) + amount <= limit:
            return at
    raise AssertionError("there is room once everything has left the window")


@given(st.integers(1, 10), ARRIVALS)
def test_everything_begins_as_early_as_the_limit_allows(limit: int, arrivals: list[tuple[float, int]]) -> None:
    """And in the order in which it came."""
    window, booked, now = Window(limit, SECONDS), list[Entry](), 0.0
    for pause, amount in arrivals:
        now += pause
        expected = earliest(booked, min(amount, limit), now, limit)
        entry = window.book(amount, now, float("inf"))
        assert isinstance(entry, Entry)
        assert entry.at == expected
        booked.append(entry)


@given(st.integers(1, 10), ARRIVALS)
def test_no_window_holds_more_than_the_limit(limit: int, arrivals: list[tuple[float, int]]) -> None:
    """Wherever it is laid, also right after a pause, where a token bucket would let twice as much through."""
    window, booked, now = Window(limit, SECONDS), list[Entry](), 0.0
    for pause, amount in arrivals:
        now += pause
        entry = window.book(amount, now, float("inf"))
        assert isinstance(entry, Entry)
        booked.append(entry)
    for last in booked:
        inside = [each.amount for each in booked if last.at - SECONDS < each.at <= last.at]
        assert sum(inside) <= limit


@given(st.integers(1, 5), ARRIVALS, st.floats(0, 15))
def test_what_would_be_too_late_is_refused_and_takes_no_room(
    limit: int, arrivals: list[tuple[float, int]], patience: float
) -> None:
    """The refusal says how long it would have been; whoever comes next finds the window as it was."""
    window, booked, now = Window(limit, SECONDS), list[Entry](), 0.0
    for pause, amount in arrivals:
        now += pause
        expected = earliest(booked, min(amount, limit), now, limit)
        outcome = window.book(amount, now, now + patience)
        if isinstance(outcome, Entry):
            booked.append(outcome)
            assert outcome.at == expected
            assert expected == now or expected < now + patience
        else:
            assert outcome == expected - now
            assert expected >= now + patience


def test_a_cancelled_entry_gives_its_place_back() -> None:
    """Another may begin at once."""
    window = Window(1, SECONDS)
    first = window.book(1, 0.0, 100.0)
    assert isinstance(first, Entry)
    window.cancel(first)

    second = window.book(1, 0.0, 100.0)

    assert isinstance(second, Entry)
    assert second.at == 0.0


def test_a_corrected_entry_counts_what_it_turned_out_to_be() -> None:
    """More than was thought makes the next one wait, less lets it in."""
    window = Window(10, SECONDS)
    first = window.book(2, 0.0, 100.0)
    assert isinstance(first, Entry)
    window.correct(first, 10)
    late = window.book(1, 1.0, 100.0)
    window.correct(first, 1)
    early = window.book(1, 10.5, 100.0)

    assert isinstance(late, Entry)
    assert late.at == SECONDS
    assert isinstance(early, Entry)
    assert early.at == 10.5
