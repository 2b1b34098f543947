"""The books: they balance when they should, and each way of not balancing is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import msgspec
import pytest

from backplane.sink.fence import Place
from backplane.sink.reconcile import Positions, ReconciliationReport, problems, reconcile
from tests.integration.sink.conftest import Database
from tests.support.stories import article, records

RUN = "01930000-0000-7000-8000-000000000001"
LYING = records(article(RUN).facts)
ENDS: dict[Place, int] = {(one.topic, one.partition): one.offset + 2 for one in LYING}
"""One marker behind the last record of each topic."""


@pytest.fixture
def client(database: Database, port: int) -> Iterator[Any]:
    database.writer.write(database.writer.prepare(LYING))
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    yield found
    found.close()


def check(
    client: Any, ends: dict[Place, int] | None = None, following: dict[Place, int] | None = None
) -> ReconciliationReport:
    return reconcile(client, Positions(ends or ENDS, following or ends or ENDS))


def test_a_store_with_each_fact_once_balances(client: Any) -> None:
    """Rows, offsets, edges and roll-up of every topic-partition, a topic that is empty included."""
    books = check(client, {**ENDS, ("bp.agents", 3): 0})

    assert list(problems(books)) == []
    assert books.summary()["rows"] == sum(one.rows for one in books.accounts) == len(LYING)
    assert {(one.topic, one.partition) for one in books.accounts} == {*ENDS, ("bp.agents", 3)}
    assert all(one.edges == one.edges_due for one in books.accounts)
    assert sum(one.edges for one in books.accounts) > len(LYING) / 2


def change(database: Database, statement: str) -> None:
    settings = "" if statement.startswith("INSERT") else " SETTINGS mutations_sync = 2"
    database.client.command(statement.replace("{database}", database.name) + settings)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO {database}.events SELECT * FROM {database}.events WHERE kind = 'RunStarted'", "rows for"),
        ("INSERT INTO {database}.edges SELECT * FROM {database}.edges WHERE relation = 'wrote' LIMIT 1", "edges, its"),
        ("ALTER TABLE {database}.edges DELETE WHERE relation = 'read'", "edges, its facts call for"),
        ("ALTER TABLE {database}.events DELETE WHERE kind = 'DecisionRecorded'", "runs lack facts"),
    ],
)
def test_a_fact_too_many_or_too_few_is_found(database: Database, client: Any, statement: str, says: str) -> None:
    """Doubled, or lost, in either table."""
    change(database, statement)

    assert any(says in problem for problem in problems(check(client)))


def test_a_store_ahead_of_kafka_is_found(client: Any) -> None:
    """It belongs to another cluster, or Kafka lost what it had."""
    found = list(problems(check(client, {**ENDS, ("bp.runs", 0): 1})))

    assert [problem.partition(" is")[0] for problem in found] == ["bp.runs[0]"]


def test_a_store_that_is_behind_balances_and_says_so(database: Database, client: Any) -> None:
    """A run whose facts are still on their way lacks none: gaps are looked for up to what is complete only."""
    change(database, "ALTER TABLE {database}.events DELETE WHERE kind = 'DecisionRecorded'")
    change(database, "ALTER TABLE {database}.edges DELETE WHERE topic = 'bp.decisions'")
    following = {place: end for place, end in ENDS.items() if place[0] != "bp.decisions"}

    books = check(client, ENDS, following)

    assert list(problems(books)) == []
    assert books.summary()["behind"] == ENDS["bp.decisions", 0]


def test_without_kafka_the_store_is_checked_all_the_same(client: Any) -> None:
    """What can be said without Kafka."""
    assert list(problems(reconcile(client, None))) == []


def test_a_roll_up_that_differs_is_a_problem(client: Any) -> None:
    """The sink goes on from it, so it must be right."""
    books = check(client)
    wrong = msgspec.structs.replace(books.accounts[0], rolled_rows=1)

    [problem] = problems(msgspec.structs.replace(books, accounts=[wrong]))
    assert "rolled up as 1" in problem
