"""Two sinks on one store: of all inserts that start from one state of a table, ClickHouse takes one.

A table's state is how far it is in each topic-partition. An insert is named after the state that it starts from, and
ClickHouse drops an insert whose name it has taken before. So it drops an insert that a frozen sink sends late, since
another sink has gone on from that state. After each insert a sink looks at the state. It is the expected one, or
another sink has written. Then this one knows too little to go on, and ends.

ClickHouse keeps the names of each month's inserts apart, so a state is that of one month. An insert into a month starts
from that month's state, and moves it. The sink's knowledge of other months may be old. The next record of a
topic-partition belongs to one month, so nobody can have gone past it without moving that month.

Pure: the writer asks the store and inserts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from agents_sdk.errors import BackplaneError

Place = tuple[str, int]
"""(topic, partition)"""
TABLES: Final = ("events", "edges")


class Overtaken(BackplaneError):
    """Another sink has written to the store since this one has looked. The last insert of this one may be dropped."""

    code: ClassVar[str] = "overtaken"
    hint = "one sink a store is enough: the others wait, and go on when it ends"


class State(NamedTuple):
    """The result of one look at a table."""

    months: dict[str, dict[Place, int]]
    """Month → topic-partition → the highest offset stored."""

    @property
    def positions(self) -> dict[Place, int]:
        """Topic-partition → the highest offset stored."""
        found: dict[Place, int] = {}
        for month in self.months.values():
            for place, offset in month.items():
                found[place] = max(offset, found.get(place, -1))
        return found

    def moved(self, month: str, tops: Mapping[Place, int]) -> State:
        """The state after an insert of rows up to ``tops`` into a month."""
        return State({**self.months, month: {**self.months.get(month, {}), **tops}})


def state_of(rows: Iterable[Sequence[Any]]) -> State:
    """Of rows of (month, topic, partition, highest offset)."""
    months: dict[str, dict[Place, int]] = {}
    for month, topic, partition, offset in rows:
        months.setdefault(month, {})[topic, partition] = offset
    return State(months)


class Fence:
    """One sink's knowledge of the tables' states. One insert a table at a time."""

    def __init__(self, states: Mapping[str, State]) -> None:
        """``states``: table → what a look at it has shown."""
        self._states = dict(states)
        self._expected: dict[str, State] = {}
        """Table → its state if the insert that was sent last is stored, until it is known."""

    def begin(self, table: str, month: str, tops: Mapping[Place, int], deletion: str = "") -> str:
        """The name of an insert that is sent now, of rows up to ``tops``. Said again for the same insert, it is the
        same. ``deletion``: the last deletion of rows, where the insert was dropped without it; see ``dropped``."""
        state = self._states[table]
        self._expected[table] = state.moved(month, tops)
        start = sorted(state.months.get(month, {}).items())
        return hashlib.sha256(repr((table, month, deletion, start)).encode()).hexdigest()

    def dropped(self, table: str, now: State) -> bool:
        """Whether the insert was dropped, and nobody has moved the table. Its state was there before: rows have been
        deleted since, and ClickHouse still knows the names of their inserts."""
        return now.months == self._states[table].months

    def end(self, table: str, now: State) -> None:
        """The insert has been answered, and then the table was looked at. Raises Overtaken."""
        if now.months != self._expected[table].months:
            raise Overtaken(f"another sink writes to table {table}")
        del self._expected[table]
        self._states[table] = now

    def look(self, table: str, now: State) -> bool:
        """Whether the insert that was sent last is stored, by a look at the table. Raises Overtaken."""
        if table in self._expected and now.months == self._expected[table].months:
            self.end(table, now)
            return True
        if now.months != self._states[table].months:
            raise Overtaken(f"another sink writes to table {table}")
        self._states[table] = now
        return False
