"""Readers find the partition that producers chose."""

from __future__ import annotations

import pytest

from agents_sdk.core.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_is_the_one_of_kafkas_java_client(data: bytes, signed: int) -> None:
    """The vectors are those of Kafka's own UtilsTest."""
    assert murmur2(data) == signed % 2**32


def test_partition_is_the_hash_without_its_sign() -> None:
    """As Java's toPositive."""
    assert partition_of("foobar", 5) == (-790332482 & 0x7FFFFFFF) % 5
