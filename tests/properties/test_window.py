"""Laws of a client's window: bounded, in turn, and no larger than the others can bear."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.window import LATEST_S, LEAST, MOST, SOONEST_S, TARGET_S, Window

answers = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), max_size=200)


@given(answers, st.integers(1, 4_000), st.integers(0, 10_000))
def test_the_size_stays_within_its_bounds(given_answers: list[tuple[float, float]], most: int, waiting: int) -> None:
    window = Window(most)
    for asked_at, took in given_answers:
        window.answered(asked_at, asked_at + took)
        assert min(LEAST, most) <= window.size <= most
        assert SOONEST_S <= window.retry_after_s(waiting) <= LATEST_S
    assert window.full(window.max_waiting)
    assert not window.full(window.max_waiting - 1)


STEP_S = 0.1


def serve(clients: int, per_s: int, seconds: int, windows: list[Window] | None = None) -> tuple[list[Window], float]:
    """A single line, served ``per_s`` a second, and clients that always have more to ask than they may; what the
    answers of the last five seconds took at most."""
    windows = windows or [Window() for _ in range(clients)]
    line: deque[tuple[int, float]] = deque()
    under_way = [0] * len(windows)
    slowest, ticks = 0.0, int(seconds / STEP_S)
    for tick in range(ticks):
        now = tick * STEP_S
        for number, window in enumerate(windows):
            line.extend([(number, now)] * (window.size - under_way[number]))
            under_way[number] = max(under_way[number], window.size)
        if tick >= ticks - 5 / STEP_S:
            slowest = max(slowest, now - line[0][1])
        for _ in range(min(int(per_s * STEP_S), len(line))):
            number, asked_at = line.popleft()
            under_way[number] -= 1
            windows[number].answered(asked_at, now + STEP_S)
    return windows, slowest


@pytest.mark.parametrize(("clients", "per_s"), [(20, 1_000), (20, 3_000), (40, 1_000), (20, 300)])
def test_many_clients_together_do_not_make_a_long_line(clients: int, per_s: int) -> None:
    """Twenty clients with a window of 2,000 each are 40,000 commands, 13 to 130 s of them. They settle at some targets,
    and none has much more than its share."""
    windows, slowest = serve(clients, per_s, 60)
    assert slowest <= 4 * TARGET_S
    sizes = sorted(window.size for window in windows)
    assert sizes[-1] <= 8 * max(sizes[0], LEAST)


def test_the_size_comes_back_within_seconds_when_the_others_are_gone() -> None:
    windows, _ = serve(20, 1_000, 90)
    alone = windows[0]
    before = alone.size
    serve(1, 10_000, 8, [alone])
    assert before < MOST / 4 < alone.size
