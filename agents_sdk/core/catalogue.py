"""The registry's topics, folded: manifests, switches, executors that live. Pure; ``now`` comes in.

Laws (tests/properties/test_catalogue.py): the last record of a key counts, and a tombstone takes it back. Other keys do
not matter, and a compacted topic gives the same as the whole one. A record that is older than the valid one, or than
its removal, is a copy or came late: it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from agents_sdk.core.registry import CapabilityManifest, ExecutorBeat, Record, Switch

MISSED_BEATS: Final = 3
"""An executor that is silent for so many of its periods is taken for dead: one or two may be late on a busy machine."""
FORGOTTEN_BEATS: Final = 120
"""Ten minutes at the usual period: then nothing is kept of it."""
SHORTEST_MS: Final = 1_000
ENABLED: Final = Switch(target="", state="enabled")


KEY_OF: Final[dict[type[Record], str]] = {CapabilityManifest: "name", Switch: "target", ExecutorBeat: "executor"}
"""Record → the field that is its Kafka key."""
SAID_AT: Final[dict[type[Record], str]] = {CapabilityManifest: "applied_at", Switch: "set_at", ExecutorBeat: "beat_at"}
"""Record → the field that says when it was written, microseconds UTC by its writer's clock."""


def key_of(record: Record) -> str:
    """The Kafka key that the record belongs under."""
    return str(getattr(record, KEY_OF[type(record)]))


def said_at(record: Record) -> int:
    """When the record was written, microseconds UTC."""
    return int(getattr(record, SAID_AT[type(record)]))


class RegisteredManifest(NamedTuple):
    """A manifest and its version."""

    version: int
    """Its offset in bp.capabilities plus one."""
    record: CapabilityManifest


class LastHeartbeat(NamedTuple):
    """An executor's last beat, and when it was heard by the reader's own clock, in seconds."""

    beat: ExecutorBeat
    at: float


class Catalogue:
    """The registry as one reader knows it."""

    def __init__(self) -> None:
        self.manifests: dict[str, RegisteredManifest] = {}
        self.switches: dict[str, Switch] = {}
        self.beats: dict[str, LastHeartbeat] = {}
        self.said: dict[tuple[type[Record], str], int] = {}
        """Kind and key → when what counts was said, microseconds UTC; of what was removed: when it was."""
        self.outlived: set[tuple[type[Record], str]] = set()
        """Kind and key of a valid record that is followed by an older one in the log. Compaction will keep the older
        one alone, so that what counts has to be said again, as it was."""

    def take(self, record: Record, offset: int, now: float) -> None:
        """Folds the next record; ``now`` in seconds is when it was heard, or written where it is read later."""
        if not self._newer(type(record), key_of(record), said_at(record)):
            if not isinstance(record, ExecutorBeat):
                self.outlived.add((type(record), key_of(record)))
            return
        if isinstance(record, CapabilityManifest):
            self.manifests[record.name] = RegisteredManifest(offset + 1, record)
        elif isinstance(record, Switch):
            self.switches[record.target] = record
        else:
            self.beats[record.executor] = LastHeartbeat(record, now)
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Each start of an executor has a name of its own, and one that was killed takes back no beat."""
        forgotten = [
            name
            for name, (beat, at) in self.beats.items()
            if now - at > FORGOTTEN_BEATS * max(beat.period_ms, SHORTEST_MS) / 1000
        ]
        for name in forgotten:
            del self.beats[name]

    def drop(self, kind: type[Record], key: str, at: int | None = None) -> None:
        """Folds a tombstone that was said ``at``; None: nobody knows when."""
        if not self._newer(kind, key, self.said.get((kind, key), 0) if at is None else at):
            return
        held: dict[str, RegisteredManifest] | dict[str, Switch] | dict[str, LastHeartbeat]
        if kind is CapabilityManifest:
            held = self.manifests
        elif kind is Switch:
            held = self.switches
        else:
            held = self.beats
        held.pop(key, None)

    def standing(self, kind: type[Record], key: str) -> Record | None:
        """The manifest or switch that counts for a key; None: it was removed."""
        if kind is CapabilityManifest:
            held = self.manifests.get(key)
            return held.record if held is not None else None
        return self.switches.get(key)

    def _newer(self, kind: type[Record], key: str, at: int) -> bool:
        if at < self.said.get((kind, key), 0):
            return False
        self.said[kind, key] = at
        return True

    def following(self, kind: type[Record], key: str, now: int) -> int:
        """The time with which something new is said about a key: now, or just after what counts, where that is ahead
        of this clock. Microseconds UTC."""
        return max(now, self.said.get((kind, key), 0) + 1)

    def switch(self, capability: str, provider: str = "") -> Switch:
        """How a capability, or one of its providers, is switched; a provider's own switch, not its capability's."""
        return self.switches.get(f"{capability}/{provider}" if provider else capability, ENABLED)

    def living(self, now: float) -> Iterator[ExecutorBeat]:
        """The last beats of the executors that live."""
        for heard in self.beats.values():
            if now - heard.at <= MISSED_BEATS * heard.beat.period_ms / 1000:
                yield heard.beat

    def askable(self, now: float) -> set[str]:
        """``capability/provider`` for each provider that some living executor can ask and nobody has disabled."""
        ready = {each for beat in self.living(now) for each in beat.ready}
        return {each for each in ready if self._on(each) and self._on(each.partition("/")[0])}

    def _on(self, target: str) -> bool:
        return self.switches.get(target, ENABLED).state != "disabled"
