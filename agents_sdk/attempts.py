"""One attempt at a delivery: the names of its commands, and how far it has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from agents_sdk.branches import Branch
from agents_sdk.core.facts import MessageEvent

if TYPE_CHECKING:
    from agents_sdk.errors import Diverged

NAME_CHARS: Final = 200
"""Of the name of a step."""
PLACE_CHARS: Final = 900
"""Of all names around a step together."""


class Attempt:
    """One attempt at a delivery, as all its branches share it."""

    __slots__ = (
        *("asked", "began", "commands", "delivery", "diverged", "first", "got", "holder", "id_of", "names"),
        "step",
    )

    def __init__(
        self,
        delivery: MessageEvent,
        got: Callable[[int], None] | None,
        *,
        first: bool,
        id_of: Callable[[str, str], str],
    ) -> None:
        self.delivery = delivery
        self.got = got
        self.commands = 0
        self.asked: set[str] = set()
        """Ids of its commands about its run that have a fingerprint."""
        self.names: Counter[str] = Counter()
        self.diverged: Diverged | None = None
        """How it asked for something else than is recorded; None while it has not."""
        self.step = ""
        """The place of its last id."""
        self.first = first
        """Certainly no other attempt was made before."""
        self.holder = ""
        """Its name as the holder of claims; empty: it has claimed nothing."""
        self.began = delivery.first_at or delivery.at
        """When the message was delivered first, microseconds UTC."""
        self.id_of = id_of

    def prefix_of(self, name: str, within: str) -> str:
        """The prefix of the steps under a name; the second time that a name is used it has a number as well. Raises
        ValueError."""
        if not 0 < len(name) <= NAME_CHARS:
            raise ValueError(f"the name of a step is {name!r}; use 1 to {NAME_CHARS} characters")
        whole = f"{within}@{name.replace('%', '%25').replace('/', '%2F')}/"
        if len(whole) > PLACE_CHARS:
            raise ValueError(f"the names around step {name!r} have more than {PLACE_CHARS} characters together")
        self.names[whole] += 1
        times = self.names[whole]
        return whole if times == 1 else f"{within}~{times}{whole.removeprefix(within)}"

    def next(self, branch: Branch) -> str:
        """The name that the id of the branch's next command derives from; none of before a restart has it."""
        self.commands += 1
        if self.got is not None:
            self.got(self.commands)
        self.step = branch.next()
        return self.place(self.step)

    def place(self, name: str) -> str:
        """The place of this name, which none of before a restart has."""
        return f"restart/{self.delivery.restarts}/{name}" if self.delivery.restarts else name
