"""How long to wait for a provider's rate limit: the core.

Here: values in, the moment to begin out. Not here: clocks, waiting.

Law (tests/properties/test_rate.py holds it against a naive oracle): in no window of ``seconds`` begins more than
``limit``. Nobody waits longer than that needs; the first to come begins first. A token bucket keeps no such law. After
a pause it lets twice the limit through within a minute, and a provider that counts answers 429.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Entry:
    """Something that begins at ``at`` and counts ``amount``."""

    at: float
    amount: int


class Window:
    """Attempts that began, or will, in the last ``seconds``."""

    def __init__(self, limit: int, seconds: float = 60.0) -> None:
        self._limit = limit
        self._seconds = seconds
        self._entries: deque[Entry] = deque()

    def book(self, amount: int, now: float, until: float) -> Entry | float:
        """The entry, to be begun at its ``at``; or the seconds until it could begin, when that is not before
        ``until``: then nothing is booked. An amount above the limit counts as the limit."""
        amount = min(amount, self._limit)
        while self._entries and self._entries[0].at <= now - self._seconds:
            self._entries.popleft()
        at = max(now, self._entries[-1].at) if self._entries else now
        inside = [entry for entry in self._entries if entry.at > at - self._seconds]
        taken = sum(entry.amount for entry in inside)
        for oldest in inside:
            if taken + amount <= self._limit:
                break
            at = oldest.at + self._seconds
            taken -= oldest.amount
        if at > now and at >= until:
            return at - now
        booked = Entry(at, amount)
        self._entries.append(booked)
        return booked

    def correct(self, entry: Entry, amount: int) -> None:
        """The entry turned out to count this much: tokens are known only afterwards."""
        entry.amount = amount

    def cancel(self, entry: Entry) -> None:
        """The entry did not begin after all."""
        if entry in self._entries:
            self._entries.remove(entry)
