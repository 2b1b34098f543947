"""Laws of supervision, over any graph of parts and any history."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backplane.platform.policy import (
    FIRM,
    FIRST_DEATHS,
    Backoff,
    Node,
    Phase,
    State,
    became_ready,
    due,
    exited,
    listens,
    started,
    stop_waves,
)

HAPPENINGS = st.lists(st.tuples(st.sampled_from(("tick", "ready", "die")), st.floats(0, 60), st.floats(0, 0.999)))


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Node]:
    """Parts that stand only on parts before them, some of them tasks."""
    nodes: dict[str, Node] = {}
    for number in range(draw(st.integers(1, 7))):
        after = tuple(draw(st.sets(st.sampled_from(sorted(nodes))))) if nodes else ()
        nodes[f"p{number}"] = Node(after, task=draw(st.booleans()))
    return nodes


@given(graphs(), HAPPENINGS, st.randoms(use_true_random=False))
def test_no_part_starts_before_its_bases_and_none_that_was_ready_is_given_up(
    nodes: dict[str, Node], happenings: list[tuple[str, float, float]], chance: object
) -> None:
    """Over any history: first starts only on firm bases, was ready → never failed, delays within bounds."""
    states = {name: State() for name in nodes}
    backoff, now = Backoff(), 0.0
    for index, (what, passed, dice) in enumerate(happenings):
        now += passed
        name = sorted(nodes)[index % len(nodes)]
        alive = states[name].phase in (Phase.STARTING, Phase.READY)
        if what == "ready" and not nodes[name].task:
            states[name] = became_ready(states[name], now)
        elif what == "die" and alive:
            states[name] = exited(states[name], nodes[name], "" if dice < 0.5 else "exit code 1", now, dice)
        for starting in due(nodes, states, now):
            if states[starting].phase is Phase.WAITING:
                assert all(states[base].phase in FIRM for base in nodes[starting].after)
            states[starting] = started(states[starting], now)
        for state in states.values():
            assert not (state.was_ready and state.phase is Phase.FAILED)
            if state.phase is Phase.BACKOFF:
                assert 0 < state.retry_at - state.since <= backoff.cap_s


@given(st.integers(0, 40), st.booleans(), st.booleans())
def test_a_part_that_dies_at_its_work_is_given_up_in_the_end(deaths: int, notes: bool, answers: bool) -> None:
    """It is started again while its notes may tell what it dies at; one that ends before it listens is not."""
    state, node = started(State(), 0.0), Node(notes=notes)
    for number in range(deaths):
        state = exited(listens(state) if answers else state, node, "signal 11", float(number), 0.0)
        if state.phase is Phase.FAILED:
            break
        state = started(state, float(number))
    given_up = 0 if not deaths else (FIRST_DEATHS if notes and answers else 1)
    assert (state.phase is Phase.FAILED) == bool(given_up and deaths >= given_up)


@given(graphs())
def test_every_part_stops_once_and_before_what_it_stands_on(nodes: dict[str, Node]) -> None:
    """A wave never comes after one that holds a base of it; running parts never share one with their base."""
    waves = stop_waves(nodes)
    position = {name: index for index, wave in enumerate(waves) for name in wave}

    assert sorted(name for wave in waves for name in wave) == sorted(nodes)
    for name, node in nodes.items():
        for base in node.after:
            assert position[name] <= position[base]
            if not node.task and not nodes[base].task:
                assert position[name] < position[base]


@given(st.integers(1, 200), st.floats(0, 0.999), st.floats(0, 0.999))
def test_delay_never_shrinks_with_further_deaths_and_never_exceeds_the_cap(
    streak: int, chance: float, other: float
) -> None:
    """For the same chance; and chance takes away no more than its share."""
    backoff = Backoff()
    delay = backoff.delay(streak, chance)

    assert delay <= backoff.delay(streak + 1, chance) <= backoff.cap_s
    assert delay >= replace(backoff, spread=0.0).delay(streak, other) * (1 - backoff.spread)
