"""When a part is started, restarted or given up."""

from __future__ import annotations

import pytest

from backplane.platform.policy import (
    Backoff,
    Node,
    Phase,
    PlatformState,
    State,
    became_ready,
    due,
    exited,
    fold,
    spare_due,
    started,
    stop_waves,
)

NODES = {
    "format": Node(task=True),
    "kafka": Node(after=("format",)),
    "registry": Node(),
    "topics": Node(after=("kafka", "registry"), task=True),
    "ledger": Node(after=("topics",)),
    "training": Node(after=("kafka",), task=True, optional=True),
}
READY = State(Phase.READY, since=10.0, was_ready=True)


def test_part_waits_for_what_it_stands_on() -> None:
    """Only parts whose bases are ready are due."""
    states = {name: State() for name in NODES}
    assert due(NODES, states, 0.0) == ["format", "registry"]

    states |= {"format": State(Phase.DONE), "registry": State(Phase.STARTING)}
    assert due(NODES, states, 0.0) == ["kafka"]


def test_part_that_died_before_it_was_ready_is_given_up() -> None:
    """Starting it again would do the same: the platform fails with its reason."""
    state = exited(started(State(), 1.0), Node(), "exit code 1: no", 2.0, 0.0)

    assert (state.phase, state.last_exit) == (Phase.FAILED, "exit code 1: no")
    assert fold({"kafka": Node()}, {"kafka": state}, False) is PlatformState.FAILED


def test_part_that_ended_well_before_it_was_ready_is_given_up_too() -> None:
    """Exit code 0 is no success for a part that is to go on running, and the reason is never empty."""
    state = exited(started(State(), 1.0), Node(), "", 2.0, 0.0)

    assert (state.phase, state.last_exit) == (Phase.FAILED, "exit code 0")


def test_part_that_was_ready_is_restarted_when_its_time_has_come() -> None:
    """Not before the delay is over, and the restart is counted."""
    backoff = Backoff(first_s=0.5)
    state = exited(READY, Node(), "signal 9 (SIGKILL)", 12.0, 0.0, backoff)
    assert (state.phase, state.retry_at) == (Phase.BACKOFF, 12.5)

    assert due({"kafka": Node()}, {"kafka": state}, 12.4) == []
    assert due({"kafka": Node()}, {"kafka": state}, 12.5) == ["kafka"]
    assert started(state, 12.5).restarts == 1


def test_part_that_dies_again_and_again_waits_longer_each_time() -> None:
    """The delay doubles with each death in a row, up to the cap."""
    state, delays = READY, []
    for _ in range(7):
        state = exited(state, Node(), "exit code 1", 12.0, 0.0, Backoff(first_s=1.0, cap_s=10.0))
        delays.append(state.retry_at - 12.0)
        state = became_ready(started(state, 12.0), 12.0)

    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_steady_part_starts_again_at_the_first_delay() -> None:
    """What happened long ago does not slow a restart today."""
    state = State(Phase.READY, since=0.0, streak=5, was_ready=True)

    assert exited(state, Node(), "exit code 1", 31.0, 0.0, Backoff(first_s=1.0)).retry_at == 32.0


def test_task_that_fails_fails_the_platform_unless_it_is_optional() -> None:
    """Topics must be there; a start-up archive need not."""
    running = started(State(), 1.0)
    assert exited(running, NODES["topics"], "exit code 1", 2.0, 0.0).phase is Phase.FAILED
    assert exited(running, NODES["topics"], "", 2.0, 0.0).phase is Phase.DONE
    assert exited(running, NODES["training"], "exit code 1", 2.0, 0.0).phase is Phase.DONE


def test_answer_after_death_counts_for_nothing() -> None:
    """A probe that was under way when the part died does not make it ready."""
    dead = exited(READY, Node(), "exit code 1", 12.0, 0.0)

    assert became_ready(dead, 12.1) == dead


def test_platform_is_ready_without_its_optional_parts() -> None:
    """Training may still run, or have failed."""
    states = dict.fromkeys(NODES, READY) | {"training": State(Phase.STARTING)}
    assert fold(NODES, states, False) is PlatformState.READY

    states["ledger"] = State(Phase.BACKOFF)
    assert fold(NODES, states, True) is PlatformState.DEGRADED
    assert fold(NODES, states, False) is PlatformState.STARTING


def test_services_stop_before_kafka_and_the_registry() -> None:
    """A service must be able to commit its last work; a finished task holds nothing up."""
    waves = stop_waves(NODES)

    assert set(waves[0]) == {"ledger"}
    assert {"kafka", "registry"} <= {name for wave in waves[1:] for name in wave}


@pytest.mark.parametrize(
    ("state", "was_spare", "wanted"),
    [
        (State(Phase.READY, since=0.0), False, True),
        (State(Phase.READY, since=9.0), False, False),
        (State(Phase.STARTING, since=9.9, streak=1), True, True),
        (State(Phase.STARTING, since=9.9, streak=1), False, False),
        (State(Phase.STARTING, since=9.9, streak=2), True, False),
        (State(Phase.BACKOFF, since=9.9, streak=1), True, False),
    ],
)
def test_a_spare_process_is_made_for_what_works_and_for_what_has_just_used_one(
    state: State, was_spare: bool, wanted: bool
) -> None:
    """Not for a part that dies again and again."""
    assert spare_due(state, 10.0, was_spare=was_spare) is wanted
