"""When a partition's next snapshot is due. Pure: the time is an argument.

A partition's debt is what a successor would have to fold: the facts since the last snapshot. It includes those that
this worker folded itself when it took the partition over. A worker that dies more often than it takes snapshots would
otherwise leave more to fold each time.

Laws: without a debt nothing is due; more facts or more time never make a due snapshot wait. Suppose each worker only
takes the snapshot that is due at its beginning, however long it lives. Then no fold is longer than ``between`` and the
facts that came while one snapshot was written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LONGEST_S: Final = 60.0
"""A debt of any size is settled after this long."""
INHERITED_SHARE: Final = 0.1
"""Of ``between``: what was folded by a takeover and is more than this, is settled at once."""


@dataclass(frozen=True)
class Debt:
    """Facts that no snapshot has."""

    facts: int = 0
    since: float = 0.0
    """When the first of them came, in seconds of any one clock."""
    inherited: int = 0
    """Of these, those that were folded when the partition was taken over."""

    def more(self, facts: int, now: float) -> Debt:
        """Facts were written."""
        if not facts:
            return self
        return replace(self, facts=self.facts + facts, since=self.since if self.facts else now)

    def joined(self, other: Debt) -> Debt:
        """Both: a snapshot that was to settle ``other`` was not written."""
        if not self.facts or not other.facts:
            return self if self.facts else other
        return Debt(self.facts + other.facts, min(self.since, other.since), self.inherited + other.inherited)


def inherited(folded: int, now: float) -> Debt:
    """The debt of a worker that has folded so many facts to take a partition over."""
    return Debt(folded, now, folded)


def due(debt: Debt, now: float, between: int) -> bool:
    """Whether a snapshot is due: facts and time count together, an inherited debt is not put off. ``between`` is the
    number of facts between two snapshots of a partition with much to do."""
    if not debt.facts:
        return False
    if debt.inherited > between * INHERITED_SHARE:
        return True
    return debt.facts / between + max(now - debt.since, 0.0) / LONGEST_S >= 1.0
