"""The commands that wait for their answer: when to ask again, when to give up. Pure: the time is an argument.

An answer can be lost, since answers are sent outside the ledger's transactions; the command itself is not. Asking again
with the same id gives the first answer again, so a command is sent again after a while. That holds only as long as the
ledger remembers the answer. For a command outside a handler this is until so many later ones of its run
(``FORGOTTEN_AFTER``). Past that it is left unanswered rather than risked twice. ``Turns`` keeps commands that are
answered at once within it. One that is answered when something else ends is asked for again by count as well
(``ASK_AGAIN_AFTER``). While it is open the ledger knows it, and its answer is remembered from its end on.
"""

from __future__ import annotations

from collections import Counter, deque
from math import inf
from typing import Any, Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command

TICK_S: Final = 0.1
"""Times are rounded up to this; a command then costs one list append instead of a timer of its own."""
ASK_AGAIN_S: Final = 3.0
"""First wait; it doubles. Longer than a takeover of static members takes, shorter than people's patience."""
ASK_AGAIN_MAX_S: Final = 20.0
REGISTERED_AGAIN_S: Final = 15.0
REGISTERED_AGAIN_MAX_S: Final = 300.0
"""For a registration, which goes to every partition of every agent that starts. One that is in the log is decided when
there is a ledger again. So only an answer which was lost with its ledger needs another."""
FORGOTTEN_AFTER: Final = 900
"""Later commands of this process about a run after which the ledger may have forgotten an answer. Its own limit is
16,384, for all processes together."""
ASK_AGAIN_AFTER: Final = 512
"""Later commands of this process about a run after which a slow command is asked for again."""
SLOW_KINDS: Final = frozenset(
    {kinds.CALL_CAPABILITY, kinds.REDRIVE_CALL, kinds.AWAIT_RUN, kinds.AWAIT_CHILD, kinds.ASK}
)
"""Answered when something else ends."""
READS: Final = frozenset(
    {kinds.GET_STATE, kinds.GET_STATES, kinds.LIST_STATE, kinds.GET_HISTORY, kinds.AWAIT_RUN, kinds.REGISTER_AGENT}
)
"""Kinds that may be applied twice: they change nothing, or the same."""
REGISTERS: Final = kinds.REGISTER_AGENT
COUNTED_RUNS: Final = 10_000


def _first_wait(command: Command) -> float:
    return REGISTERED_AGAIN_S if command.kind == REGISTERS else ASK_AGAIN_S


class CommandInFlight:
    """One command under way. ``slot`` is the shell's: what the answer is given to."""

    __slots__ = ("again_at", "asked", "command", "deadline", "done", "number", "slot", "wait", "wire")

    def __init__(self, command: Command, slot: Any, wire: Any, deadline: float, again_at: float, number: int) -> None:
        self.command = command
        self.slot = slot
        self.wire = wire
        """The shell's data for sending it again."""
        self.deadline = deadline
        self.again_at = again_at
        self.wait = _first_wait(command)
        self.number = number
        self.done = False
        self.asked: list[Any] = []
        """The shell's data for recognizing a true answer, of each sending."""


class InFlight:
    """All that is under way, by command id."""

    def __init__(self) -> None:
        self._waiting: dict[str, CommandInFlight] = {}
        self._wheel: dict[int, list[CommandInFlight]] = {}
        self._numbers: Counter[str] = Counter()
        self._slow: dict[str, deque[CommandInFlight]] = {}
        """Run → its slow commands, in the order in which they were asked for last."""
        self._overdue: list[CommandInFlight] = []
        """To be asked for again at the next tick, for what was sent since."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, command: Command, slot: Any, wire: Any, now: float, timeout: float | None) -> CommandInFlight:
        """Begins to wait; ``timeout`` in seconds, None for ever. Raises ValueError when the id is under way already."""
        if command.command_id in self._waiting:
            raise ValueError(f"command {command.command_id} is under way already; wait for its answer")
        number = 0
        if not command.delivery_id:
            self._numbers[command.run_id] += 1
            number = self._numbers[command.run_id]
        deadline = inf if timeout is None else now + timeout
        waiting = CommandInFlight(command, slot, wire, deadline, now + _first_wait(command), number)
        self._waiting[command.command_id] = waiting
        self._schedule(waiting)
        if number:
            self._note_slow(waiting)
        return waiting

    def _note_slow(self, added: CommandInFlight) -> None:
        run_id = added.command.run_id
        slow = self._slow.get(run_id)
        if slow is None:
            if added.command.kind not in SLOW_KINDS:
                return
            slow = self._slow[run_id] = deque()
        if added.command.kind in SLOW_KINDS:
            slow.append(added)
        while slow and (slow[0].done or slow[0].number <= added.number - ASK_AGAIN_AFTER):
            waiting = slow.popleft()
            if not waiting.done:
                waiting.number = added.number
                slow.append(waiting)
                self._overdue.append(waiting)
        if not slow:
            del self._slow[run_id]

    def get(self, command_id: str) -> CommandInFlight | None:
        """The waiting for a command, which goes on; None when nobody waits (any more)."""
        return self._waiting.get(command_id)

    def take(self, command_id: str) -> CommandInFlight | None:
        """Ends the waiting for a command; None when nobody waits (any more)."""
        waiting = self._waiting.pop(command_id, None)
        if waiting is not None:
            waiting.done = True
            waiting.wire = None  # the wheel holds it a while longer; its bytes need not
        return waiting

    def drain(self) -> list[CommandInFlight]:
        """Ends all waiting."""
        return [waiting for command_id in list(self._waiting) if (waiting := self.take(command_id))]

    def due(self, now: float) -> tuple[list[CommandInFlight], list[CommandInFlight]]:
        """(to be sent again, given up) since the last call; those given up are no longer waited for."""
        again = [waiting for waiting in self._overdue if not waiting.done]
        self._overdue = []
        expired: list[CommandInFlight] = []
        turn = int(now / TICK_S)
        for tick in [tick for tick in self._wheel if tick <= turn]:
            for waiting in self._wheel.pop(tick):
                if not waiting.done:
                    self._settle(waiting, now, again, expired)
        if len(self._numbers) > COUNTED_RUNS:
            self._forget_idle_runs()
        return again, expired

    def _settle(
        self, waiting: CommandInFlight, now: float, again: list[CommandInFlight], expired: list[CommandInFlight]
    ) -> None:
        if now >= waiting.deadline:
            self._waiting.pop(waiting.command.command_id, None)
            waiting.done = True
            expired.append(waiting)
            return
        if now >= waiting.again_at:
            if self._safe_again(waiting):
                again.append(waiting)
            most = REGISTERED_AGAIN_MAX_S if waiting.command.kind == REGISTERS else ASK_AGAIN_MAX_S
            waiting.wait = min(waiting.wait * 2, most)
            waiting.again_at = now + waiting.wait
        self._schedule(waiting)

    def _safe_again(self, waiting: CommandInFlight) -> bool:
        command = waiting.command
        if command.delivery_id or command.kind in READS:
            return True
        return self._numbers[command.run_id] - waiting.number < FORGOTTEN_AFTER

    def _schedule(self, waiting: CommandInFlight) -> None:
        tick = int(min(waiting.deadline, waiting.again_at) / TICK_S) + 1
        bucket = self._wheel.get(tick)
        if bucket is None:
            self._wheel[tick] = [waiting]
        else:
            bucket.append(waiting)

    def _forget_idle_runs(self) -> None:
        busy = {waiting.command.run_id for waiting in self._waiting.values()}
        self._numbers = Counter({run: count for run, count in self._numbers.items() if run in busy})
