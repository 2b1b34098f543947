"""The soak finds memory that grows, and none where there is only noise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.soak import Memory, slope


@given(st.floats(-5, 5), st.floats(0, 1_000), st.integers(2, 200))
def test_a_line_has_its_slope(rises: float, base: float, count: int) -> None:
    assert abs(slope([(float(x), base + rises * x) for x in range(count)]) - rises) < 1e-6


@given(st.lists(st.floats(-1, 1), min_size=60, max_size=60))
def test_a_leak_shows_above_the_noise(noise: list[float]) -> None:
    """A megabyte a minute, with as much noise again, after a warm-up that proves nothing."""
    memory = Memory({})
    memory.samples["leaks"] = [(x * 60.0, 100 + max(20 - x, 0) * -3 + x + noise[x]) for x in range(60)]
    memory.samples["sound"] = [(x * 60.0, 100 + noise[x]) for x in range(60)]
    slopes = memory.slopes()
    assert slopes["leaks"] > 30
    assert abs(slopes["sound"]) < 15
