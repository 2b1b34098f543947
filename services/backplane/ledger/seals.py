"""Whether a partition's snapshot is the one that its ledger wrote, whole. No I/O: entries come in, changes go out.

The sum (modulo 2²⁵⁶) of a keyed hash of each entry is written last, under a key of its own. So one entry that was
added, changed, removed, or copied from an older snapshot is found, and a change costs the hash of what changed. A
planned write is noted before it. A snapshot whose writing was stopped has each entry as it was or as it was to be, in
that order. It is as good as a whole one. A snapshot that is not proven is no loss but of time: the facts have it all.
Laws (tests/properties/test_snapshot_seals.py): what was written is believed wherever the writing stopped, and nothing
else is.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec

from backplane.ledger.pieces import PIECE_BYTES, Changes

SUM_BYTES: Final = 32
_MODULUS: Final = 1 << (8 * SUM_BYTES)
DIGEST_BYTES: Final = 32

Noted = list[tuple[str, bytes, bytes]]
"""Key, its digest before and after; empty: it is not there."""


class NotProven(ValueError):
    """The entries are not what the ledger wrote."""


class Seal:
    """The proof over one partition's entries."""

    def __init__(self, key: bytes, partition: int) -> None:
        self._keyed = blake2b(key=key, digest_size=DIGEST_BYTES)
        self._sum_key, self._next_key = f"{partition}/seal", f"{partition}/seal-next"
        self._digests: dict[str, bytes] = {}
        self._foreign: set[str] = set()
        """Keys that are there though nobody proved to have written them."""

    def check(self, stored: dict[str, bytes]) -> None:
        """Takes the seal out of the entries. Raises NotProven; then the next ``seal`` removes what is there."""
        stored_sum, following = stored.pop(self._sum_key, b""), stored.pop(self._next_key, b"")
        digests = {key: self._digest(key, value) for key, value in stored.items()}
        self._digests, self._foreign = digests, set()
        if (
            stored
            and stored_sum != self._sum_seal(_total(digests.values()))
            and not self._interrupted(stored_sum, following)
        ):
            self._digests, self._foreign = {}, set(stored)
            raise NotProven("its entries are not those that a ledger of this platform wrote")

    def _interrupted(self, stored_sum: bytes, following: bytes) -> bool:
        """Whether the entries are those of a snapshot whose successor was being written."""
        noted = self._noted(following)
        if noted is None:
            return False
        before = dict(self._digests)
        stopped = False
        for key, old, new in noted:
            # in the order in which they were to be written: after the first that was not, none was
            there = before.pop(key, b"")
            if there not in (old, new) or (stopped and there != old):
                return False
            stopped = stopped or there != new
            if old:
                before[key] = old
        return stored_sum == self._sum_seal(_total(before.values())) or not (stored_sum or before)

    def seal(self, changes: Changes) -> Changes:
        """The changes, with their proofs before and after."""
        written = {key for key, _ in changes}
        gone: Changes = [(key, None) for key in sorted(self._foreign - written)]
        self._foreign = set()
        noted: Noted = []
        after = self._digests
        for key, value in (*changes, *gone):
            old, new = after.pop(key, b""), b"" if value is None else self._digest(key, value)
            noted.append((key, old, new))
            if new:
                after[key] = new
        following = self._signed(msgspec.msgpack.encode(noted))
        sum_change: Changes = [(self._sum_key, self._sum_seal(_total(after.values())))]
        if len(following) > PIECE_BYTES:
            return [*changes, *gone, *sum_change]
        return [(self._next_key, following), *changes, *gone, *sum_change]

    def _digest(self, key: str, value: bytes) -> bytes:
        hashed = self._keyed.copy()
        hashed.update(b"entry" + len(key).to_bytes(4, "big") + key.encode() + value)
        return hashed.digest()

    def _sum_seal(self, total: int) -> bytes:
        hashed = self._keyed.copy()
        hashed.update(b"sum" + total.to_bytes(SUM_BYTES, "big"))
        return hashed.digest()

    def _signed(self, content: bytes) -> bytes:
        hashed = self._keyed.copy()
        hashed.update(b"next" + content)
        return hashed.digest() + content

    def _noted(self, following: bytes) -> Noted | None:
        content = following[DIGEST_BYTES:]
        if not following or following != self._signed(content):
            return None
        return msgspec.msgpack.decode(content, type=Noted)


def _total(digests: Iterable[bytes]) -> int:
    return sum(int.from_bytes(each, "big") for each in digests) % _MODULUS
