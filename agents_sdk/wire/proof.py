"""Proofs of records that are not commands: who wrote them, and where and when they belong. Pure.

A proof travels in the record's headers, so that the bytes of a fact are the same in its topic and in an inbox. It is a
place, the generation of the key, and a keyed BLAKE2b hash (RFC 7693) over topic, partition, place, key and value. The
place is (offset of the command, number of the fact among those of the command). For a tombstone of the registry it is
(time in microseconds, 0). Laws: a proven record is believed only where it was written. One changed byte of anything
that is covered, another topic, partition or key, is found. Of one partition's records in the order of the log each has
a greater place than the one before. So a copy is found too (``Sequence``).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from agents_sdk.wire.signature import LENGTH

PROOF: Final = "bp_proof"
"""Header of the proof that the topic's own readers check."""
FOR_EXECUTORS: Final = "bp_proof_executor"
"""Header of the proof for executors, which do not have the key of the facts."""

DELIVERY: Final = "delivery"
"""Purpose of the key for what the ledger puts in an inbox: from the key of the agent whose inbox it is."""
ANSWER: Final = "answer"
"""Purpose of the key for answers: from the key of the asker."""
FACT: Final = "fact"
"""Purpose of the key for facts: from the key of ``bp.facts``."""
DISPATCH: Final = "dispatch"
"""Purpose of the key for facts that executors act on: from the key of ``bp.executor``."""
TOMBSTONE: Final = "tombstone"
"""Purpose of the key for removals from the registry: from the key of ``bp.executor``."""
SNAPSHOT: Final = "snapshot"
"""Purpose of the key for a ledger's snapshots: from the key of ``bp.facts``."""

_HEAD: Final = struct.Struct(">QQI")
_LENGTHS: Final = struct.Struct(">II")
_FRONT: Final = struct.Struct(">QQIII")
"""Both, one after the other."""
_HEAD_BYTES: Final = _HEAD.size
_BEGUN: Final = 4_096
_UNSIGNED: Final = b"\0"
_SIGNED: Final = bytes((2 * LENGTH,))
"""Avro's length of a signature."""
_NOTHING: Final = 0xFFFF_FFFF
"""In place of a length: there is no key, or no value."""

Headers = Iterable[tuple[str, bytes | str | None]]


class Place(NamedTuple):
    """Where a record belongs in the order of its partition."""

    command_offset: int
    """Of the command that caused it; of a tombstone: the time, microseconds UTC."""
    number: int = 0
    """Among the facts of that command."""


BEFORE_ALL: Final = Place(-1)


class Forged(ValueError):
    """The record has no valid proof."""


