"""The next work of an agent's process, and how far its inbox is finished. Pure.

Laws: deliveries of one run are started one after the other, in the order they came. At most ``width`` runs are worked
on at a time, those that wait for other agents or runs not counted. The offset committed is the lowest unfinished one,
so that everything lost with a process comes again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """A queue per run."""

    def __init__(self, width: int) -> None:
        if width < 1:
            raise ValueError(f"width is {width}; use 1 or more")
        self.width = width
        self._queues: dict[str, deque[T]] = {}
        """Runs with work, that which is being done not counted; a busy run has an entry though it may be empty."""
        self._ready: deque[str] = deque()
        self._busy: set[str] = set()
        self._waits: dict[str, int] = {}
        """Of these, those that wait for others, and for how many."""
        self.waiting = 0
        """Items added and not started."""

    @property
    def busy(self) -> int:
        """Runs being worked on."""
        return len(self._busy)

    def add(self, run_id: str, item: T) -> None:
        """Puts an item at the end of its run's lane."""
        queue = self._queues.get(run_id)
        if queue is None:
            self._queues[run_id] = deque((item,))
            self._ready.append(run_id)
        else:
            queue.append(item)
        self.waiting += 1

    def start(self) -> tuple[str, T] | None:
        """The next item to work on, with its run; None while there is none, or no room."""
        if not self._ready or len(self._busy) - len(self._waits) >= self.width:
            return None
        run_id = self._ready.popleft()
        self._busy.add(run_id)
        self.waiting -= 1
        return run_id, self._queues[run_id].popleft()

    def drop(self, run_id: str, matches: Callable[[T], bool]) -> list[T]:
        """Takes items of a run that were not started out of its lane."""
        queue = self._queues.get(run_id, deque())
        dropped = [item for item in queue if matches(item)]
        for item in dropped:
            queue.remove(item)
        self.waiting -= len(dropped)
        if dropped and not queue and run_id not in self._busy:
            del self._queues[run_id]
            self._ready.remove(run_id)
        return dropped

    def wait(self, run_id: str) -> None:
        """The work of this run waits for others: it takes no room meanwhile, or those that all wait for might never
        have any."""
        self._waits[run_id] = self._waits.get(run_id, 0) + 1

    def resume(self, run_id: str) -> None:
        """One of the waits is over; it goes on, though more than ``width`` be busy then."""
        self._waits[run_id] -= 1
        if not self._waits[run_id]:
            del self._waits[run_id]

    @property
    def waits(self) -> int:
        """Runs that are worked on and wait."""
        return len(self._waits)

    def finish(self, run_id: str) -> None:
        """The item started for this run is done. Runs take turns: its next one waits after those of other runs."""
        self._busy.remove(run_id)
        if self._queues[run_id]:
            self._ready.append(run_id)
        else:
            del self._queues[run_id]


class AttemptsMadeAhead:
    """Attempts at deliveries that were made in the place of the first one. Each has a record of its own as well, which
    comes after later messages and is to be passed over. An epoch is one time for which a partition is ours: what was
    made in another one says nothing."""

    LIMIT = 10_000
    """Deliveries remembered: the records of what was made come within moments, or, the partition lost, never."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, str], int] = {}

    def note(self, epoch: int, delivery_id: str, attempt: int) -> None:
        """An attempt above the first is made ahead of its record."""
        self._newest[epoch, delivery_id] = attempt
        if len(self._newest) > self.LIMIT:
            del self._newest[next(iter(self._newest))]

    def passed(self, epoch: int, delivery_id: str, attempt: int) -> bool:
        """Whether the record of this attempt is to be passed over; the newest one's is the last to come."""
        newest = self._newest.get((epoch, delivery_id), 0)
        if newest == attempt:
            del self._newest[epoch, delivery_id]
        return attempt <= newest


class OffsetTracker:
    """How far one partition is finished. Offsets are added in rising order and finished in any; gaps between them
    (transaction markers) mean nothing."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._finished: set[int] = set()
        self._next: int | None = None

    def add(self, offset: int) -> bool:
        """Notes an offset as begun; False, and nothing noted, for one that is not above all before (read again)."""
        if self._next is not None and offset < self._next:
            return False
        self._next = offset + 1
        self._order.append(offset)
        return True

    def skip(self, offset: int) -> None:
        """Notes an offset that needs no work."""
        self._next = max(self.next, offset + 1)

    @property
    def next(self) -> int:
        """The offset after the last one begun or skipped; 0 where there was none."""
        return self._next or 0

    def finish(self, offset: int) -> None:
        """Notes it as finished. Raises KeyError when it was not begun, or was finished before."""
        if not self._order or not self._order[0] <= offset <= self._order[-1] or offset in self._finished:
            raise KeyError(offset)
        self._finished.add(offset)
        while self._order and self._order[0] in self._finished:
            self._finished.remove(self._order.popleft())

    @property
    def unfinished(self) -> int:
        """Offsets begun and not finished."""
        return len(self._order) - len(self._finished)

    def committable(self) -> int | None:
        """The offset to read from after a restart: the lowest unfinished one; None while nothing was begun."""
        return self._order[0] if self._order else self._next
