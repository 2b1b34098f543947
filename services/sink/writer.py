"""Writes batches of records to ClickHouse exactly once, through clickhouse-connect: embedded engine and server alike.

The rows are the offsets: where to go on is the highest offset stored of each topic-partition, which one insert moves
together with the rows, because an insert of one block into one partition is one part, there or not there. A batch is
written in this order, each step for one month (``rows.inserts``):

1. its edges, but for those already stored (a crash after this step repeats it with other batch limits);
2. its events.

Every insert carries a token, so that repeating one whose answer was lost adds nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.sink.edges import edges
from services.sink.rows import Block, Record, events, inserts

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Place = tuple[str, int]
"""(topic, partition)"""
COMMENT: Final = "backplane-sink"
"""``log_comment`` of our inserts: how a successor finds one of a dead predecessor still under way on a server."""
SETTINGS: Final = {
    "async_insert": 0,  # the embedded engine's default is 1, which answers for blocks it has merged with others
    "max_insert_threads": 1,  # one thread, one part
    "insert_deduplicate": 1,
    "log_comment": COMMENT,
}


class Step(NamedTuple):
    """One insert of a batch."""

    table: str
    block: Block
    token: str


class Batch(NamedTuple):
    """A batch ready to be written."""

    token: str
    steps: list[Step]


class Writer:
    """One database. Methods raise clickhouse_connect's ``Error``."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._database = database
        self._types = {table: self._column_types(table) for table in ("events", "edges")}
        self._tokens = uuid.uuid4().hex  # never the same over two processes: equal offsets need not be equal rows
        self._batches = 0
        self._edges_stored = self.stored("edges")

    def stored(self, table: str = "events") -> dict[Place, int]:
        """The highest offset stored of each topic-partition."""
        columns = "topic, partition, max(offset)"
        query = f"SELECT {columns} FROM {self._database}.{table} GROUP BY topic, partition"  # noqa: S608 — names of ours
        rows = self._client.query(query).result_rows
        return {(topic, partition): offset for topic, partition, offset in rows}

    def inserting(self) -> int:
        """Inserts of a sink under way right now; ours or a dead predecessor's."""
        ours = "query_kind = 'Insert' AND Settings['log_comment'] = {comment:String}"
        query = f"SELECT count() FROM system.processes WHERE {ours}"  # noqa: S608 — its value is bound
        found = self._client.query(query, parameters={"comment": COMMENT})
        return int(found.result_rows[0][0])

    def prepare(self, records: Sequence[Record]) -> Batch:
        """The batch as columns. Costs time but no I/O, and may run while another batch is being written."""
        steps: list[Step] = []
        for number, part in enumerate(inserts(records)):
            fresh = _after(part, self._edges_stored)
            steps += [Step("edges", edges(fresh), f"{number}/edges"), Step("events", events(part), f"{number}/events")]
        self._batches += 1
        return Batch(f"{self._tokens}/{self._batches}", [step for step in steps if step.block.rows])

    def write(self, batch: Batch) -> None:
        """Stores the batch, or raises; then part of it may be stored, and repeating the call completes it."""
        for step in batch.steps:
            self._insert(step.table, step.block, f"{batch.token}/{step.token}")

    def _insert(self, table: str, block: Block, token: str) -> None:
        from clickhouse_connect.driver.insert import InsertContext

        types = self._types[table]
        context = InsertContext(
            f"{self._database}.{table}",
            block.names,
            [types[name] for name in block.names],
            data=block.columns,
            column_oriented=True,
            settings={**SETTINGS, "insert_deduplication_token": token},
            block_size=block.rows,  # one block: cut in several, it could land in part
        )
        self._client.data_insert(context)

    def _column_types(self, table: str) -> dict[str, Any]:
        """Column → type to send. Dictionaries are left to the server, which makes them faster than Python does."""
        from clickhouse_connect.datatypes.registry import get_from_name

        found = {}
        for row in self._client.query(f"DESCRIBE TABLE {self._database}.{table}").result_rows:
            name, kind = str(row[0]), str(row[1])
            if kind.startswith("LowCardinality("):
                kind = kind.removeprefix("LowCardinality(").removesuffix(")")
            found[name] = get_from_name(kind)
        return found


def _after(records: Sequence[Record], stored: Mapping[Place, int]) -> list[Record]:
    """Those beyond what is stored. Only the first batches after a crash have others."""
    return [record for record in records if record.offset > stored.get((record.topic, record.partition), -1)]
