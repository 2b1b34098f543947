"""Record batches of any client: what is read, what is one record that says why not, and how much memory it takes."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from backplane.runtime import records
from backplane.runtime.records import Batch, Records, Unreadable, inflated, problem_of
from tests.support.raw_records import CODECS, CREATE_TIME_MS, Raw, batch

NAMES = st.binary(max_size=12)
RAW = st.builds(
    Raw,
    st.none() | st.binary(max_size=30),
    st.none() | st.binary(max_size=60),
    st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=12)), max_size=4),
)


def read(data: bytes) -> list[Any]:
    """All records of a fetch."""
    found, batches = [], Records(data)
    while batches.has_next():
        one = batches.next_batch()
        assert one.validate_crc()
        found += list(one)
    return found


@given(st.lists(RAW, min_size=1, max_size=6), st.sampled_from(sorted(CODECS)))
def test_every_record_is_read_whatever_its_bytes(raws: list[Raw], codec: str) -> None:
    """Any key, value and header of any codec: the same key and value come out, in their order; nothing is raised."""
    found = read(batch(raws, codec))
    assert [(one.key, one.value) for one in found] == [(raw.key, raw.value) for raw in raws]
    assert [[content for _, content in one.headers] for one in found] == [
        [content for _, content in raw.headers] for raw in raws
    ]
    assert [one.offset for one in found] == list(range(len(raws)))


@given(st.lists(RAW.map(lambda raw: raw._replace(headers=())), min_size=1, max_size=6), st.sampled_from(sorted(CODECS)))
def test_what_aiokafka_reads_is_read_the_same(raws: list[Raw], codec: str) -> None:
    """Against aiokafka's own reader as the oracle."""
    data = batch(raws, codec)
    theirs = MemoryRecords(data).next_batch()
    assert theirs is not None
    ours = Records(data).next_batch()
    for name in ("base_offset", "next_offset", "producer_id", "is_control_batch", "is_transactional"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert [_fields(one) for one in ours] == [_fields(one) for one in theirs]


def _fields(one: Any) -> tuple[Any, ...]:
    return one.offset, one.timestamp, one.timestamp_type, one.key, one.value, list(one.headers)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batch_that_inflates_beyond_all_bounds_is_one_record_that_says_so(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record lies at the batch's last offset, so that nothing behind it waits; memory stays within the bound."""
    monkeypatch.setattr(records, "MAX_INFLATED_BYTES", 2**20)
    data = batch([Raw(b"k", b"\0" * 60_000_000), Raw(b"k", b"v")], codec) + batch([Raw(b"k", b"behind")])
    tracemalloc.start()
    first, second = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first.key, first.value, first.offset) == (None, None, 1)
    assert "offsets 0 to 1" in problem_of(first.headers)
    assert "1048576" in problem_of(first.headers)
    assert (second.value, problem_of(second.headers)) == (b"behind", "")
    assert peak < 20_000_000 + 3 * len(data)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@given(cut=st.integers(1, 40), junk=st.binary(max_size=20))
def test_broken_compression_is_one_record_that_says_so(codec: str, cut: int, junk: bytes) -> None:
    """Bytes that no decompressor takes raise Unreadable and nothing else, or are read."""
    data = batch([Raw(b"key", b"value" * 50)], codec)[61:]
    for broken in (data[:-cut], junk, data[:cut] + junk, b"\x82SNAPPY\x00" + b"\0" * 8 + junk):
        try:
            inflated(CODECS[codec], broken, 10_000)
        except Unreadable:
            continue


@given(st.binary(max_size=80), st.integers(0, 200), st.integers(0, 9))
def test_reading_raises_nothing(junk: bytes, at: int, count: int) -> None:
    """Whatever the body and the count of a batch: records, and at the end one that says what is wrong."""
    whole = bytearray(batch([Raw(b"k", b"v", [(b"name", b"x")])] * 3))
    whole[57:61] = struct.pack(">i", count)
    for data in (whole[:61] + junk, whole[:61] + whole[61 : 61 + at % 60] + junk):
        found = list(Batch(memoryview(bytes(data))))
        assert len(found) <= count + 1


def test_time_of_a_record_is_the_batchs_where_the_broker_gave_it() -> None:
    """An unreadable record has its batch's time as well: the facts about it derive from it."""
    data = bytearray(batch([Raw(b"k", b"v", [(b"\xff", b"x")])], first_ms=CREATE_TIME_MS, last_ms=CREATE_TIME_MS + 5))
    assert [one.timestamp for one in Batch(memoryview(bytes(data)))] == [CREATE_TIME_MS]
    data[22] |= 0x08
    assert [one.timestamp for one in Batch(memoryview(bytes(data)))] == [CREATE_TIME_MS + 5]


def test_more_headers_than_anybody_needs_are_not_all_kept() -> None:
    """100,000 headers, one of them not UTF-8: the first thousand."""
    (one,) = read(batch([Raw(b"k", b"v", [(b"\xff", b"x")] * 100_000)]))
    assert len(one.headers) == records.MAX_HEADERS
    assert one.value == b"v"
