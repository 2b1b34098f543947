"""Which runs a list shows: by text, time and cost, in the order of a column."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.console.listing import COLUMNS, NANO, ListQuery, amount, listed, moment
from backplane.console.render import age
from backplane.insight.answers import RunRow

EMPTY = dict.fromkeys(RunRow.__struct_fields__, "")
NUMBERS = ("started_at", "last_at", "facts", "last_seq", "agents", "calls", "failures", "cost_nano_usd", "unpriced")


def row(**fields: object) -> RunRow:
    return RunRow(**{**EMPTY, **dict.fromkeys((*NUMBERS, "children", "ended_seq"), 0), "tags": [], **fields})  # type: ignore[arg-type]


rows = st.lists(
    st.builds(
        row,
        run_id=st.sampled_from(["a-1", "b-2", "C-3"]),
        workflow=st.sampled_from(["content", "survey"]),
        reason=st.sampled_from(["", "Boom"]),
        started_at=st.integers(0, 9),
        last_at=st.integers(9, 20),
        cost_nano_usd=st.integers(0, 5),
        failures=st.integers(0, 3),
    ),
    max_size=12,
)


@given(
    rows,
    st.sampled_from(["", "a-", "BOOM", "cont", "nothing"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 5),
    st.sampled_from(list(COLUMNS)),
    st.booleans(),
)
def test_a_list_holds_what_was_asked_in_its_order(
    runs: list[RunRow], text: str, since: int, until: int, least: int, sort: str, down: bool
) -> None:
    """Each run that fits, once, and no other; neighbours are in order."""
    asked = ListQuery(text, since, until, least, sort=sort, descending=down)
    found = listed(runs, asked)

    fits = [
        run
        for run in runs
        if text.lower() in f"{run.run_id}\n{run.workflow}\n{run.reason}".lower()
        and run.started_at >= since
        and (until == 0 or run.started_at < until)
        and run.cost_nano_usd >= least
    ]
    assert sorted(map(id, found)) == sorted(map(id, fits))
    keys = [COLUMNS[sort](run) for run in found]
    assert keys == sorted(keys, reverse=down)


def test_times_and_amounts_of_a_form() -> None:
    """A browser's field has no zone: it is UTC, as all times of the console."""
    assert moment("2026-11-24T12:00") == moment("2026-11-24T13:00+01:00") == 1_795_521_600_000_000
    assert (moment(""), amount(""), amount("0.5")) == (0, 0, NANO // 2)
    with pytest.raises(ValueError):
        moment("tomorrow")
    for wrong in ("nan", "-1", "x"):
        with pytest.raises(ValueError):
            amount(wrong)


def test_ages_have_one_unit() -> None:
    """As long as two of the larger one are not over."""
    now = time.time() * 1_000_000

    assert age(int(now - 40_000_000)) == "40 s"
    assert age(int(now - 12 * 60_000_000)) == "12 min"
    assert age(int(now - 3 * 3_600_000_000)) == "3 h"
    assert age(int(now - 5 * 86_400_000_000)) == "5 d"
    assert age(int(now + 9e9)) == "0 s"
