"""Laws of the codec: what is written is read, what is no record is Undecodable, and versions read each other."""

from __future__ import annotations

import copy
import io
import json
from base64 import b64decode
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk import schemas
from agents_sdk.core import commands
from agents_sdk.wire import codec as codec_module
from agents_sdk.wire.codec import RECORDS, Codec, Record, Undecodable
from backplane.topics.examples import Example, examples

IDS = {name: number for number, name in enumerate(sorted(RECORDS), start=1)}
NAMES = sorted(RECORDS)


def no_schema(schema_id: int) -> dict[str, Any]:
    raise LookupError(schema_id)


CODEC = Codec(IDS, no_schema)

LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=40),
    "long": st.integers(-(2**63), 2**63 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "bytes": st.binary(max_size=40),
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Any value of an Avro type, as the structs hold it."""
    if isinstance(schema, dict) and schema["type"] == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if isinstance(schema, dict) and schema["type"] == "map":
        return st.dictionaries(LEAVES["string"], values(schema["values"]), max_size=3)
    return LEAVES[schema["type"] if isinstance(schema, dict) else schema]


def structs(schema: dict[str, Any], struct: type[Any]) -> st.SearchStrategy[Any]:
    plain = [field for field in schema["fields"] if not isinstance(field["type"], list)]
    return st.builds(struct, **{field["name"]: values(field["type"]) for field in plain})


def any_command() -> st.SearchStrategy[Any]:
    schema = schemas.latest("Command")
    bodies = {f["name"]: f["type"][1] for f in schema["fields"] if isinstance(f["type"], list)}

    def of_kind(kind: str) -> st.SearchStrategy[Any]:
        name = commands.BODY_OF_KIND[kind]
        body = structs(bodies[name], commands.BODIES[name])
        envelope = structs(schema, commands.Command)
        return st.builds(lambda c, b: msgspec.structs.replace(c, kind=kind, **{name: b}), envelope, body)

    return st.sampled_from(sorted(commands.BODY_OF_KIND)).flatmap(of_kind)


def outcome(data: bytes | None) -> str:
    """``decoded``, or the code of Undecodable; anything else that is raised fails the test."""
    try:
        CODEC.decode(data)
    except Undecodable as error:
        return error.code
    return "decoded"


def any_record() -> st.SearchStrategy[Any]:
    plain = [structs(schemas.latest(name), RECORDS[name]) for name in NAMES if name != "Command"]
    return st.one_of(*plain, any_command())


@given(any_record())
def test_what_is_written_is_read(record: Record) -> None:
    """decode(encode(record)) == record, for every record and every value its types allow."""
    assert CODEC.decode(CODEC.encode(record)) == record


@given(any_record())
def test_wire_format_is_confluents(record: Record) -> None:
    """A zero byte, the schema id as four big-endian bytes, and a body that plain Avro reads with the schema."""
    data = CODEC.encode(record)
    name = type(record).__name__
    assert data[:5] == b"\x00" + IDS[name].to_bytes(4, "big")
    assert CODEC.encode(record) == data
    body = fastavro.parse_schema(codec_module.without_logical_types(schemas.latest(name)))
    assert fastavro.schemaless_reader(io.BytesIO(data[5:]), body) is not None


@given(st.one_of(st.none(), st.binary(max_size=200)))
def test_random_bytes_are_undecodable_and_nothing_else(data: bytes | None) -> None:
    """Whatever lies in a topic, decoding gives a record or Undecodable, so it can be dead-lettered."""
    assert outcome(data) in ("decoded", "undecodable", "unknown_schema")


@settings(max_examples=300)
@given(st.sampled_from(NAMES), st.binary(max_size=300))
def test_random_bodies_behind_a_known_id_are_undecodable_and_nothing_else(name: str, body: bytes) -> None:
    """The harder case: prefix and id are right, and the body is noise."""
    assert outcome(b"\x00" + IDS[name].to_bytes(4, "big") + body) in ("decoded", "undecodable")


@given(any_record(), st.data())
def test_flipped_and_cut_records_are_undecodable_and_nothing_else(record: Record, data: st.DataObject) -> None:
    """A record damaged on its way is a record or Undecodable; a cut one is never taken for the whole."""
    whole = bytearray(CODEC.encode(record))
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = bytes(whole[:at])
    whole[at] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(whole)) in ("decoded", "undecodable", "unknown_schema")
    assert outcome(cut) == "undecodable"


def newer(record: str) -> dict[str, Any]:
    """Version 2 as a later release could make it: a field more, with a zero default, and a kind more."""
    schema = copy.deepcopy(schemas.latest(record))
    schema["fields"].insert(1, {"name": "added_later", "type": "long", "default": 0, "doc": "New."})
    return schema


def written_by(schema: dict[str, Any], datum: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    named = {field["name"] for field in schema["fields"] if field["type"] == "bytes"}
    # as JSON says it: base64; and fastavro does not turn a default of bytes into bytes when it writes
    raw = {name: b64decode(datum.get(name, "")) for name in named}
    fastavro.schemaless_writer(out, fastavro.parse_schema(codec_module.without_logical_types(schema)), datum | raw)
    return b"\x00" + (900).to_bytes(4, "big") + out.getvalue()


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.record}-{example.case}")
def test_older_reader_reads_a_newer_writer(example: Example) -> None:
    """A process that was not updated reads what an updated one writes; the field it does not know is left out."""
    schema = newer(example.record)
    data = written_by(schema, example.datum | {"added_later": 7})
    assert Codec(IDS, lambda schema_id: schema).decode(data) == example.build()


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.record}-{example.case}")
def test_newer_reader_reads_an_older_writer(example: Example) -> None:
    """What was written before a field was added is read with the field's default."""
    schema = copy.deepcopy(schemas.latest(example.record))
    gone = [f["name"] for f in schema["fields"] if "default" in f and f["name"] not in example.datum]
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in gone]
    data = written_by(schema, example.datum)
    assert Codec(IDS, lambda schema_id: schema).decode(data) == example.build()