def subkey(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose, from a name's key (HKDF-Expand, one block)."""
    return hmac.digest(secret, f"bp/{purpose}\x01".encode(), "sha256")


class Spot:
    """Proves records of one partition with one key: what they all begin with is hashed already. On the way of every
    fact, so that it has no steps to spare."""

    __slots__ = ("_begun", "_generation")

    def __init__(self, begun: Any, generation: int) -> None:
        self._begun = begun
        self._generation = generation

    def prove(self, key: bytes | None, value: bytes, command_offset: int, number: int) -> bytes:
        """The value of the header."""
        name = b"" if key is None else key
        size = _NOTHING if key is None else len(name)
        front = _FRONT.pack(command_offset, number, self._generation, size, len(value))
        hashed = self._begun.copy()
        hashed.update(front + name + value)
        proof: bytes = front[:_HEAD_BYTES] + hashed.digest()
        return proof


class Prover:
    """Makes and checks proofs with one key. 1 µs each for a record of 700 bytes: what all records of a partition begin
    with, and the key, are hashed once."""

    def __init__(self, key: bytes, generation: int = 0) -> None:
        self._keyed = blake2b(key=key, digest_size=LENGTH)
        self._generation = generation
        self._begun: dict[tuple[str, int], Any] = {}

    def prove(self, topic: str, partition: int, key: bytes | None, value: bytes | None, place: Place) -> bytes:
        """The value of the header."""
        if value is not None:
            return self.at(topic, partition).prove(key, value, *place)
        head = _HEAD.pack(*place, self._generation)
        return head + self._hash(topic, partition, key, value, head)

    def at(self, topic: str, partition: int) -> Spot:
        """The prover of one partition's records."""
        return Spot(self._begun.get((topic, partition)) or self._begin(topic, partition), self._generation)

    def check(self, topic: str, partition: int, key: bytes | None, value: bytes | None, proof: bytes) -> Place | None:
        """The place that the proof is for; None where it proves nothing."""
        head = proof[: _HEAD.size]
        if len(proof) != _HEAD.size + LENGTH:
            return None
        if not hmac.compare_digest(self._hash(topic, partition, key, value, head), proof[_HEAD.size :]):
            return None
        command_offset, number, _ = _HEAD.unpack(head)
        return Place(command_offset, number)

    def _hash(self, topic: str, partition: int, key: bytes | None, value: bytes | None, head: bytes) -> bytes:
        begun = self._begun.get((topic, partition)) or self._begin(topic, partition)
        hashed = begun.copy()
        name, said = key or b"", value or b""
        lengths = _LENGTHS.pack(_NOTHING if key is None else len(name), _NOTHING if value is None else len(said))
        hashed.update(head + lengths + name + said)
        digest: bytes = hashed.digest()
        return digest

    def _begin(self, topic: str, partition: int) -> Any:
        if len(self._begun) >= _BEGUN:  # names come from records: they may not fill the memory
            self._begun.clear()
        begun = self._keyed.copy()
        name = topic.encode()
        begun.update(struct.pack(">H", len(name)) + name + struct.pack(">i", partition))
        self._begun[topic, partition] = begun
        return begun


class Sealer:
    """Signs and checks records whose last field is their signature, with one key. It is a keyed BLAKE2b hash of all
    bytes before it, where ``signature.sign`` takes HMAC-SHA256, twice as long. For answers."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(key=key, digest_size=LENGTH, person=b"bp/answer")

    def sign(self, encoded: bytes) -> bytes:
        """An encoded record whose signature is empty, with its signature. Raises ValueError for other bytes."""
        if encoded[-1:] != _UNSIGNED:
            raise ValueError("the record has a signature already")
        said = encoded[:-1]
        hashed = self._keyed.copy()
        hashed.update(said)
        return said + _SIGNED + hashed.digest()

    def genuine(self, data: bytes) -> bool:
        """Whether the record has the signature of the key."""
        if len(data) <= LENGTH + 1 or data[-LENGTH - 1 : -LENGTH] != _SIGNED:
            return False
        hashed = self._keyed.copy()
        hashed.update(data[: -LENGTH - 1])
        return hmac.compare_digest(hashed.digest(), data[-LENGTH:])


@lru_cache(maxsize=1_024)
def sealer(key: bytes) -> Sealer:
    """The checker of answers with this key; made once."""
    return Sealer(key)


def proofs(headers: Headers | None, name: str = PROOF) -> list[bytes]:
    """The proofs of this name; several where several generations of a key are valid. Other headers do not matter."""
    found: list[bytes] = []
    for header, value in headers or ():
        if header == name and isinstance(value, bytes):
            found.append(value)
    return found


def generation_of(proof: bytes) -> int:
    """The generation of the key that the proof says it was made with; -1 for what is no proof."""
    if len(proof) != _HEAD.size + LENGTH:
        return -1
    generation: Any = _HEAD.unpack(proof[: _HEAD.size])[2]
    return int(generation)


class Sequence:
    """Tells copies: in each partition the place of every proven record is beyond that of the one before."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], Place] = {}

    def begin(self, topic: str, partition: int, last: Place) -> None:
        """The earlier place: records up to ``last`` are copies."""
        self._last[topic, partition] = last

    def last(self, topic: str, partition: int) -> Place | None:
        """The place of the last record; None where none is known."""
        return self._last.get((topic, partition))

    def take(self, topic: str, partition: int, place: Place) -> bool:
        """Takes the next record of the log; False: it is a copy of an older one."""
        if place <= self._last.get((topic, partition), BEFORE_ALL):
            return False
        self._last[topic, partition] = place
        return True
