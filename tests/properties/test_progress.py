"""How far a partition is finished."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.lanes import OffsetTracker


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_progress_is_the_lowest_unfinished_offset(records: list[tuple[int, bool]], chance: object) -> None:
    """Oracle: the smallest taken offset that is not finished, else the one after the last read; gaps do not matter."""
    progress, taken, offset = OffsetTracker(), set(), 0
    for gap, work in records:
        offset += gap
        if work:
            assert progress.add(offset)
            taken.add(offset)
        else:
            progress.skip(offset)
    order = sorted(taken)
    chance.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a Random
    for each in order:
        assert progress.committable() == min(taken)
        assert progress.unfinished == len(taken)
        progress.finish(each)
        taken.discard(each)
    assert progress.committable() == (offset + 1 if records else None)
    assert progress.unfinished == 0
