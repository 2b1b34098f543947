"""ClickHouse parses what Kafka has: the same rows as decoding gives, or none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings

from agents_sdk import schemas
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.codec import RECORDS, Codec
from backplane.sink.edges import edges_count_sql
from backplane.sink.frames import EncodedRecord
from backplane.sink.rows import Record
from backplane.sink.stage import Stages
from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from tests.integration.sink.conftest import Database
from tests.properties.test_sink_rows import batches
from tests.support.stories import NOON, article, records

IDS = {name: number for number, name in enumerate(sorted(RECORDS), 100)}
OLDER, NEWER = 500, 501


def foreign(schema_id: int, /) -> dict[str, Any]:
    """A writer that lacks a field of today's, and one that has another."""
    schema = schemas.latest("DecisionEvent")
    fields = schema["fields"]
    if schema_id == OLDER:
        return {**schema, "fields": [field for field in fields if field["name"] != "context_used"]}
    if schema_id == NEWER:
        return {**schema, "fields": [fields[0], {"name": "mood", "type": "string", "default": ""}, *fields[1:]]}
    raise LookupError(schema_id)


CODEC = Codec(IDS, foreign)


def lying(found: Sequence[Record]) -> list[EncodedRecord]:
    return [
        EncodedRecord(
            one.topic,
            one.partition,
            one.offset,
            one.timestamp_ms,
            CODEC.encode(one.row),  # type: ignore[arg-type]  # only facts here
        )
        for one in found
    ]


@pytest.fixture
def quick(database: Database, engine: Engine) -> Writer:
    return Writer(database.client, database.name, Stages(engine.connection, CODEC, in_store=True))


@pytest.fixture(scope="module")
def pair(engine: Engine) -> Iterator[tuple[Database, Writer]]:
    """One database for many examples: each has offsets of its own."""
    from backplane.store.migrate import migrate

    client = engine.client()
    migrate(client, "stage_pair")
    yield (
        Database("stage_pair", client, Writer(client, "stage_pair")),
        Writer(client, "stage_pair", Stages(engine.connection, CODEC, in_store=True)),
    )
    client.command("DROP DATABASE stage_pair SYNC")


NUMBERS = itertools.count(1)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(batches())
def test_parsed_and_decoded_batches_have_the_same_rows(pair: tuple[Database, Writer], batch: list[Record]) -> None:
    """Whatever the facts hold: in every column of both tables, edges included."""
    database, quick = pair
    number = next(NUMBERS) * 2
    one_month = [one._replace(row=_at(one.row, NOON)) for one in batch]
    parsed = quick.stage(lying([one._replace(partition=number) for one in one_month]))
    if not batch:
        assert parsed is None
        return
    assert parsed is not None
    quick.write(parsed)
    database.writer.write(database.writer.prepare([one._replace(partition=number + 1) for one in one_month]))

    for table in ("events", "edges"):  # hashed, since the driver cannot show a time in the year -200000
        rows = "SELECT topic, offset, sipHash64(* EXCEPT (partition)) AS row"
        parsed_rows, decoded_rows = (
            database.rows(f"{rows} FROM stage_pair.{table} WHERE partition = {place} ORDER BY topic, offset, row")
            for place in (number, number + 1)
        )
        assert parsed_rows == decoded_rows
        assert table == "edges" or len(parsed_rows) == len(batch)
    due = f"SELECT sum({edges_count_sql()}) FROM stage_pair.events WHERE partition = {number}"
    assert database.rows(due) == database.rows(f"SELECT count() FROM stage_pair.edges WHERE partition = {number}")


def _at(row: Any, at: int) -> Any:
    return type(row)(**{name: getattr(row, name) for name in row.__struct_fields__} | {"at": at})


