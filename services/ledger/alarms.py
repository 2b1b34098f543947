"""Sends ``TimerFired`` when a timer of a partition is due. What is due is the book's to say; this only keeps watch.

An alarm rings until the book has no such timer any more: the command may be lost, or come before its time by the
broker's clock, which alone decides. Waiting is by one sleep until the next alarm, in slices, so that a clock that is
set anew is noticed.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from agents_sdk.core.commands import Command
from agents_sdk.core.ledger import Book, timers

log = logging.getLogger("backplane.ledger")

AGAIN_S: Final = 0.1
"""Between two rings of one alarm, doubled each time: what rang too early is late by as much as it was early."""
AGAIN_LIMIT_S: Final = 30.0
SLICE_S: Final = 30.0
"""How late a timer is at most when the machine's clock was set forward."""


class _Alarm(NamedTuple):
    rings_at: float
    """Seconds since 1970."""
    run_id: str
    name: str
    due: int
    rang: int = 0
    """How often."""


class Alarms:
    """The timers of one partition's book."""

    def __init__(
        self, book: Callable[[], Book], send: Callable[[Command], None], now: Callable[[], float] = time.time
    ) -> None:
        """``send`` puts a command about a run of the partition in bp.commands; ``now`` is in seconds since 1970."""
        self._book = book
        self._send = send
        self._now = now
        self._heap: list[_Alarm] = []
        self._sooner = asyncio.Event()

    def set(self, run_id: str, name: str, due: int) -> None:
        """Keeps watch over a timer; ``due`` in microseconds since 1970."""
        alarm = _Alarm(due / 1_000_000, run_id, name, due)
        if not self._heap or alarm < self._heap[0]:
            self._sooner.set()
        heapq.heappush(self._heap, alarm)

    def set_all(self, timers_of: Iterable[tuple[str, dict[str, int]]]) -> None:
        """Keeps watch over the timers of (run, timers)."""
        for run_id, names in timers_of:
            for name, due in names.items():
                self.set(run_id, name, due)

    async def run(self) -> None:
        """Rings until cancelled."""
        while True:
            self._sooner.clear()
            now = self._now()
            while self._heap and self._heap[0].rings_at <= now:
                self._ring(heapq.heappop(self._heap), now)
            wait = min(self._heap[0].rings_at - now, SLICE_S) if self._heap else None
            try:
                await asyncio.wait_for(self._sooner.wait(), wait)
            except TimeoutError:
                continue

    def _ring(self, alarm: _Alarm, now: float) -> None:
        run = self._book().runs.get(alarm.run_id)
        if run is None or run.timers.get(alarm.name) != alarm.due:
            return
        try:
            self._send(timers.fired(alarm.run_id, run.correlation_id, alarm.name, alarm.due, alarm.rang))
        except BufferError:
            log.warning("timer %s of run %s: the queue to the broker is full", alarm.name, alarm.run_id)
        wait = min(AGAIN_S * 2**alarm.rang, AGAIN_LIMIT_S)
        heapq.heappush(self._heap, alarm._replace(rings_at=now + wait, rang=alarm.rang + 1))
