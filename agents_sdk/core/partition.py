"""Which partition a key lies in: murmur2, as Java clients and librdkafka's ``murmur2_random`` have it. Pure.

Producers leave this to librdkafka; readers of one run need to know it themselves.
"""

from __future__ import annotations

from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_R: Final = 24
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit hash, unsigned."""
    length = len(data)
    value = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        block = (block ^ (block >> _R)) * _M & _MASK
        value = (value * _M & _MASK) ^ block
    if whole < length:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ (value >> 13)) * _M & _MASK
    return value ^ (value >> 15)


def partition_of(key: str, count: int) -> int:
    """The partition of a record with this key in a topic of ``count`` partitions."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count
