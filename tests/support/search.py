"""An exhaustive search over short histories: every order of what may happen next, each state visited once.

A world is made again from its history for every state, so it may be of any kind that is a function of the history. The
search goes breadth first, so the history that it shows is a shortest one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar


class Searchable(Protocol):
    """What is searched."""

    def enabled(self) -> Iterable[str]:
        """What may happen next."""

    def act(self, action: str) -> None:
        """Lets it happen."""

    def state(self) -> Hashable:
        """What the future depends on: two histories with one state have the same futures."""

    def wrong(self) -> str:
        """Which law is broken; empty: none."""

    def close(self) -> None:
        """Frees what it holds."""


W = TypeVar("W", bound=Searchable)


class Found(NamedTuple):
    """How a search ended."""

    histories: int
    """States visited."""
    wrong: str
    """The law that a history breaks; empty: none does."""
    history: tuple[str, ...]
    """That history."""
    complete: bool
    """Every history up to the depth was looked at."""


def search(made: Callable[[], W], *, depth: int, limit: int) -> Found:
    """Looks at histories of up to ``depth`` actions, and at ``limit`` states at most."""
    seen: set[Hashable] = set()
    waiting: deque[tuple[str, ...]] = deque([()])
    while waiting:
        history = waiting.popleft()
        world = replayed(made, history)
        try:
            state = world.state()
            if state in seen:
                continue
            seen.add(state)
            if wrong := world.wrong():
                return Found(len(seen), wrong, history, False)
            if len(seen) >= limit:
                return Found(len(seen), "", (), False)
            if len(history) < depth:
                waiting.extend((*history, action) for action in world.enabled())
        finally:
            world.close()
    return Found(len(seen), "", (), True)


def replayed(made: Callable[[], W], history: Sequence[str]) -> W:
    """The world after a history."""
    world = made()
    try:
        for action in history:
            world.act(action)
    except BaseException:
        world.close()
        raise
    return world
