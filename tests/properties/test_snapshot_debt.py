"""Snapshots follow the debt: however often a ledger dies, what its successor folds does not grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backplane.ledger.debt import LONGEST_S, Debt, due, inherited

BETWEEN = 1_000
BATCH = 100
"""Facts that one batch writes at most, between two looks at the debt."""
WHILE_WRITING = 2 * BATCH
"""Facts that come while a snapshot is written."""

facts = st.integers(0, 10 * BETWEEN)
times = st.floats(0, 10 * LONGEST_S)
lives = st.lists(st.lists(st.integers(0, BATCH), max_size=60), min_size=1, max_size=25)


@given(facts, facts, times, times)
def test_more_facts_and_more_time_never_put_a_due_snapshot_off(count: int, more: int, now: float, later: float) -> None:
    debt = Debt().more(count, 0.0)
    if due(debt, now, BETWEEN):
        assert due(debt, now + later, BETWEEN)
        assert due(debt.more(more, now), now, BETWEEN)


@given(facts, times)
def test_a_debt_is_settled_by_its_size_or_its_age(count: int, now: float) -> None:
    debt = Debt().more(count, 0.0)
    assert not due(Debt(), now, BETWEEN)
    if count >= BETWEEN or (count and now >= LONGEST_S):
        assert due(debt, now, BETWEEN)
    if 2 * count < BETWEEN and 2 * now < LONGEST_S:
        assert not due(debt, now, BETWEEN)


@given(st.integers(BETWEEN // 10 + 1, 10 * BETWEEN), times)
def test_what_was_folded_by_a_takeover_is_settled_at_once(folded: int, now: float) -> None:
    assert due(inherited(folded, now), now, BETWEEN)


@given(lives, st.floats(0, 1))
def test_no_fold_grows_with_the_number_of_deaths(lives: list[list[int]], seconds: float) -> None:
    """Each life takes the partition over, works, and is killed at any moment but before the snapshot with which it
    begins is written."""
    now, unwritten = 0.0, 0
    for life in lives:
        assert unwritten <= BETWEEN + 2 * WHILE_WRITING, "the fold has grown"
        debt = inherited(unwritten, now)
        if due(debt, now, BETWEEN):
            debt, unwritten = Debt(), 0
        writing, left = Debt(), 0
        for count in life:
            now += seconds
            debt, unwritten = debt.more(count, now), unwritten + count
            left -= count
            if writing.facts and left <= 0:  # the snapshot is there: what came since is the debt
                unwritten, writing = debt.facts, Debt()
            if not writing.facts and due(debt, now, BETWEEN):
                writing, debt, left = debt, Debt(), WHILE_WRITING


@given(facts, facts, times, times)
def test_a_snapshot_that_was_not_written_leaves_the_debt_as_it_was(
    first: int, then: int, at: float, later: float
) -> None:
    debt = Debt().more(first, at)
    joined = Debt().more(then, at + later).joined(debt)
    assert joined == Debt().more(first, at).more(then, at + later)
