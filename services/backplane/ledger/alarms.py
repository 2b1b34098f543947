"""Sends ``TimerFired`` when a timer of a partition is due. The book decides which alarm is due; this only keeps watch.

An alarm rings until the book has no such timer any more. The command may be lost, or come before its time by the
broker's clock, which alone decides. The broker's time is known from the records (``BrokerClock``), so this machine's
clock may be wrong, or be set. Waiting is by one sleep until the next alarm.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from agents_sdk.core.commands import Command
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, timers

log = logging.getLogger("backplane.ledger")

AGAIN_S: Final = 0.1
"""Between two rings of one alarm, doubled each time: what rang too early is late by as much as it was early."""
AGAIN_LIMIT_S: Final = 30.0
SLICE_S: Final = 30.0
"""How late a timer is at most where nothing was heard of the broker's clock."""
SIFT_AT: Final = 1_000
"""Alarms among which those that nobody needs are looked for; later whenever they have doubled."""
AWAKE_S: Final = 0.05
"""A step of the clock above which a sleeper for an alarm looks at it again."""


class BrokerClock:
    """A lower bound of the broker's clock: the newest time it gave a record, plus the time since then by a clock that
    nobody sets. If this machine's clock shows more, that counts."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = -math.inf
        """Of the monotonic clock, seconds."""

    def __call__(self) -> float:
        """Seconds since 1970."""
        return max(self._wall(), self._monotonic() + self._ahead)

    def heard(self, at: float) -> None:
        """The broker gave a record this time, seconds since 1970."""
        self._ahead = max(self._ahead, at - self._monotonic())


class _Alarm(NamedTuple):
    rings_at: float
    """Seconds since 1970."""
    run_id: RunId
    name: str
    due: int
    rang: int = 0
    """How often."""
    number: int = 0
    """Of its first ring: no two rings are one command, or the second would be taken for the first, sent again."""


class Alarms:
    """The timers of one partition's book."""

    def __init__(
        self, book: Callable[[], PartitionState], send: Callable[[Command], None], clock: BrokerClock | None = None
    ) -> None:
        """``send`` puts a command about a run of the partition in bp.commands."""
        self._book = book
        self._send = send
        self._clock = clock or BrokerClock()
        self._heap: list[_Alarm] = []
        self._sift_at = SIFT_AT
        self._sooner = asyncio.Event()

    def set(self, run_id: RunId, name: str, due: int) -> None:
        """Keeps watch over a timer; ``due`` in microseconds since 1970."""
        self._push(_Alarm(due / 1_000_000, run_id, name, due))

    def _push(self, alarm: _Alarm) -> None:
        if not self._heap or alarm < self._heap[0]:
            self._sooner.set()
        heapq.heappush(self._heap, alarm)
        if len(self._heap) > self._sift_at:
            self._sift()

    def _sift(self) -> None:
        """Leaves one alarm for each timer that the book has: most runs end long before their deadline, and a timer may
        be set twice."""
        kept: dict[tuple[RunId, str, int], _Alarm] = {}
        for alarm in sorted(self._heap):
            if self._stands(alarm):
                kept.setdefault((alarm.run_id, alarm.name, alarm.due), alarm)
        self._heap = list(kept.values())
        heapq.heapify(self._heap)
        self._sift_at = max(2 * len(self._heap), SIFT_AT)

    def _stands(self, alarm: _Alarm) -> bool:
        run = self._book().runs.get(alarm.run_id)
        return run is not None and run.timers.get(alarm.name) == alarm.due

    def heard(self, timestamp_ms: int) -> None:
        """The broker gave a record of the partition this time."""
        before = self._clock()
        self._clock.heard(timestamp_ms / 1_000)
        if self._clock() - before > AWAKE_S:
            self._sooner.set()

    def early(self, run_id: RunId, name: str, due: int, at: int) -> None:
        """An alarm rang at this time by the broker's clock, before its own, as it does where this machine's clock is
        ahead. It rings again when the missing time has passed. Both in microseconds since 1970."""
        self._push(_Alarm(self._clock() + (due - at) / 1_000_000, run_id, name, due, number=at))

    def set_all(self, timers_of: Iterable[tuple[RunId, dict[str, int]]]) -> None:
        """Keeps watch over the timers of (run, timers)."""
        for run_id, names in timers_of:
            for name, due in names.items():
                self.set(run_id, name, due)

    async def run(self) -> None:
        """Rings until cancelled."""
        while True:
            self._sooner.clear()
            now = self._clock()
            while self._heap and self._heap[0].rings_at <= now:
                alarm = heapq.heappop(self._heap)
                try:
                    self._ring(alarm, now)
                except Exception:  # one timer less until the partition is taken over; the others ring
                    log.exception("timer %s of run %s cannot ring", alarm.name, alarm.run_id)
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
            self._send(timers.fired(alarm.run_id, run.correlation_id, alarm.name, alarm.due, alarm.number + alarm.rang))
        except BufferError:
            log.warning("timer %s of run %s: the queue to the broker is full", alarm.name, alarm.run_id)
        wait = min(AGAIN_S * 2**alarm.rang, AGAIN_LIMIT_S)
        heapq.heappush(self._heap, alarm._replace(rings_at=now + wait, rang=alarm.rang + 1))
