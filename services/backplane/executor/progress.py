"""How far a partition has been worked off: the lowest offset that is not finished. Pure."""

from __future__ import annotations

from collections import deque


class Progress:
    """Offsets are taken in rising order and finished in any; ``lowest`` is where a successor must begin."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self.next = 0
        """The offset after the last one read."""

    def read(self, offset: int) -> None:
        """The record at this offset was read and needs nothing."""
        self.next = max(self.next, offset + 1)

    def take(self, offset: int) -> None:
        """The record at this offset was read and is being worked on."""
        self.next = max(self.next, offset + 1)
        self._open.append(offset)

    def finish(self, offset: int) -> None:
        """The work on this offset is done."""
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            self._finished.discard(self._open.popleft())

    @property
    def lowest(self) -> int:
        """Everything below is finished."""
        return self._open[0] if self._open else self.next

    @property
    def unfinished(self) -> int:
        """How many offsets are taken and not finished."""
        return len(self._open) - len(self._finished)
