"""What was released stays as it is: an Avro schema and a migration are followed by the next one, never edited."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any, Final

import fastavro
import msgspec
import pytest

from agents_sdk import schemas
from agents_sdk.wire.codec import RECORDS, Codec, without_logical_types
from backplane.topics.examples import examples
from tests.support.release import ROOT, WHEELS, version_of

FROZEN: Final = ("avro/", "clickhouse/")
CODEC: Final = Codec({name: number for number, name in enumerate(RECORDS, 1)}, lambda schema_id: {})
CUT: Final = sorted(WHEELS.glob("*.whl"), key=version_of)


def _frozen(wheel: Path) -> dict[str, bytes]:
    """Path under ``schemas`` → content, of the files that a release froze."""
    with zipfile.ZipFile(wheel) as packed:
        named = {name.partition("_schemas/")[2]: name for name in packed.namelist() if "_schemas/" in name}
        return {name: packed.read(full) for name, full in named.items() if name.startswith(FROZEN)}


def test_a_release_was_cut() -> None:
    """The tests below are about something."""
    assert CUT
    assert all(len(_frozen(wheel)) >= 20 for wheel in CUT)


def test_the_changelog_has_each_release() -> None:
    """A section each, and one for what comes next."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings == ["Unreleased", *(wheel.name.split("-")[1] for wheel in reversed(CUT))]


@pytest.mark.parametrize("wheel", CUT, ids=lambda wheel: wheel.name)
def test_nothing_released_is_edited(wheel: Path) -> None:
    """Byte by byte; what is new has a new name."""
    released = _frozen(wheel)
    here = {name: (schemas.root() / name).read_bytes() for name in released if (schemas.root() / name).exists()}
    assert here == released


@pytest.mark.parametrize("record", sorted(RECORDS))
def test_every_version_reads_every_other(record: str) -> None:
    """Replays begin at the first record, and a worker of the last release reads what the new one wrote."""
    versions: list[Any] = [
        fastavro.parse_schema(without_logical_types(schemas.avro(record, number)))
        for number in range(1, schemas.latest_version(record) + 1)
    ]
    shown = [example for example in examples() if example.record == record]
    assert shown
    for example in shown:
        fields = msgspec.structs.asdict(CODEC.decode(CODEC.encode(example.build())))
        fields = {name: _plain(value) for name, value in fields.items()}
        for writer in versions:
            for reader in versions:
                out = io.BytesIO()
                fastavro.schemaless_writer(out, writer, fields)
                read = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), writer, reader)
                common = {field["name"] for field in writer["fields"]} & {field["name"] for field in reader["fields"]}
                assert isinstance(read, dict)
                assert _shared(read, fields, common) == _shared(fields, read, common)


def _shared(one: dict[str, Any], other: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The fields of these names, and of records in them the fields that both have."""
    return {
        name: _shared(one[name], other[name], one[name].keys() & other[name].keys())
        if isinstance(one[name], dict) and isinstance(other[name], dict)
        else one[name]
        for name in names
    }


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(one) for name, one in msgspec.structs.asdict(value).items()}
    return value