def test_foreign_schema_is_asked_for_once() -> None:
    """A schema id costs one look-up, however many records have it."""
    asked = []
    schema = newer("Reply")

    def fetch(schema_id: int) -> dict[str, Any]:
        asked.append(schema_id)
        return schema

    reader = Codec(IDS, fetch)
    example = next(examples("Reply"))
    data = written_by(schema, example.datum | {"added_later": 7})
    assert [reader.decode(data) for _ in range(3)] == [example.build()] * 3
    assert asked == [900]


def test_unknown_id_and_foreign_record_are_told_apart_from_damage() -> None:
    """Their code is unknown_schema: the bytes may be fine, and become readable once the schema is there."""
    stranger = {"type": "record", "name": "Invoice", "fields": [{"name": "id", "type": "string"}]}
    for fetch in (no_schema, lambda schema_id: stranger):
        with pytest.raises(Undecodable) as error:
            Codec(IDS, fetch).decode(b"\x00\x00\x00\x03\x84\x02a")
        assert error.value.code == "unknown_schema"


@pytest.mark.parametrize("value", ["7", None])
def test_wrong_type_is_refused_when_written(value: Any) -> None:
    """What would be read as something else is not written; the error names the field."""
    record = next(e.build() for e in examples("StateEvent") if e.case == "first-write")
    with pytest.raises((ValueError, TypeError), match="version"):
        CODEC.encode(msgspec.structs.replace(record, version=value))


def test_examples_survive_json_and_avro() -> None:
    """An example, written as Avro and read back, is the same JSON again."""
    for example in examples():
        record = CODEC.decode(CODEC.encode(example.build()))
        full = msgspec.to_builtins(record)
        assert {key: full[key] for key in example.datum if key not in commands.BODIES} == {
            key: value for key, value in example.datum.items() if key not in commands.BODIES
        }
        assert json.loads(json.dumps(full)) == full
