"""Statements that call a function which the parser's tree does not show: each would read a file of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from backplane.access.row_rules import filters
from backplane.store.engine import Engine, QueryFailed
from tests.integration.sink.conftest import Database

SECRET = "marmalade"
WAYS = [
    "SELECT * APPLY(file) FROM (SELECT '{path}')",
    "SELECT * APPLY file FROM (SELECT '{path}')",
    "SELECT COLUMNS('x') APPLY(`file`) FROM (SELECT '{path}' AS x)",
    "SELECT t.* APPLY(upper) APPLY(file) FROM (SELECT '{path}' AS x) AS t",
    "SELECT * APPLY(file, 'p_') FROM (SELECT '{path}')",
    "SELECT * aPPly /* */ ( /**/ FILE) FROM (SELECT '{path}')",
    "SELECT COLUMNS('x') APPLY(x -> file('{path}')) FROM (SELECT 1 AS x)",
    "SELECT COLUMNS('x') APPLY(x -> (SELECT any(line) FROM file('{path}', LineAsString))) FROM (SELECT 1 AS x)",
    "EXPLAIN SELECT * APPLY(file) FROM (SELECT '{path}')",
    "EXPLAIN SYNTAX SELECT * APPLY(file) FROM (SELECT '{path}')",
    "SELECT * FROM (EXPLAIN SELECT * APPLY(file) FROM (SELECT '{path}'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * APPLY(file) FROM (SELECT '{path}')))",
    "WITH t AS (SELECT * APPLY(file) FROM (SELECT '{path}')) SELECT * FROM t",
    "SELECT 1 UNION ALL (SELECT length(*) FROM (SELECT * APPLY(file) FROM (SELECT '{path}')))",
    "SELECT COLUMNS(file('{path}')) FROM (SELECT 1)",
    "SELECT * REPLACE(file('{path}') AS x) FROM (SELECT 1 AS x)",
    "SELECT sum(1) OVER w FROM system.one WINDOW w AS (PARTITION BY file('{path}'))",
    "SELECT 1 LIMIT length(file('{path}'))",
    "SHOW COLUMNS FROM events WHERE file('{path}') != ''",
    "SELECT $$x$$, file($${path}$$)",
]
FINE = [
    ("SELECT * APPLY(sum) FROM (SELECT 1)", b"1\n"),
    ("SELECT * APPLY(quantile(0.5)) FROM (SELECT 1)", b"1\n"),
    ("SELECT count() AS apply FROM (SELECT 1)", b"1\n"),
    ("SELECT 'APPLY x -> file(x)'", b"APPLY x -> file(x)\n"),
]


def asked(engine: Engine, sql: str, database: str, rules: str = "") -> bytes:
    return b"".join(engine.query(sql, {}, {}, database, "TSVRaw", False, rules).chunks)


@pytest.mark.parametrize("restricted", [False, True], ids=["all", "restricted"])
@pytest.mark.parametrize("way", WAYS)
def test_no_statement_reads_a_file(
    engine: Engine, database: Database, tmp_path: Path, way: str, restricted: bool
) -> None:
    """Neither whole nor by an error that quotes it."""
    path = tmp_path / "secret.csv"
    path.write_text(f"{SECRET}\n")
    rules = filters(database.name, ["content"]) if restricted else ""
    with pytest.raises(QueryFailed) as refused:
        asked(engine, way.format(path=path), database.name, rules)
    assert refused.value.code in (497, 164, 43, 62)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(("sql", "answer"), FINE)
def test_plain_functions_are_applied(engine: Engine, database: Database, sql: str, answer: bytes) -> None:
    """What Grafana and people write."""
    assert asked(engine, sql, database.name) == answer


def test_nobody_learns_whether_a_file_is_there(engine: Engine, database: Database) -> None:
    """The engine's own database takes names for files."""
    for name in ("`/etc/passwd`", '"/etc/passwd"', "default.`/etc/passwd`"):
        with pytest.raises(QueryFailed):
            asked(engine, f"EXISTS TABLE {name}", "")
    assert asked(engine, "EXISTS TABLE events", database.name) == b"1\n"


def test_a_restricted_viewer_explains_nothing(engine: Engine, database: Database) -> None:
    """A plan tells of tables and rows; wherever in a statement it is asked for."""
    for sql in (
        "EXPLAIN SELECT 1",
        "SELECT * FROM (EXPLAIN SELECT 1)",
        "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
    ):
        with pytest.raises(QueryFailed):
            asked(engine, sql, database.name, filters(database.name, ["content"]))
