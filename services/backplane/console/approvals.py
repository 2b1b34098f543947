"""Wishes of agents beyond their grants, for an operator to look at and approve.

Read from Kafka, in a thread: a page that shows it besides other things waits a moment and comes without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from agents_sdk.errors import BackplaneError

if TYPE_CHECKING:
    from agents_sdk.core.roster import IdentityStatus

KEPT_S: Final = 3.0
"""How old it may be."""
PATIENCE_S: Final = 1.0
"""How long a page waits for it."""


class WaitingAgents(NamedTuple):
    """Agents that wait for an approval, or why they cannot be listed."""

    found: list[IdentityStatus]
    problem: str = ""

    def of(self, name: str) -> tuple[str, ...]:
        """The wishes of one agent."""
        return next((each.missing for each in self.found if each.name == name), ())


class Approvals:
    """Reads who waits at most once in ``KEPT_S``. Any thread may ask."""

    def __init__(self, standings: Callable[[], list[IdentityStatus]]) -> None:
        """``standings`` gives everybody the log knows; it blocks, and raises BackplaneError."""
        self._standings = standings
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "approvals")
        self._reading: Future[WaitingAgents] | None = None
        self._kept: tuple[float, WaitingAgents] = (float("-inf"), WaitingAgents([]))

    def now(self) -> WaitingAgents:
        """The waiting agents, some seconds old at most; with a problem where Kafka does not say in time."""
        with self._lock:
            read_at, kept = self._kept
            if time.monotonic() - read_at < KEPT_S:
                return kept
            if self._reading is None or self._reading.done():
                self._reading = self._reader.submit(self._read)
            reading = self._reading
        try:
            return reading.result(PATIENCE_S)
        except TimeoutError:
            return WaitingAgents(kept.found, "Kafka has not said yet what agents ask for")

    def forget(self) -> None:
        """Something was granted: what is kept, or being read, is no answer any more."""
        with self._lock:
            self._kept = (float("-inf"), self._kept[1])
            self._reading = None

    def _read(self) -> WaitingAgents:
        try:
            found = WaitingAgents([each for each in self._standings() if each.missing])
        except BackplaneError as error:
            found = WaitingAgents([], error.message)
        with self._lock:
            self._kept = (time.monotonic(), found)
        return found
