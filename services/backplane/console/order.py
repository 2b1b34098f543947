"""A run's facts in the order of the run, on a page and in the stream that goes on from it. Pure.

The facts of a run lie in several topics. Neither the store nor a reader of Kafka has them in their order: the second
may come before the first. They count 1, 2, … without gaps. So a page shows the facts before the first gap, and its
stream begins where nothing after that is missed. The stream holds a fact back while one before it has not come.

Law: page and stream together show each fact once, in its order, wherever the stream is cut and begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from backplane.insight.answers import Event
from backplane.sink.fence import Place
from backplane.sink.rows import Record

GAP_S: Final = 10.0
"""How long a missing fact is waited for. One that cannot be read, or that Kafka has deleted, never comes."""
HELD: Final = 1_000
"""Facts that a stream holds back at most."""


class StreamStart(NamedTuple):
    """Where a stream goes on."""

    shown: int
    """The number of the last fact that the page shows."""
    following: dict[Place, int]
    """The next offset of each partition."""


def beginning(events: Iterable[Event], stored: Mapping[Place, int], now_us: int) -> StreamStart:
    """Where the stream begins of a page that is made from ``events``, all that the store has of a run, in their order.
    ``stored``: the next offsets of the store, asked for before the events were. A gap that is older than ``GAP_S`` is
    not waited for."""
    shown, following = 0, dict(stored)
    for event in events:
        if event.run_seq <= shown + 1 or event.at < now_us - GAP_S * 1e6:
            shown = max(shown, event.run_seq)
        else:
            place = event.topic, event.partition
            following[place] = min(following.get(place, event.offset), event.offset)
    return StreamStart(shown, following)


class InOrder:
    """Gives facts out in the order of their run. The caller has the clock."""

    def __init__(self, shown: int) -> None:
        """``shown``: the number of the last fact that was given out before."""
        self.shown = shown
        self._held: dict[int, Record] = {}
        self._since = 0.0

    def take(self, records: Iterable[Record], now: float) -> list[Record]:
        """The facts that can be shown now, since these have come. A fact comes twice without harm."""
        for one in records:
            if one.row.run_seq > self.shown:
                self._held.setdefault(one.row.run_seq, one)
        given = self._next()
        late = now - self._since > GAP_S and not given
        while self._held and (late or len(self._held) > HELD):
            self.shown = min(self._held) - 1
            given += self._next()
        if given or not self._held:
            self._since = now
        return given

    def _next(self) -> list[Record]:
        given = []
        while (found := self._held.pop(self.shown + 1, None)) is not None:
            given.append(found)
            self.shown += 1
        return given

    def following(self, read: Mapping[Place, int]) -> dict[Place, int]:
        """Where a stream that is cut now has to go on, when all before ``read`` was taken."""
        found = dict(read)
        for one in self._held.values():
            place = one.topic, one.partition
            found[place] = min(found.get(place, one.offset), one.offset)
        return found


def matches(event: Event, kind: str = "", agent: str = "", q: str = "") -> bool:
    """Whether an event is of the kind and agent and holds the text."""
    if (kind and event.kind != kind) or (agent and agent not in (event.agent, event.recipient)):
        return False
    texts = (
        *(event.kind, event.agent, event.key, event.name, event.capability, event.provider, event.model),
        *(event.body, event.rationale, event.action, event.error_message, event.message, event.reason, event.said),
        event.event_id,
    )
    return not q or any(q.lower() in text.lower() for text in texts)
