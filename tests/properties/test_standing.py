"""Laws of ranking: what counts is recent, every order is a permutation, and the better of two comes first."""

from __future__ import annotations

from statistics import fmean
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.recovery import Rank
from backplane.recovery.ranking import EndedAttempt, ProviderStats, Window, ordered

SIZE, SPAN = 4, 10.0
NAMES = ["a", "b", "c", "d"]
ENDED = st.builds(EndedAttempt, st.floats(0, 50), st.booleans(), st.floats(0, 5), st.integers(0, 10**9))
OPTIONAL = st.none() | st.floats(0, 1)
STANDINGS = st.builds(
    ProviderStats, attempts=st.integers(0, 5), healthy=OPTIONAL, latency_s=OPTIONAL, cost_nano_usd=OPTIONAL
)


@given(st.lists(ENDED, max_size=20), st.floats(0, 80))
def test_a_window_is_the_last_attempts_within_its_span(attempts: list[EndedAttempt], later: float) -> None:
    """Against an oracle that keeps them all and looks at the end."""
    attempts = sorted(attempts)
    window = Window(SIZE, SPAN)
    for each in attempts:
        window.add(each)
        window.standing(each.at)  # looking changes nothing
    now = max([each.at for each in attempts], default=0.0) + later

    found = window.standing(now)

    counted = [each for each in attempts[-SIZE:] if each.at >= now - SPAN]
    good = [each for each in counted if each.ok]
    assert found.attempts == len(counted)
    assert found.healthy == ((len(good) + 1) / (len(counted) + 1) if counted else None)
    assert found.latency_s == (pytest.approx(fmean(each.latency_s for each in good)) if good else None)
    assert found.cost_nano_usd == (pytest.approx(fmean(each.cost_nano_usd for each in good)) if good else None)


@given(
    st.sampled_from(get_args(Rank)),
    st.permutations(NAMES).flatmap(lambda names: st.integers(0, 4).map(lambda n: names[:n])),
    st.dictionaries(st.sampled_from(NAMES), STANDINGS),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10)),
)
def test_an_order_is_a_permutation_in_which_no_better_one_comes_later(
    rank: Rank, providers: list[str], standings: dict[str, ProviderStats], costs: dict[str, int]
) -> None:
    """Pairwise, by what each rank promises; and equals keep their declared order."""
    order = ordered(rank, providers, standings, costs)

    assert sorted(order) == sorted(providers)
    for index, earlier in enumerate(order):
        for later in order[index + 1 :]:
            assert not better(rank, later, earlier, standings, costs)
            if not better(rank, earlier, later, standings, costs):
                assert providers.index(earlier) < providers.index(later)


def better(rank: Rank, one: str, two: str, standings: dict[str, ProviderStats], costs: dict[str, int]) -> bool:
    """Whether the rank promises ``one`` before ``two``, said another way than the code does."""
    first, second = standings.get(one, ProviderStats()), standings.get(two, ProviderStats())
    if rank == "declared":
        return False
    if rank == "healthiest":
        whole = 1.0
        return (whole if first.healthy is None else first.healthy) > (
            whole if second.healthy is None else second.healthy
        )
    if rank == "cheapest":
        if one not in costs or two not in costs:
            return one in costs and two not in costs
        spent = [costs[n] if s.cost_nano_usd is None else s.cost_nano_usd for n, s in ((one, first), (two, second))]
        return spent[0] < spent[1]
    never = [s.latency_s is None and s.attempts > 0 for s in (first, second)]
    if any(never):
        return never == [False, True]
    return (first.latency_s or 0.0) < (second.latency_s or 0.0)
