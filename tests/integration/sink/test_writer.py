"""Exactly once, against the real engine: what is stored, where it goes on, what a repetition adds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import Error

from agents_sdk import schemas
from agents_sdk.core.facts import Fact
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink.edges import edges_of
from backplane.sink.rows import COLUMNS_OF, Record
from backplane.sink.writer import Batch, Writer
from tests.integration.sink.conftest import Database
from tests.support.stories import NOON, article, records

DAY = 86_400_000_000
TIMES = {
    field["name"]
    for record in TOPIC_OF_FACT
    for field in schemas.latest(record.__name__)["fields"]
    if isinstance(field["type"], dict) and field["type"].get("logicalType") == "timestamp-micros"
}


def facts(runs: int = 3, apart_us: int = 0) -> list[Record]:
    """The records of some runs, each topic's offsets counting on."""
    made = [
        fact
        for number in range(runs)
        for fact in article(f"01930000-0000-7000-8000-{number:012d}", NOON + number * apart_us).facts
    ]
    return records(made)


def write(database: Database, batch: Sequence[Record], writer: Writer | None = None) -> None:
    writer = writer or database.writer
    writer.write(writer.prepare(list(batch)))


def check(database: Database, lying: Sequence[Record]) -> None:
    """The tables hold these records and their edges, each once, nothing else."""
    stored = database.rows("SELECT topic, partition, offset, event_id FROM {database}.events")
    assert sorted(stored) == sorted((r.topic, r.partition, r.offset, r.row.event_id) for r in lying)
    kept = database.rows(
        "SELECT topic, offset, child_event, relation, parent_event, state_key, version FROM {database}.edges"
    )
    made = [(r.topic, r.offset, r.row.event_id, *edge) for r in lying for edge in edges_of(r.row)]
    assert sorted(kept) == sorted(made)


def test_a_batch_is_stored_with_its_edges(database: Database) -> None:
    """Every fact one row, every edge one row."""
    lying = facts()

    write(database, lying)

    check(database, lying)


def test_it_goes_on_after_the_highest_offset_of_each_partition(database: Database) -> None:
    """What a new process is told equals what was stored."""
    lying = facts()
    write(database, lying)

    highest = {record.topic: record.offset for record in lying}
    assert Writer(database.client, database.name).stored() == {(topic, 0): at for topic, at in highest.items()}


def test_repeating_a_batch_adds_nothing(database: Database) -> None:
    """An insert whose answer was lost is done again under its token."""
    lying = facts()
    batch = database.writer.prepare(lying)

    for _ in range(3):
        database.writer.write(batch)

    check(database, lying)


def test_equal_rows_in_two_batches_are_two(database: Database) -> None:
    """Only a repetition is dropped, never rows that look like earlier ones: the token counts, not the content."""
    lying = facts(1)
    write(database, lying)
    write(database, [record._replace(offset=record.offset + 1000) for record in lying])

    assert database.rows("SELECT count() FROM {database}.events") == [(2 * len(lying),)]


def test_a_store_that_was_emptied_is_filled_again(database: Database) -> None:
    """The same records, read again for a new beginning, are no repetition: the engine's own comparison of blocks, which
    the token replaces, would drop them in silence."""
    lying = facts(1)
    write(database, lying)
    for table in ("events", "edges"):
        database.client.command(f"ALTER TABLE {database.name}.{table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    write(database, lying, Writer(database.client, database.name))

    check(database, lying)


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_between_edges_and_events_changes_nothing(database: Database, seed: int) -> None:
    """However a predecessor died, a successor that goes on after the stored offsets with other batch limits leaves
    every fact and every edge exactly once."""
    chance = random.Random(seed)
    lying = facts(4, apart_us=9 * DAY)  # over a month's end
    writer = database.writer
    for _ in range(200):
        stored = writer.stored()
        left = [r for r in lying if r.offset > stored.get((r.topic, r.partition), -1)]
        if not left:
            break
        batch = writer.prepare(left[: chance.randrange(1, 60)])
        survive = chance.randrange(len(batch.steps) + 1)
        writer.write(Batch(batch.token, batch.steps[:survive]))
        if survive < len(batch.steps) or chance.random() < 0.3:
            writer = Writer(database.client, database.name)  # what the next process knows

    check(database, lying)


def test_an_insert_is_one_part(database: Database) -> None:
    """A large batch with large bodies is there or not there: one part, however the driver would cut it."""
    body = "x" * 40_000
    lying = [
        record._replace(row=type(record.row)(**{**_fields(record), "value": body}))
        for record in facts(4)
        if record.topic == "bp.state"
    ] * 30
    lying = [record._replace(offset=number) for number, record in enumerate(lying)]
    database.client.command(f"SYSTEM STOP MERGES {database.name}.events")

    write(database, lying)

    parts = database.rows("SELECT rows FROM system.parts WHERE database = '{database}' AND table = 'events' AND active")
    assert parts == [(len(lying),)]


def _fields(record: Record) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(record.row)


@pytest.mark.parametrize("record", TOPIC_OF_FACT, ids=lambda record: record.__name__)
@pytest.mark.parametrize("extreme", [-1, 1])
def test_the_oddest_fact_comes_back_as_it_was(database: Database, record: type[Fact], extreme: int) -> None:
    """The ends of every number's range, and text that is special to SQL, to tabs, to C and to UTF-8."""
    text = "\0\\N\t\n'\"`{x}ü🙂\u2028"
    fields: dict[str, Any] = {}
    for field in schemas.latest(record.__name__)["fields"]:
        kind = field["type"]["type"] if isinstance(field["type"], dict) else field["type"]
        words = kind == "map" and field["type"]["values"] == "string"
        span = {"int": 31, "long": 63}.get(kind)
        end = extreme * 2**span - (extreme > 0) if span else None
        fields[field["name"]] = {
            "string": text,
            "boolean": extreme > 0,
            "array": [text, ""],
            "map": {text: text if words else extreme},
        }.get(kind, end)
    fields |= {"at": NOON, "kind": text}
    fields |= dict.fromkeys(TIMES & fields.keys() - {"at"}, NOON - 1)
    write(database, [Record(TOPIC_OF_FACT[record], 0, 0, 0, record(**fields))])

    columns = dict(zip(record.__struct_fields__, COLUMNS_OF[record], strict=True))
    asked = ", ".join(f"toUnixTimestamp64Micro({columns[name]})" if name in TIMES else columns[name] for name in fields)
    [row] = database.rows(f"SELECT {asked} FROM {{database}}.events")
    assert dict(zip(fields, row, strict=True)) == fields


def test_a_refused_insert_raises_and_stores_nothing_of_the_step(database: Database) -> None:
    """The loop learns that the store did not take the batch."""
    lying = facts(1)
    batch = database.writer.prepare(lying)
    database.client.command(f"RENAME TABLE {database.name}.events TO {database.name}.gone")

    with pytest.raises(Error):
        database.writer.write(batch)
    database.client.command(f"RENAME TABLE {database.name}.gone TO {database.name}.events")
    database.writer.write(batch)

    check(database, lying)


def test_no_insert_is_under_way_when_nothing_writes(database: Database) -> None:
    """What a successor waits for comes to an end."""
    assert database.writer.inserting() == 0
