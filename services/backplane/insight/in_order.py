"""The facts of one run in its order, from sources that give them in any. Pure.

A run's facts are numbered without a gap, and lie in one partition number of several topics. Each topic is in order, but
none waits for another. Law: the input may come in any pieces and any number of times. The output is numbered one after
the other, each fact once, up to the first gap.
"""

from __future__ import annotations

from collections.abc import Iterable

from backplane.insight.answers import Event


class InOrder:
    """Hands on a run's facts after ``run_seq`` ``after``; holds a fact back until its predecessors have come."""

    def __init__(self, after: int = 0) -> None:
        self.last = after
        """Number of the fact that was handed on last."""
        self._early: dict[int, Event] = {}

    def take(self, events: Iterable[Event]) -> list[Event]:
        """The facts that are complete up to here, now that these came."""
        self._early |= {event.run_seq: event for event in events if event.run_seq > self.last}
        ready = []
        while (following := self._early.pop(self.last + 1, None)) is not None:
            ready.append(following)
            self.last += 1
        return ready
