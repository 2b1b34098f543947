"""How many commands one process has under way about one run: as many as the ledger surely remembers the answers to.

The ledger remembers the answers to the last commands of a run (``RECENT_LIMIT``), by any sender. A command whose answer
is lost is sent again, and has to be found there. So a process lets at most ``WINDOW`` commands begin about a run after
the oldest one that is not answered. The others wait for their turn, in the order in which they were issued.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

WINDOW: Final = 256
"""So 64 processes may be busy in one run at once. At 5 ms a command it allows 50,000 a second."""


class _Waiter(NamedTuple):
    turn: asyncio.Future[int]
    counts: bool


class _Run:
    """The commands of one run."""

    __slots__ = ("admitted", "begun", "queue", "under_way")

    def __init__(self) -> None:
        self.begun = 0
        self.under_way: dict[int, None] = {}
        """Numbers of those that count, oldest first."""
        self.queue: deque[_Waiter] = deque()
        self.admitted = 0
        """Of the queue, those whose turn it is and that have not run yet: nobody may overtake them."""

    def has_room(self, window: int) -> bool:
        return not self.under_way or self.begun - next(iter(self.under_way)) < window

    def begin(self, counts: bool) -> int:
        number = self.begun
        if counts:
            self.begun += 1
            self.under_way[number] = None
        return number if counts else -1

    def idle(self) -> bool:
        return not (self.under_way or self.queue or self.admitted)


class Turns:
    """The order of turns, for all runs of a process. Belongs to one event loop."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._runs: dict[str, _Run] = {}
        self.waiting = 0
        """Commands that wait for their turn, of all runs."""

    async def take(self, run_id: str, *, counts: bool) -> int:
        """Returns when a command about the run may be sent; the number to give back with ``done``. A command that does
        not count (it is answered when something else ends) waits for those before it, and for no room."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = _Run()
        if not run.queue and not run.admitted and (not counts or run.has_room(self._window)):
            return run.begin(counts)
        waiting = _Waiter(asyncio.get_running_loop().create_future(), counts)
        run.queue.append(waiting)
        self.waiting += 1
        try:
            number = await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                run.admitted -= 1
                self.done(run_id, waiting.turn.result())
            raise
        finally:
            self.waiting -= 1
        run.admitted -= 1
        self._admit(run)
        return number

    def done(self, run_id: str, number: int) -> None:
        """The command was answered, or is not waited for any more."""
        run = self._runs.get(run_id)
        if run is None:
            return
        run.under_way.pop(number, None)
        self._admit(run)
        if run.idle():
            del self._runs[run_id]

    def _admit(self, run: _Run) -> None:
        while run.queue and (not run.queue[0].counts or run.has_room(self._window)):
            waiting = run.queue.popleft()
            if not waiting.turn.done():
                run.admitted += 1
                waiting.turn.set_result(run.begin(waiting.counts))
