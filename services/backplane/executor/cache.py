"""Results of reads that may be given again for a while: as many as fit into so many bytes. Pure; ``now`` comes in.

Each executor has its own: a run lies in one partition, so equal calls of a run meet the same cache. Laws
(tests/properties/test_result_cache.py): a hit is the last value under the key, and not older than its time to live. The
bytes kept never exceed the limit; the value that was used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from agents_sdk.core import ids
from backplane.executor.open_call import OpenCall

OVERHEAD: Final = 300
"""Bytes of an entry besides its texts: the key, two tuples, a dictionary's slot."""


class CacheEntry(NamedTuple):
    """A result, and who gave it."""

    result: str
    provider: str


class _Entry(NamedTuple):
    value: CacheEntry
    until: float
    size: int


class ResultCache:
    """Least recently used goes first. Times are seconds of any clock that never goes back."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.bytes = 0
        """Kept at present."""

    def key(self, call: OpenCall) -> str | None:
        """The common part of equal calls: capability, manifest, providers that can be asked, params. None: a call whose
        result must not be given again."""
        if call.contract.capability.cache is None:
            return None
        own = [target for target in call.targets if target.contract is call.contract and target.provider is not None]
        providers = [target.route.provider for target in own if not target.route.closed]
        params = own[0].params if own else {}
        return ids.sha256(ids.canonical([call.contract.fingerprint, providers, params]))

    def get(self, key: str, now: float) -> CacheEntry | None:
        """The value, unless there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: str, value: CacheEntry, now: float, ttl_seconds: float) -> None:
        """Keeps the value for its time; one that is larger than the whole cache is not kept."""
        if key in self._entries:
            self._drop(key)
        size = len(value.result.encode()) + len(value.provider) + OVERHEAD
        if size > self._max_bytes:
            return
        while self.bytes + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(value, now + ttl_seconds, size)
        self.bytes += size

    def _drop(self, key: str) -> None:
        self.bytes -= self._entries.pop(key).size
