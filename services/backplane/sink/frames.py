"""Kafka records as one Avro file that ClickHouse parses itself, each with its position before it and a mark after it.

Lives here: bytes put around bytes. Not here: Kafka, ClickHouse, decoding. Law: the file's rows are the records, in
their order, whatever reads it. It works because Avro writes a record as its fields one after the other with nothing in
between. Position + body + mark is a record of one more schema, made without looking into the body.

The mark is one number for the whole file. A body that is longer or shorter than its schema says shifts all that
follows. Then the mark after it is read as another number, or not at all. So a reader of the file knows a whole batch
from one that needs a closer look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from backplane.sink.rows import LATEST_AT

MARK: Final = "mark"
SYNC: Final = b"backplane's sync"
"""Sixteen bytes between the blocks of an Avro file; there is one block, so any will do."""
POSITION: Final[tuple[dict[str, Any], ...]] = (
    {"name": "topic", "type": "string"},
    {"name": "partition", "type": "int"},
    {"name": "offset", "type": "long"},
    {"name": "appended_at", "type": "long"},
)


class EncodedRecord(NamedTuple):
    """A record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


def avro_file(
    schema: dict[str, Any], columns: Sequence[str], records: Iterable[EncodedRecord], header: int, mark: int
) -> bytes:
    """Records written with ``schema``, each after ``header`` bytes, as an Avro file. Its fields are the position,
    ``columns`` in place of the schema's own names, and the mark."""
    parts: list[bytes] = []
    add = parts.extend
    end = varint(mark << 1)
    count = 0
    for topic, partition, offset, stamp, value in records:
        assert value is not None
        z = offset << 1
        add((_place(topic, partition), LOW[z & 0x3FFF], varint(z >> 14), _stamp(stamp), value[header:], end))
        count += 1
    body = b"".join(parts)
    named = [
        {"name": column, "type": _plain(field["type"])} for field, column in zip(schema["fields"], columns, strict=True)
    ]
    whole = {"type": "record", "name": "Row", "fields": [*POSITION, *named, {"name": MARK, "type": "long"}]}
    return b"".join((_file_header(json.dumps(whole)), varint(count << 1), varint(len(body) << 1), body, SYNC))


def _plain(kind: Any) -> Any:
    """The type without its logical type: times go into their columns as the integers they are."""
    return kind["type"] if isinstance(kind, dict) and "logicalType" in kind else kind


@lru_cache(maxsize=65_536)
def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, as Avro has it; of a number that is not negative, twice itself."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


LOW: Final = tuple(bytes((value & 0x7F | 0x80, value >> 7 | 0x80)) for value in range(0x4000))
"""The lower fourteen bits of a varint that goes on: offsets differ in them from one to the next, the rest is cached."""


@lru_cache(maxsize=4096)
def _place(topic: str, partition: int) -> bytes:
    name = topic.encode()
    return varint(len(name) << 1) + name + varint(partition << 1)


@lru_cache(maxsize=65_536)
def _stamp(stamp: int) -> bytes:
    return varint((stamp if 0 <= stamp < LATEST_AT // 1000 else 0) << 1)


@lru_cache(maxsize=256)
def _file_header(schema: str) -> bytes:
    entries = [(b"avro.codec", b"null"), (b"avro.schema", schema.encode())]
    text = b"".join(varint(len(part) << 1) + part for entry in entries for part in entry)
    return b"Obj\x01" + varint(len(entries) << 1) + text + varint(0) + SYNC