POISON = {
    "text": b"no fact",
    "no value": None,
    "a body that is none": b"\0" + IDS["StateEvent"].to_bytes(4, "big") + b"no fact",
    "a length that would fill the memory": b"\0"
    + IDS["StateEvent"].to_bytes(4, "big")
    + b"\xfe\xff\xff\xff\x0f"
    + b"x",
    "another schema": b"\0\0\0\0\1x",
    "a command": b"\0" + IDS["Command"].to_bytes(4, "big") + b"x",
    "cut short": CODEC.encode(article().facts[0])[:-1],
    "too long": CODEC.encode(article().facts[0]) + b"\0",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_with_something_else_in_it_is_refused(quick: Writer, poison: bytes | None, seed: int) -> None:
    """Wherever it lies, and whatever lies beside it; the next batch is taken as if nothing had been."""
    good = lying(records(article().facts))
    at = random.Random(seed).randrange(len(good))
    bad = [*good[:at], EncodedRecord("bp.runs", 0, 10_000, 0, poison), *good[at:]]

    assert quick.stage(bad) is None
    assert quick.stage(good) is not None


@pytest.mark.parametrize("at", [-1, 4_102_444_800_000_000, 2**63 - 1, -(2**63), NOON + 31 * 86_400_000_000])
def test_a_time_that_is_not_storable_or_of_another_month_is_refused(quick: Writer, at: int) -> None:
    """Such batches are cut, or put aside in part, by those who look at each record."""
    found = records(article().facts)
    found[7] = found[7]._replace(row=_at(found[7].row, at))

    assert quick.stage(lying(found)) is None


def test_other_versions_of_a_schema_are_parsed(database: Database, quick: Writer) -> None:
    """Fields that the writer did not have are empty, those that we do not know are left out."""
    import fastavro

    from agents_sdk.wire.codec import HEADER

    decision = next(fact for fact in article().facts if type(fact).__name__ == "DecisionEvent")
    fields = {name: getattr(decision, name) for name in decision.__struct_fields__} | {"mood": "fine"}
    values = []
    for schema_id in (OLDER, NEWER):
        import io

        out = io.BytesIO(HEADER.pack(0, schema_id))
        out.seek(HEADER.size)
        schema = {**foreign(schema_id)}
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), fields)
        values.append(out.getvalue())
    batch = quick.stage([EncodedRecord("bp.decisions", 0, number, 0, value) for number, value in enumerate(values)])

    assert batch is not None
    quick.write(batch)
    stored = database.rows("SELECT action, context_used FROM {database}.events ORDER BY offset")
    assert stored == [(decision.action, []), (decision.action, list(decision.context_used))]  # type: ignore[attr-defined]


def test_a_repeated_write_adds_nothing_and_one_batch_is_one_part(database: Database, quick: Writer) -> None:
    """An answer that was lost is asked for again; many topics are one insert, there or not there."""
    batch = quick.stage(lying(records(article().facts)))
    assert batch is not None
    assert batch.stage is not None
    for _ in range(2):
        quick.write(batch._replace(stage=cast("Any", _Kept(batch.stage))))

    count = len(article().facts)
    assert database.rows("SELECT count(), uniqExact(_part) FROM {database}.events") == [(count, 1)]
    assert database.rows("SELECT uniqExact(_part) FROM {database}.edges") == [(1,)]


class _Kept:
    """A stage that is not cleared, as if the writing had failed after the last insert."""

    def __init__(self, stage: Any) -> None:
        self.run, self.native = stage.run, stage.native

    def clear(self) -> None:
        pass


def test_a_store_elsewhere_is_sent_the_parsed_rows(database: Database, engine: Engine) -> None:
    """In ClickHouse's own format, by the driver; the engine here only parses."""
    afar = Writer(database.client, database.name, Stages(engine.connection, CODEC, in_store=False))
    found = records(article().facts)
    batch = afar.stage(lying(found))
    assert batch is not None
    for _ in range(2):
        afar.write(batch._replace(stage=cast("Any", _Kept(batch.stage))))

    assert database.rows("SELECT count(), uniqExact(topic, offset) FROM {database}.events") == [
        (len(found), len(found))
    ]
    assert set(TOPIC_OF_FACT.values()) >= {
        row[0] for row in database.rows("SELECT DISTINCT topic FROM {database}.events")
    }


def test_what_is_half_stored_is_not_parsed(database: Database, engine: Engine) -> None:
    """After a crash between edges and events, the batches that hold some of those edges are looked at one by one."""
    found = records(article().facts)
    first = database.writer.prepare(found[:10])
    database.writer.write(first._replace(steps=[step for step in first.steps if step.table == "edges"]))
    writer = Writer(database.client, database.name, Stages(engine.connection, CODEC, in_store=True))

    assert writer.stage(lying(found)) is None
    writer.write(writer.prepare(found))
    more = lying([one._replace(offset=one.offset + 1000) for one in found])
    assert writer.stage(more) is not None
