"""A run's facts are told in its order, each once, whatever order and however often they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backplane.insight.answers import Event
from backplane.insight.in_order import InOrder


def fact(number: int) -> Event:
    return Event(number, number * 1_000, "StateWritten", "a", f"event-{number}")


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """How many facts a run has, and batches of them: some twice, some never, in any order."""
    count = draw(st.integers(0, 40))
    numbers = draw(st.permutations(range(1, count + 1)))
    again = draw(st.lists(st.sampled_from(numbers), max_size=20)) if numbers else []
    kept = draw(st.permutations([*numbers, *again]).map(lambda all_: all_[draw(st.integers(0, 3)) :]))
    cuts = sorted(draw(st.lists(st.integers(0, len(kept)), max_size=8)))
    return count, [list(kept[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(kept)], strict=True)]


@given(arrivals(), st.integers(0, 5))
def test_what_is_told_is_the_run_without_gaps_and_without_repeats(
    arrived: tuple[int, list[list[int]]], after: int
) -> None:
    """After each batch: everything up to the first fact that has not come, and nothing else."""
    _, batches = arrived
    order, come, told = InOrder(after), set(range(after + 1)), list[int]()
    for batch in batches:
        told += [event.run_seq for event in order.take(map(fact, batch))]
        come |= set(batch)
        whole = next(number for number in range(10_000) if number + 1 not in come)
        assert told == list(range(after + 1, whole + 1))
        assert order.last == max(after, whole)
