"""Errors that break an attempt off, from however deep in it."""

from __future__ import annotations

from backplane.recovery.outcome import Failure


class Failed(Exception):
    """A step of the attempt ended in this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
