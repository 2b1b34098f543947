"""Alarms ring when a timer is due by the machine's clock, and again until the book has heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agents_sdk.core.commands import Command
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import PartitionState
from agents_sdk.core.ledger.state import Run
from backplane.ledger.alarms import Alarms, BrokerClock
from tests.support.eventually import assert_soon

DUE = 1_700_000_000_000_000


class Clock:
    now: float = DUE / 1_000_000 - 1

    def __call__(self) -> float:
        return self.now


class Desk:
    """A book of one run with one timer, its alarms, and what they sent."""

    def __init__(self) -> None:
        run = Run(
            run_id=RunId("r"), workflow="w", correlation_id="c", start_command=CommandId("s"), complete_when="explicit"
        )
        run.timers["run"] = DUE
        self.book = PartitionState(runs={RunId("r"): run})
        self.clock = Clock()
        self.sent: list[Command] = []
        self.passed = Clock()
        """By a clock that nobody sets."""
        self.alarms = Alarms(lambda: self.book, self.sent.append, BrokerClock(self.clock, self.passed))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    ringing = asyncio.create_task(made.alarms.run())
    yield made
    ringing.cancel()


async def turns(desk: Desk, seconds: float) -> None:
    """Sets the clock on, and lets the alarms look at it."""
    desk.clock.now += seconds
    desk.alarms.set(RunId("nobody"), "run", 0)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_an_alarm_rings_when_it_is_due_and_not_before(desk: Desk) -> None:
    """And names the timer."""
    desk.alarms.set_all([(RunId("r"), {"run": DUE})])
    await turns(desk, 0.9)
    assert desk.sent == []
    await turns(desk, 0.2)
    (command,) = desk.sent
    assert (command.kind, command.run_id, command.correlation_id) == ("TimerFired", "r", "c")
    assert command.timer is not None
    assert (command.timer.name, command.timer.due_at) == ("run", DUE)


async def test_an_alarm_rings_until_the_book_has_heard(desk: Desk) -> None:
    """A command that was lost, or came too early, is sent again; when the timer is gone there is silence."""
    desk.alarms.set(RunId("r"), "run", DUE)
    await turns(desk, 1.0)
    await turns(desk, 1.0)
    assert len(desk.sent) == 2
    assert desk.sent[0].timer == desk.sent[1].timer
    assert desk.sent[0].command_id != desk.sent[1].command_id
    del desk.book.runs[RunId("r")].timers["run"]
    await turns(desk, 3600)
    assert len(desk.sent) == 2


async def test_an_alarm_of_a_timer_that_was_set_anew_is_silent(desk: Desk) -> None:
    """The book has another time for it by then."""
    desk.alarms.set(RunId("r"), "run", DUE - 500_000)
    await turns(desk, 0.9)
    assert desk.sent == []


async def test_an_alarm_wakes_a_sleeper(desk: Desk) -> None:
    """One that is set while nothing is due for long is not slept over."""
    desk.clock.now = DUE / 1_000_000 - 0.05
    desk.alarms.set(RunId("r"), "run", DUE + 3_600_000_000)
    await asyncio.sleep(0)
    desk.book.runs[RunId("r")].timers["run"] = DUE

    desk.alarms.set(RunId("r"), "run", DUE)
    desk.clock.now += 0.1

    async def rang() -> None:
        assert desk.sent

    await assert_soon(rang)


async def test_an_alarm_that_rang_early_rings_again_when_it_is_due(desk: Desk) -> None:
    """This machine's clock is ten minutes ahead of the broker's: the timer is late by nothing, not by a pause that
    was doubled again and again; and the second ring is another command."""
    desk.alarms.set(RunId("r"), "run", DUE)
    desk.clock.now = DUE / 1_000_000 + 600
    await turns(desk, 0)
    assert len(desk.sent) == 1
    desk.alarms.early(RunId("r"), "run", DUE, DUE - 5_000_000)
    del desk.sent[:]
    desk.alarms._heap = [alarm for alarm in desk.alarms._heap if alarm.number]  # without those that are rung blindly
    await turns(desk, 4.9)
    assert desk.sent == []
    await turns(desk, 0.2)
    assert len(desk.sent) == 1


async def test_this_machines_clock_may_be_set_back(desk: Desk) -> None:
    """An hour: what the broker's clock shows is known from its records, and an alarm is late by nothing."""
    desk.alarms.set(RunId("r"), "run", DUE)
    desk.alarms.heard(DUE // 1_000 - 900)
    desk.clock.now -= 3_600
    desk.passed.now += 0.8
    await turns(desk, 0)
    assert desk.sent == []
    desk.passed.now += 0.2
    await turns(desk, 0)
    assert len(desk.sent) == 1


async def test_a_sleeper_is_woken_when_the_broker_is_ahead(desk: Desk) -> None:
    """It had gone to sleep by this machine's clock, which is an hour behind."""
    desk.clock.now -= 3_600
    desk.alarms.set(RunId("r"), "run", DUE)
    await asyncio.sleep(0)
    desk.alarms.heard(DUE // 1_000)

    async def rang() -> None:
        assert desk.sent

    await assert_soon(rang)


def test_old_records_do_not_put_the_clock_back() -> None:
    """A ledger that catches up reads what is hours old."""
    clock = BrokerClock(lambda: 1_000.0, lambda: 5.0)
    clock.heard(10.0)
    assert clock() == 1_000.0
    clock.heard(2_000.0)
    clock.heard(1_990.0)
    assert clock() == 2_000.0


async def test_alarms_of_timers_that_are_gone_are_not_kept() -> None:
    """Most runs end long before their deadline: what is kept follows the timers there are, and each still rings."""
    desk = Desk()
    for number in range(20_000):
        name = f"run-{number}"
        desk.book.runs[RunId(name)] = Run(
            run_id=RunId(name), workflow="w", correlation_id="c", start_command=CommandId("s"), complete_when="explicit"
        )
        desk.book.runs[RunId(name)].timers["run"] = DUE
        desk.alarms.set(RunId(name), "run", DUE)
        desk.alarms.set(RunId(name), "run", DUE)
        if number >= 100:
            del desk.book.runs[RunId(f"run-{number - 100}")]
    assert len(desk.alarms._heap) <= 2_000
    ringing = asyncio.create_task(desk.alarms.run())
    await turns(desk, 1.0)
    ringing.cancel()
    assert {command.run_id for command in desk.sent} == {f"run-{number}" for number in range(19_900, 20_000)}
