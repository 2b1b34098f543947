"""The judge of register histories: it takes what one copy of a register does, and refuses what none does."""

from __future__ import annotations

import random
from itertools import permutations
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.chaos.linearizable import ABSENT, Op, linearizable


def explained(history: list[Op]) -> bool:
    """The oracle: every order of every choice of the unknown ones, naively."""
    unknown = [op for op in history if op.ended == inf]
    for chosen in range(1 << len(unknown)):
        happened = [op for op in history if op.ended < inf]
        happened += [op for number, op in enumerate(unknown) if chosen >> number & 1]
        if any(_fits(order) for order in permutations(happened)):
            return True
    return False


def _fits(order: tuple[Op, ...]) -> bool:
    value: Any = ABSENT
    for number, op in enumerate(order):
        if any(later.ended < op.began for later in order[number + 1 :]):
            return False
        if op.kind == "read" and op.ended < inf and op.value != value:
            return False
        if op.kind == "swap" and (op.done or op.ended == inf) != (value == op.expected) and op.ended < inf:
            return False
        if op.kind == "write" or (op.kind == "swap" and value == op.expected):
            value = op.value
    return True


times = st.integers(0, 6)
op = st.builds(
    lambda kind, began, lasts, value, expected, done: Op(kind, began, began + lasts, value, expected, done),
    st.sampled_from(["write", "read", "swap"]),
    times,
    st.sampled_from([0, 1, 2, 3, inf]),
    st.sampled_from([1, 2]),
    st.sampled_from([ABSENT, 1, 2]),
    st.booleans(),
)


@given(st.lists(op, max_size=5))
def test_as_the_naive_oracle_says(history: list[Op]) -> None:
    assert linearizable(history) == explained(history)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 12))
def test_what_one_copy_does_is_taken(seed: int, clients: int, each: int) -> None:
    """Operations take effect at one moment between their beginning and their end; some outcomes get lost."""
    chance, value, history = random.Random(seed), ABSENT, list[Op]()
    moments = [sorted(chance.uniform(0, 100) for _ in range(3 * each)) for _ in range(clients)]
    effects = sorted((own[3 * n + 1], own[3 * n], own[3 * n + 2]) for own in moments for n in range(each))
    for number, (_, began, ended) in enumerate(effects):
        end = inf if chance.random() < 0.2 else ended
        match chance.choice(["write", "read", "swap"]):
            case "write":
                value = number
                history.append(Op("write", began, end, number))
            case "read":
                history.append(Op("read", began, end, value))
            case _:
                expected = chance.choice([value, -1])
                done = expected == value
                value = number if done else value
                history.append(Op("swap", began, end, number, expected, done))
    assert linearizable(history)


def test_stale_reads_and_lost_writes_are_refused() -> None:
    """What a second copy, or a leader that does not know that it is none, would show."""
    write = [Op("write", 0, 1, 1), Op("write", 2, 3, 2)]
    assert linearizable([*write, Op("read", 4, 5, 2)])
    assert not linearizable([*write, Op("read", 4, 5, 1)])
    assert linearizable([*write, Op("read", 2, 5, 1)])
    assert not linearizable([*write, Op("read", 4, 5, ABSENT)])
    assert not linearizable([*write, Op("swap", 4, 5, 3, 1, True)])
    assert not linearizable([*write, Op("swap", 4, 5, 3, 2, False)])
    lost = [Op("write", 0, 1, 1), Op("swap", 2, inf, 2, 1)]
    assert linearizable([*lost, Op("read", 5, 6, 1), Op("read", 7, 8, 2)])
    assert not linearizable([*lost, Op("read", 5, 6, 2), Op("read", 7, 8, 1)])
