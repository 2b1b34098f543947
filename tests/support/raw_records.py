"""Record batches made byte by byte, and the request that brings them to a broker: what other clients may write.

No client library writes header names that are not UTF-8, a batch of a codec's own making, or a time before 1970; Kafka
takes all of it. The formats: https://kafka.apache.org/documentation/#recordbatch, Produce version 7.
"""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import cramjam
from aiokafka.record.util import calc_crc32c

from backplane.platform.probes import SASL_AUTHENTICATE, SASL_HANDSHAKE

CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CREATE_TIME_MS: Final = 1_790_000_000_000


class Raw(NamedTuple):
    """One record; a header's name is bytes here."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


class Refused(Exception):
    """The broker did not take the batch; ``code`` is Kafka's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Kafka's error {code}")
        self.code = code


def varint(value: int) -> bytes:
    """Zig-zag, seven bits a byte."""
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left & ~0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(raw: Raw, number: int, delta_ms: int = 0) -> bytes:
    """One record of a batch."""
    headers = b"".join(varint(len(name)) + name + _sized(value) for name, value in raw.headers)
    body = b"".join(
        (
            b"\0",
            varint(delta_ms),
            varint(number),
            _sized(raw.key),
            _sized(raw.value),
            varint(len(raw.headers)),
            headers,
        )
    )
    return varint(len(body)) + body


def compressed(data: bytes, codec: str) -> bytes:
    """As Kafka's own clients compress it."""
    if codec == "gzip":
        return gzip.compress(data)
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(data))
    if codec == "lz4":
        packer = cramjam.lz4.Compressor(level=9, content_checksum=False, block_linked=False)
        packer.compress(data)
        return bytes(packer.finish())
    return bytes(cramjam.zstd.compress(data, level=3)) if codec == "zstd" else data


def batch(
    records: Sequence[Raw],
    codec: str = "none",
    *,
    first_ms: int = CREATE_TIME_MS,
    last_ms: int | None = None,
    producer: tuple[int, int, int] = (-1, -1, -1),
    transactional: bool = False,
) -> bytes:
    """A record batch, ready to be sent. ``producer``: its id, epoch and first sequence number."""
    body = b"".join(record(raw, number) for number, raw in enumerate(records))
    attributes = CODECS[codec] | (0x10 if transactional else 0)
    last = first_ms if last_ms is None else last_ms
    checked = struct.pack(">hiqqqhii", attributes, len(records) - 1, first_ms, last, *producer, len(records))
    checked += compressed(body, codec)
    tail = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


class RawProducer:
    """A connection to the one broker of a test. Not for several threads."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        """``kafka``: librdkafka's properties; a login by PLAIN, or none."""
        host, _, port = kafka["bootstrap.servers"].split(",", maxsplit=1)[0].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        self._socket.settimeout(60)
        self._correlation = 0
        if "sasl.username" in kafka:
            self._log_in(kafka["sasl.username"], kafka["sasl.password"])

    def _log_in(self, user: str, password: str) -> None:
        proof = f"\0{user}\0{password}".encode()
        for key, version, body in (
            (SASL_HANDSHAKE, 1, struct.pack(">h", 5) + b"PLAIN"),
            (SASL_AUTHENTICATE, 0, struct.pack(">i", len(proof)) + proof),
        ):
            request = struct.pack(">hhih", key, version, 0, -1) + body
            self._socket.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", self._received(4))
            (code,) = struct.unpack_from(">h", self._received(size), 4)
            if code:
                raise Refused(code)

    def send(self, topic: str, partition: int, made: bytes, transactional_id: str | None = None) -> int:
        """The offset of the batch's first record. Raises Refused."""
        self._correlation += 1
        name = topic.encode()
        transaction = (
            struct.pack(">h", -1)
            if transactional_id is None
            else struct.pack(">h", len(transactional_id)) + transactional_id.encode()
        )
        request = b"".join(
            (
                struct.pack(">hhih", 0, 7, self._correlation, -1),
                transaction,
                struct.pack(">hi", -1, 30_000),
                struct.pack(">ih", 1, len(name)) + name,
                struct.pack(">iii", 1, partition, len(made)),
                made,
            )
        )
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", self._received(4))
        answer = self._received(size)
        at = 4 + 4 + 2 + len(name) + 4
        _, code, offset = struct.unpack_from(">ihq", answer, at)
        if code:
            raise Refused(code)
        return int(offset)

    def _received(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            got = self._socket.recv(count - len(parts))
            if not got:
                raise ConnectionError("the broker closed the connection")
            parts += got
        return bytes(parts)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()
