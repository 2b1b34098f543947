"""The schema of ``schemas/clickhouse`` in the real engine, held against what the sink fills it from."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from agents_sdk import schemas
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink import edges, rows
from backplane.store.migrate import HISTORY, Migration, MigrationEdited, migrate, migrations
from tests.integration.sink.conftest import Database

OLD: Final = "01930000-0000-7000-8000-000000000000"
VIEWS: Final = (
    *(
        "v_cost",
        "v_calls",
        "v_artifacts",
        "v_state_history",
        "v_messages",
        "v_requests",
        "v_children",
        "v_dependencies",
    ),
    *("v_lineage", "v_state_as_of", "v_audit"),
)
FITS: Final = {
    "string": {"String", "LowCardinality(String)"},
    "long": {"Int64"},
    "int": {"Int32"},
    "boolean": {"Bool"},
    "timestamp-micros": {"DateTime64(6, 'UTC')"},
    "array": {"Array(String)"},
    "map of long": {"Map(String, Int64)"},
    "map of string": {"Map(String, String)"},
}
"""Avro type → the ClickHouse types that hold all of it."""


def described(database: Database, table: str) -> dict[str, str]:
    return {row[0]: row[1] for row in database.rows(f"DESCRIBE TABLE {{database}}.{table}")}


def test_every_column_is_filled_and_every_filled_column_exists(database: Database) -> None:
    """The table and the mapping are two writings of one list."""
    assert sorted(described(database, "events")) == sorted(rows.COLUMNS)
    assert sorted(described(database, "edges")) == sorted(edges.NAMES)


def test_every_column_holds_all_that_its_field_may_be(database: Database) -> None:
    """An Avro long in an Int32 would be cut without a word."""
    columns = described(database, "events")
    for record in TOPIC_OF_FACT:
        named = dict(zip(record.__struct_fields__, rows.COLUMNS_OF[record], strict=True))
        for field in schemas.latest(record.__name__)["fields"]:
            kind = field["type"]
            if isinstance(kind, dict):
                whole = kind.get("logicalType", kind["type"])
                kind = f"map of {kind['values']}" if whole == "map" else whole
            assert columns[named[field["name"]]] in FITS[kind], (record.__name__, field["name"])


def test_migrations_are_applied_once(database: Database) -> None:
    """A second start changes nothing."""
    assert migrate(database.client, database.name) == []


def test_an_edited_migration_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was applied is history: an edit would exist on new installations only."""
    edited = [Migration(one.number, one.name, one.text + "-- more\n") for one in migrations()]
    monkeypatch.setattr("backplane.store.migrate.migrations", lambda: edited)

    with pytest.raises(MigrationEdited, match="0001_events"):
        migrate(database.client, database.name)


def test_a_migration_cut_short_is_completed(database: Database) -> None:
    """A crash after a statement and before the note of it must not stop the next start."""
    database.client.command(f"DROP TABLE {database.name}.migrations SYNC")
    database.client.command(f"DROP VIEW {database.name}.v_calls SYNC")

    assert len(migrate(database.client, database.name)) == len(migrations())
    assert database.rows("SELECT count() FROM {database}.v_calls") == [(0,)]


@pytest.mark.parametrize("view", VIEWS)
def test_the_example_question_of_each_view_is_answered(database: Database, view: str) -> None:
    """What the documentation asks can be asked."""
    [(comment,)] = database.rows(
        f"SELECT comment FROM system.tables WHERE database = '{{database}}' AND name = '{view}'"
    )
    question = re.search(r"SELECT .*", comment)

    assert question is not None
    assert database.rows(question.group().replace(f"FROM {view}", f"FROM {database.name}.{view}")) == []


def test_bodies_go_before_the_rest_and_hashes_stay(database: Database) -> None:
    """What a fact of long ago held is gone, that and what it was is not; a fact of today keeps all."""
    import time

    from tests.support.stories import article, records

    now = int(time.time() * 1_000_000)
    for number, at in enumerate((now - 100 * 86_400_000_000, now)):
        story = article(OLD if number == 0 else f"01930000-0000-7000-8000-{number:012d}", at)
        lying = [one._replace(offset=one.offset + 1000 * number) for one in records(story.facts)]
        database.writer.write(database.writer.prepare(lying))
    database.client.command(f"ALTER TABLE {database.name}.events MATERIALIZE TTL SETTINGS mutations_sync = 2")

    rows = database.rows(
        "SELECT run_id, countIf(value != ''), countIf(data != ''), countIf(params != ''), countIf(value_hash != ''), "
        "countIf(size > 0), sum(cost_nano_usd) "
        "FROM {database}.events WHERE run_id != '' GROUP BY run_id ORDER BY run_id"
    )
    (_, *old), (_, *new) = rows
    assert old[:3] == [0, 0, 0]
    assert min(new[:3]) > 0
    assert old[3:] == new[3:]
    run = f"run = '{OLD}', at = '2100-01-01'"
    for view in (f"v_state_as_of({run})", "v_state_history", "v_messages", "v_calls"):
        told = database.rows(
            f"SELECT run_id = '{OLD}', emptied, count() FROM {{database}}.{view} GROUP BY ALL ORDER BY ALL"
        )
        assert [row[:2] for row in told] == ([(0, 0)] if "(" not in view else []) + [(1, 1)], view


def test_on_a_cluster_every_object_is_created_on_it_and_replicated() -> None:
    """One dialect for the embedded engine, a server and a cluster."""
    statements = [text for one in migrations() for text in one.statements("db", "main")]

    assert statements
    assert all("ON CLUSTER main" in text or text.startswith("INSERT") for text in statements)
    tables = [text for text in (*statements, HISTORY) if text.lstrip().startswith("CREATE TABLE")]
    assert all(re.search(r"(Replicated|\{replicated\})\w*MergeTree", text) for text in tables)
    assert not any(re.search(r"\{(database|cluster|replicated)\}", text) for text in statements)


@pytest.mark.parametrize("name", ["a b", "x;DROP", "", "1a", "ü"])
def test_a_database_name_that_is_none_is_refused(name: str) -> None:
    """Names are put into statements as they are."""
    with pytest.raises(ValueError, match="no name"):
        list(migrations()[0].statements(name))


def test_going_on_does_not_read_the_table(database: Database) -> None:
    """The highest offsets come from the projection, whatever the table's size."""
    from tests.support.stories import article, records

    database.writer.write(database.writer.prepare(records(article().facts)))
    columns: Any = "topic, partition, max(offset)"
    plan = database.rows(
        f"EXPLAIN indexes = 1 SELECT {columns} FROM {{database}}.events GROUP BY topic, partition "
        "SETTINGS optimize_use_implicit_projections = 0"
    )

    assert "positions" in "\n".join(str(row[0]) for row in plan)


def test_children_of_an_event_are_found_by_the_projection(database: Database) -> None:
    """Down the lineage is a key lookup as well."""
    from tests.support.stories import article, records

    database.writer.write(database.writer.prepare(records(article().facts)))
    plan = database.rows(
        "EXPLAIN indexes = 1 SELECT child_event FROM {database}.edges WHERE parent_event = 'x' "
        "SETTINGS force_optimize_projection_name = 'by_parent', optimize_use_projections = 1"
    )

    assert plan
