"""Answers that stay away are asked for again, as long as that is safe, and given up in time."""

from __future__ import annotations

import pytest

from agents_sdk.core.commands import Command
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.inflight import ASK_AGAIN_MAX_S, ASK_AGAIN_S, COUNTED_RUNS, FORGOTTEN_AFTER, TICK_S, InFlight


def command(name: str, kind: str = "SetState", run: str = "r", delivery: str = "") -> Command:
    return Command(
        command_id=CommandId(name),
        kind=kind,
        run_id=RunId(run),
        agent="a",
        correlation_id=run,
        delivery_id=DeliveryId(delivery),
    )


def names(waitings: list) -> list[str]:  # type: ignore[type-arg]  # of Waiting
    return [waiting.command.command_id for waiting in waitings]


def test_answer_in_time_ends_the_waiting() -> None:
    """And is the only one to do so."""
    flight = InFlight()
    added = flight.add(command("c"), "slot", b"wire", 0.0, 30.0)

    assert flight.take("c") is added
    assert added.wire is None
    assert flight.take("c") is None
    assert flight.due(1000.0) == ([], [])


def test_silence_is_asked_again_with_growing_waits_and_given_up_at_the_deadline() -> None:
    """The waits double up to their limit; the deadline is kept to a tick."""
    flight = InFlight()
    flight.add(command("c"), None, None, 0.0, 60.0)
    asked: list[float] = []
    gone: list[float] = []

    for step in range(1, 800):
        now = step * TICK_S
        again, expired = flight.due(now)
        asked += [now] * len(again)
        gone += [now] * len(expired)

    waits = [later - earlier for earlier, later in zip([0.0, *asked], asked, strict=False)]
    assert waits[0] == pytest.approx(ASK_AGAIN_S, abs=2 * TICK_S)
    assert waits[1] == pytest.approx(ASK_AGAIN_S * 2, abs=2 * TICK_S)
    assert max(waits) <= ASK_AGAIN_MAX_S + 2 * TICK_S
    assert gone == [pytest.approx(60.0, abs=2 * TICK_S)]
    assert len(flight) == 0


def test_no_deadline_waits_for_ever() -> None:
    """Waiting for a run has no limit of its own."""
    flight = InFlight()
    flight.add(command("c", "AwaitRun"), None, None, 0.0, None)

    assert names(flight.due(1e6)[0]) == ["c"]
    assert len(flight) == 1


def test_id_under_way_twice_is_refused() -> None:
    """One of both would never be answered."""
    flight = InFlight()
    flight.add(command("c"), None, None, 0.0, 1.0)

    with pytest.raises(ValueError, match="under way already"):
        flight.add(command("c"), None, None, 0.0, 1.0)


@pytest.mark.parametrize(
    ("late", "again"),
    [
        (command("late"), False),
        (command("late", "GetState"), True),
        (command("late", delivery="d"), True),
        (command("late", run="other"), True),
    ],
)
def test_write_whose_answer_may_be_forgotten_is_not_sent_again(late: Command, again: bool) -> None:
    """It could be applied twice; reads and handlers' commands cannot."""
    flight = InFlight()
    flight.add(late, None, None, 0.0, 60.0)
    for number in range(FORGOTTEN_AFTER):
        flight.add(command(str(number)), None, None, 0.0, 60.0)
        flight.take(str(number))

    assert names(flight.due(ASK_AGAIN_S + TICK_S)[0]) == (["late"] if again else [])


def test_counts_of_runs_without_commands_under_way_are_dropped() -> None:
    """A process that starts runs all day does not grow."""
    flight = InFlight()
    flight.add(command("kept", run="kept"), None, None, 0.0, 60.0)
    for number in range(COUNTED_RUNS + 1):
        flight.add(command(str(number), run=str(number)), None, None, 0.0, 60.0)
        flight.take(str(number))

    flight.due(0.0)

    assert set(flight._numbers) == {"kept"}


def test_a_registration_is_said_again_seldom() -> None:
    """It goes to each partition for each agent that starts: an hour without a ledger must not fill the log with it."""
    flight = InFlight()
    flight.add(command("c", "RegisterAgent", run=""), None, None, 0.0, None)
    flight.add(command("d"), None, None, 0.0, None)
    asked = [name for step in range(1, 36_000) for name in names(flight.due(step * TICK_S)[0])]

    assert asked.count("c") <= 16
    assert asked.count("d") > 150
