"""How many commands a client may have under way, and when it says no more. Pure: times are arguments.

Commands of all clients wait in one line for each partition, so one client's commands under way delay the others. Each
client therefore watches how long its answers take and how many come. While they take longer than the target, it has
only as many under way as are answered within the target. While they do not, it has more each time. Further commands
wait in the client, in order, up to a bound. Beyond that the caller gets an error with the time to come again.

Laws (``tests/properties/test_window.py``): the size stays between a least and a most. Any number of clients that ask
without end settle at answers that take a few targets, none with much more than its share. The size comes back within
seconds when the others are gone.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 2_000
"""100 ms of what a ledger does in a second."""
START: Final = 256
"""Of a client that knows nothing yet; it has ``MOST`` within a second where answers are quick."""
LEAST: Final = 32
"""Also where every answer takes longer than the target, for any load: a slow way to the broker."""
TARGET_S: Final = 1.0
"""The longest time of an answer before a client holds back: about the time that others then wait for this one."""
SPAN_S: Final = 0.5
"""Answers are counted for so long before the size is cut."""
INCREASE: Final = 64.0
"""Commands by which the size grows while as many as it allows are answered in time."""
MAX_WAITING: Final = 10_000
"""Commands that wait in a client for room: with their values what a client may hold."""
SOONEST_S: Final = 0.1
LATEST_S: Final = 60.0


class Window:
    """One client's."""

    def __init__(self, most: int = MOST, max_waiting: int = MAX_WAITING, target_s: float = TARGET_S) -> None:
        self.most = most
        self.max_waiting = max_waiting
        self._least = min(LEAST, most)
        self._target_s = target_s
        self._size = float(min(START, most))
        self._since = float("-inf")
        self._count = 0
        """Answers since then."""
        self._took_s = 0.0
        """The latest times of answers."""

    @property
    def size(self) -> int:
        """How many may be under way now."""
        return int(self._size)

    def answered(self, asked_at: float, now: float) -> None:
        """An answer came, or is waited for no longer."""
        took_s = now - asked_at
        self._took_s += (took_s - self._took_s) / 8
        self._count += 1
        if took_s <= self._target_s:
            self._size = min(self._size + INCREASE / self._size, float(self.most))
        if now - self._since < SPAN_S:
            return
        if took_s > self._target_s:
            in_time = self._count / (now - self._since) * self._target_s
            self._size = max(min(self._size, in_time), float(self._least))
        self._since, self._count = now, 0

    def full(self, waiting: int) -> bool:
        """Whether one more must not wait."""
        return waiting >= self.max_waiting

    def retry_after_s(self, waiting: int) -> float:
        """When half of what waits should have had its turn, as things are."""
        turns = max(waiting / 2, 1.0) / max(self.size, 1)
        return min(max(turns * self._took_s, SOONEST_S), LATEST_S)
