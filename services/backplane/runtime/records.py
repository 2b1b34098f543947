"""Record batches as any client may have written them, read without an exception and within bounded memory.

Lives here: bytes of a fetch → batches → records. Not here: Kafka, faust. aiokafka's reader raises in the middle of a
fetch where a header's name is not UTF-8, and inflates a batch to any size. Either ends the process, and the next one
meets the same record. Laws: reading a batch raises nothing; a batch takes at most ``MAX_INFLATED_BYTES``. Whole records
before and after a bad one are read as ever. An unreadable part is one record without key and value whose ``headers``
say why (``problem_of``). It has the batch's last offset, so that nobody waits for it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import calc_crc32c

MAX_INFLATED_BYTES: Final = 64 * 2**20
"""Of one batch. Our own clients send at most 4 MB; a reader of a few kilobytes must not need gigabytes."""
MAX_HEADERS: Final = 1_000
"""Of one record; later ones are not read. Ours have a dozen."""
PROBLEM: Final = "\0problem"
"""The name of a header that only this module makes: a NUL cannot be part of one of ours."""

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CODEC: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_FIRST_GUESS: Final = 8
_LZ4_RATIO: Final = 255
"""LZ4 cannot do better; so what our own clients write is inflated in one go."""
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_BYTES: Final = 16


class Unreadable(Exception):
    """Why a batch, or a record of it, cannot be read."""


class RawRecord(NamedTuple):
    """The records of aiokafka's reader, read here."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: int | None = None


