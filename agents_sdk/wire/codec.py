"""Records to bytes and back: Avro in Confluent's wire format (0x00, schema id as big-endian int32, body).

Pure but for the functions that look a foreign schema id up. The schemas that fastavro gets have no logical types; the
registered ones have them. So times stay integer microseconds and ids stay strings. That saves a datetime and a UUID
object a field.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import fastavro
import msgspec

from agents_sdk import schemas
from agents_sdk.core import commands, facts, registry

Record: TypeAlias = facts.Fact | facts.Reply | commands.Command | registry.Record
_TYPES: Final[tuple[type[Record], ...]] = (
    *facts.Fact.__subclasses__(),
    facts.Reply,
    commands.Command,
    *registry.Record.__args__,
)
_SIGNED: Final = (facts.Reply, *registry.Record.__args__)
RECORDS: Final[dict[str, type[Record]]] = {record.__name__: record for record in _TYPES}
_BRANCH: Final = {name: f"backplane.{body.__name__}" for name, body in commands.BODIES.items()}
MAGIC: Final = 0
HEADER: Final = struct.Struct(">bI")
"""Every value begins with ``MAGIC`` and the schema's id."""


class Undecodable(Exception):
    """These bytes are no record of ours. ``code`` is ``undecodable`` or ``unknown_schema``; dead-letter them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SchemaSource(Protocol):
    """Where writer schemas of other versions come from."""

    def __call__(self, schema_id: int, /) -> dict[str, Any]:
        """The schema with this id. Raises LookupError when the registry does not know it."""


def without_logical_types(schema: Any) -> Any:
    """The same schema with every logicalType (and doc) left out."""
    if isinstance(schema, list):
        return [without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: without_logical_types(part) for key, part in schema.items() if key not in ("logicalType", "doc")}
    return schema


def _parse(schema: dict[str, Any]) -> Any:
    return fastavro.parse_schema(without_logical_types(schema))


def _schema(name: str) -> dict[str, Any]:
    return schemas.avro(name, schemas.latest_version(name))


class Codec:
    """Encodes with the schema ids it is given. Decodes those, and any other version that the registry knows, as today's
    record: missing fields get their defaults."""

    def __init__(self, schema_ids: Mapping[str, int], fetch: SchemaSource, certain: SchemaSource | None = None) -> None:
        """``schema_ids``: record name → id in the registry of the schema in this checkout. ``certain`` asks the
        registry now, and raises Unreachable where it does not answer; without it ``fetch`` is as certain."""
        self._fetch = fetch
        self._certain = certain or fetch
        self._names = {schema_id: name for name, schema_id in schema_ids.items()}
        self._writers = {
            RECORDS[name]: (HEADER.pack(MAGIC, schema_id), _parse(_schema(name)))
            for name, schema_id in schema_ids.items()
        }
        self._readers: dict[int, Callable[[bytes], Record]] = {
            schema_id: self._reader(RECORDS[name], self._writers[RECORDS[name]][1])
            for name, schema_id in schema_ids.items()
        }

    def encode(self, record: Record, **stamps: int) -> bytes:
        """The record's bytes, ``stamps`` in place of these fields of it. Raises ValueError or TypeError, naming the
        field, when it cannot be written. A float where an integer belongs is cut without an error: the type checker
        has to find it."""
        prefix, schema = self._writers[type(record)]
        out = io.BytesIO()
        out.write(prefix)
        fields = msgspec.structs.asdict(record)
        fields.update(stamps)
        if type(record) is commands.Command:
            name = commands.BODY_OF_KIND.get(record.kind, "")
            if name and fields[name] is not None:
                # the tuple names the union branch, which spares fastavro the search for it
                fields[name] = (_BRANCH[name], msgspec.structs.asdict(fields[name]))
            if name == "outcome" and fields["attempt"] is not None:
                fields["attempt"] = (_BRANCH["attempt"], msgspec.structs.asdict(fields["attempt"]))
        fastavro.schemaless_writer(out, schema, fields)
        return out.getvalue()

    def decode(self, data: bytes | None) -> Record:
        """The record in these bytes. Raises Undecodable."""
        return self._decode(data, self._fetch)

    def decode_own(self, data: bytes | None) -> Record:
        """The same of a record that is known to be the platform's own. A registry that is away, or was read too early,
        does not make its version unknown: that would lose it. Raises Undecodable, and Unreachable."""
        return self._decode(data, self._certain)

    def _decode(self, data: bytes | None, fetch: SchemaSource) -> Record:
        if data is None or len(data) < HEADER.size:
            raise Undecodable("undecodable", f"{0 if data is None else len(data)} bytes are too few for a record")
        magic, schema_id = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise Undecodable("undecodable", f"first byte is {magic}, not 0: not in Confluent's wire format")
        reader = self._readers.get(schema_id)
        if reader is None:
            reader = self._readers[schema_id] = self._foreign_reader(schema_id, fetch)
        try:
            return reader(data)
        except Exception as error:  # fastavro raises whatever its C code meets on bad bytes
            message = f"bytes do not fit schema {schema_id}: {type(error).__name__}: {error}"
            raise Undecodable("undecodable", message) from error

    def writer(self, schema_id: int) -> tuple[type[Record], dict[str, Any]]:
        """The record that this schema is of, and the schema as registered; for records of the platform's own. Raises
        Undecodable, and Unreachable."""
        return self._writer(schema_id, self._certain)

    def _writer(self, schema_id: int, fetch: SchemaSource) -> tuple[type[Record], dict[str, Any]]:
        name = self._names.get(schema_id)
        if name is not None:
            return RECORDS[name], _schema(name)
        try:
            schema = fetch(schema_id)
        except LookupError as error:
            raise Undecodable("unknown_schema", f"the schema is not known: {error}") from error
        record = RECORDS.get(str(schema.get("name")))
        if record is None or record not in self._writers:
            raise Undecodable("unknown_schema", f"schema {schema_id} is {schema.get('name')!r}: no record of ours")
        return record, schema

    def _foreign_reader(self, schema_id: int, fetch: SchemaSource) -> Callable[[bytes], Record]:
        record, schema = self._writer(schema_id, fetch)
        try:
            return self._reader(record, _parse(schema), self._writers[record][1])
        except Exception as error:  # fastavro raises whatever it meets in a schema that is none
            message = f"schema {schema_id} cannot be used: {type(error).__name__}: {error}"
            raise Undecodable("unknown_schema", message) from error

    @staticmethod
    def _reader(record: type[Record], writer: Any, target: Any = None) -> Callable[[bytes], Record]:
        read = fastavro.schemaless_reader

        def plain(data: bytes) -> Record:
            body = io.BytesIO(data)
            body.seek(HEADER.size)
            fields: dict[str, Any] = read(body, writer, target)  # type: ignore[assignment]  # a record is a dict
            return record(**fields)

        def command(data: bytes) -> Record:
            body = io.BytesIO(data)
            body.seek(HEADER.size)
            fields: dict[str, Any] = read(body, writer, target)  # type: ignore[assignment]  # a record is a dict
            name = commands.BODY_OF_KIND.get(fields["kind"], "")
            if not name or fields[name] is None:
                raise ValueError(f"a command of kind {fields['kind']!r} without its body")
            fields[name] = commands.BODIES[name](**fields[name])
            if name == "outcome" and fields["attempt"] is not None:
                fields["attempt"] = commands.AttemptBody(**fields["attempt"])
            fields["signature"] = fields["signature"] or b""  # fastavro fills in a default of bytes as text
            return record(**fields)

        def signed(data: bytes) -> Record:
            body = io.BytesIO(data)
            body.seek(HEADER.size)
            fields: dict[str, Any] = read(body, writer, target)  # type: ignore[assignment]  # a record is a dict
            fields["signature"] = fields["signature"] or b""  # fastavro fills in a default of bytes as text
            return record(**fields)

        if record is commands.Command:
            return command
        return signed if record in _SIGNED else plain
