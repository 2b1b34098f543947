"""The executor's registry, kept as the topics say: what is applied, removed or switched counts from the next call on.

A call that is under way keeps the contract it began with; only ``Registry.get`` gives the newer one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from agents_sdk.core.catalogue import key_of
from agents_sdk.core.registry import CapabilityManifest, ExecutorBeat, Record
from agents_sdk.follower import Follower
from agents_sdk.registrar import Registrar, trust
from agents_sdk.topics import CAPABILITIES, SWITCHES
from backplane.manifests import publish
from backplane.manifests.registry import Registry

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

log = logging.getLogger("backplane.executor")


class LiveRegistry:
    """Follows the registry's topics; ``registry`` is what they say, on the event loop's thread."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._follower = Follower(settings, codec, trust(settings))
        self.registry = Registry([], self._follower.catalogue)
        self._following = False

    def open(self, own: Registry, release: str) -> None:
        """Reads the registry, adds those of this process's own manifests that it does not have, and knows them all.
        Blocks. Raises Unreachable, TopicsNotApplied, KeyUnusable."""
        self._follower.open()
        catalogue = self._follower.catalogue
        missing: list[CapabilityManifest] = []
        for source in publish.OWN:
            ours = [each for each in own if publish.source_of(each) == source]
            missing += publish.records(publish.plan(catalogue, ours, source, absent_only=True), source, release)
        if missing:
            log.info("adding to the registry: %s", ", ".join(record.name for record in missing))
            Registrar(self._settings, self._codec).put(missing)
            self._follower.catch_up()
        self._changed([(CapabilityManifest, name) for name in catalogue.manifests])

    def follow(self, changed: Callable[[], None]) -> None:
        """Goes on with what comes, on the running loop, and says so each time; the first call counts."""
        if self._following:
            return
        self._following = True

        def taken(records: Iterable[tuple[type[Record], str]]) -> None:
            about = [each for each in records if each[0] is not ExecutorBeat]
            self._changed(about)
            if about:
                changed()

        self._follower.follow(taken)

    def close(self) -> None:
        """Ends following. Blocks for a moment."""
        self._follower.close()

    def outlived(self) -> tuple[list[Record], list[tuple[type[Record], str, int]]]:
        """Records to repeat, since something older lies after them in the log, where compaction would keep that alone:
        records, and removals with their time."""
        catalogue = self._follower.catalogue
        standing = {place: catalogue.standing(*place) for place in sorted(catalogue.outlived, key=str)}
        records = [msgspec.structs.replace(one, signature=b"") for one in standing.values() if one is not None]
        removed = [(*place, catalogue.said[place]) for place, one in standing.items() if one is None]
        return records, removed

    def said(self, records: Iterable[Record], removed: Iterable[tuple[type[Record], str, int]]) -> None:
        """These were said again."""
        places = {(type(one), key_of(one)) for one in records} | {(kind, key) for kind, key, _ in removed}
        self._follower.catalogue.outlived -= places

    @property
    def offset(self) -> int:
        """How far it is, for the heartbeat."""
        return self._follower.next[CAPABILITIES] + self._follower.next[SWITCHES]

    def _changed(self, taken: Iterable[tuple[type[Record], str]]) -> None:
        for kind, name in taken:
            if kind is CapabilityManifest:
                self._manifest(name)

    def _manifest(self, name: str) -> None:
        held = self._follower.catalogue.manifests.get(name)
        if held is None:
            self.registry.drop(name)
            log.info("capability %s was removed", name)
            return
        try:
            self.registry.put(publish.contract_of(held))
        except publish.Unreadable as error:
            # what is known goes on to count
            log.error("manifest %s version %d cannot be used: %s", name, held.version, error)