def problem_of(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Why the record with these headers could not be read; empty where it could."""
    if headers and headers[0][0] == PROBLEM:
        return (headers[0][1] or b"").decode()
    return ""


class Batch:
    """One batch of a fetch: what aiokafka asks a batch, and its records."""

    def __init__(self, data: memoryview) -> None:
        self._data = bytes(data)
        found = _HEADER.unpack_from(self._data)
        self.base_offset, self._crc, self._attributes = found[0], found[4], found[5]
        self._last_delta, self._first_ms, self._last_ms, self.producer_id = found[6:10]
        self._count = found[12]

    @property
    def next_offset(self) -> int:
        """The offset after the batch."""
        return int(self.base_offset + self._last_delta + 1)

    @property
    def is_transactional(self) -> bool:
        """Whether a transaction wrote it."""
        return bool(self._attributes & 0x10)

    @property
    def is_control_batch(self) -> bool:
        """Whether it is the marker of a transaction's end."""
        return bool(self._attributes & 0x20)

    def validate_crc(self) -> bool:
        """Whether it came over the wire as it was stored."""
        return bool(calc_crc32c(self._data[_HEADER.size - 40 :]) == self._crc)

    def __iter__(self) -> Iterator[Any]:
        try:
            data = self._plain()
        except Unreadable as why:
            return iter((self._placeholder(str(why)),))
        try:
            return iter(list(DefaultRecordBatch(data)))
        except Exception:  # noqa: BLE001 — aiokafka's parser raises whatever it meets; ours reads the same bytes
            return self._one_by_one(data)

    def __next__(self) -> Any:
        """The record of a control batch, which aiokafka asks for by ``next``."""
        return next(iter(DefaultRecordBatch(self._data)))

    def _plain(self) -> bytes:
        codec = self._attributes & _CODEC
        if not codec:
            return self._data
        body = inflated(codec, self._data[_HEADER.size :], MAX_INFLATED_BYTES)
        found = list(_HEADER.unpack_from(self._data))
        found[5] &= ~_CODEC
        return _HEADER.pack(*found) + body

    def _placeholder(self, why: str) -> RawRecord:
        last = self.next_offset - 1
        many = "" if last == self.base_offset else f"offsets {self.base_offset} to {last}, one batch: "
        stamp = self._last_ms if self._attributes & _LOG_APPEND_TIME else self._first_ms
        return RawRecord(last, stamp, self._stamped, None, None, ((PROBLEM, f"{many}{why}".encode()),))

    @property
    def _stamped(self) -> int:
        return int(bool(self._attributes & _LOG_APPEND_TIME))

    def _one_by_one(self, data: bytes) -> Iterator[RawRecord]:
        at = _HEADER.size
        for number in range(self._count):
            try:
                one, at = self._record(data, at)
            except (Unreadable, IndexError, OverflowError) as why:
                yield self._placeholder(f"record {number + 1} of {self._count} cannot be read: {why}")
                return
            yield one

    def _record(self, data: bytes, at: int) -> tuple[RawRecord, int]:
        length, at = _varint(data, at)
        end = at + length
        if length < 0 or end > len(data):
            raise Unreadable(f"it has {length} bytes by its own word, and {len(data) - at} are there")
        delta_ms, at = _varint(data, at + 1)
        delta, at = _varint(data, at)
        key, at = _bytes(data, at, end)
        value, at = _bytes(data, at, end)
        count, at = _varint(data, at)
        headers = []
        for _ in range(min(count, MAX_HEADERS)):
            name, at = _bytes(data, at, end)
            content, at = _bytes(data, at, end)
            headers.append(((name or b"").decode(errors="backslashreplace"), content))
        stamp = self._last_ms if self._attributes & _LOG_APPEND_TIME else self._first_ms + delta_ms
        offset = self.base_offset + delta
        return RawRecord(offset, stamp, self._stamped, key, value, tuple(headers)), end


class Records(_MemoryRecordsPy):  # type: ignore[misc]  # final to aiokafka; its own two readers differ in this alone
    """The batches of one fetch, in the place of aiokafka's class of that name."""

    def next_batch(self, *_: Any) -> Any:
        """The next one; None after the last."""
        part = self._next_slice
        if part is None:
            return None
        self._cache_next()
        return Batch(part) if part[self.MAGIC_OFFSET] >= 2 else LegacyRecordBatch(part, part[self.MAGIC_OFFSET])


def inflated(codec: int, data: bytes, limit: int) -> bytes:
    """The bytes after these. Raises Unreadable above ``limit`` bytes, and where they cannot be decompressed."""
    try:
        if codec == _GZIP:
            return _gunzip(data, limit)
        if codec == _SNAPPY:
            return _unsnap(data, limit)
        if codec == _LZ4:
            if len(data) * _LZ4_RATIO <= limit:
                return bytes(cramjam.lz4.decompress(data))
            return _grown(cramjam.lz4.decompress_into, data, limit)
        if codec == _ZSTD:
            return _grown(cramjam.zstd.decompress_into, data, limit)
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        raise Unreadable(f"{len(data)} compressed bytes cannot be inflated: {error}") from error
    raise Unreadable(f"no codec has the number {codec}")


def _too_large(limit: int) -> Unreadable:
    return Unreadable(f"the batch inflates to more than {limit} bytes")


def _gunzip(data: bytes, limit: int) -> bytes:
    out = bytearray()
    while data:
        member = zlib.decompressobj(wbits=31)
        out += member.decompress(data, limit + 1 - len(out))
        if len(out) > limit:
            raise _too_large(limit)
        if not member.eof:
            raise Unreadable(f"{len(data)} compressed bytes end too early")
        data = member.unused_data
    return bytes(out)


def _unsnap(data: bytes, limit: int) -> bytes:
    if data[: len(_XERIAL)] != _XERIAL:
        return _unsnap_block(data, limit)
    out = bytearray()
    at = _XERIAL_BYTES
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if size <= 0:
            raise Unreadable(f"a block of snappy has {size} bytes")
        out += _unsnap_block(data[at : at + size], limit - len(out))
        at += size
    return bytes(out)


def _unsnap_block(data: bytes, limit: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > limit:
        raise _too_large(limit)
    return bytes(cramjam.snappy.decompress_raw(data))


def _grown(into: Any, data: bytes, limit: int) -> bytes:
    """Inflated into a buffer that grows until they fit, or the limit is met."""
    size = min(max(len(data) * _FIRST_GUESS, 4_096), limit)
    while True:
        out = bytearray(size)
        try:
            return bytes(memoryview(out)[: into(data, out)])
        except cramjam.DecompressionError as error:
            if "write whole buffer" not in str(error):
                raise
            if size >= limit:
                raise _too_large(limit) from error
            size = min(size * 8, limit)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            raise Unreadable("a number has more than ten bytes")


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > end:
        raise Unreadable(f"a field of {length} bytes reaches beyond its record")
    return data[at : at + length], at + length
