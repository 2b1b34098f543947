"""A record's time may be any 64 bits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.wire.instants import EARLIEST, LATEST, utc
from backplane.cli.shown import when as listed
from backplane.console.render import when as shown

LONGS = st.integers(-(2**63), 2**63 - 1)


@given(LONGS)
def test_any_time_is_shown(micros: int) -> None:
    """On a page and in a list, in every zone."""
    assert EARLIEST <= utc(micros) <= LATEST
    assert isinstance(shown(micros), str)
    assert isinstance(listed(micros), str)
    assert isinstance(listed(micros * 1_000, fraction=True), str)


@pytest.mark.parametrize("micros", [0, -1, 1_700_000_000_123_456, -62_000_000_000_000_000])
def test_a_time_of_the_calendar_is_that_time(micros: int) -> None:
    """To the microsecond."""
    assert (utc(micros) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() == pytest.approx(micros / 1e6, abs=1e-3)
    assert utc(micros).microsecond == micros % 1_000_000
