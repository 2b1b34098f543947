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

from backplane.sink.edges import edges
from backplane.sink.frames import Lying
from backplane.sink.rows import Block, Record, events, inserts

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from backplane.sink.stage import Stage, Staged, Stages

Place = tuple[str, int]
"""(topic, partition)"""
COMMENT: Final = "backplane-sink"
"""``log_comment`` of our inserts: how a successor finds one of a dead predecessor still under way on a server."""
SETTINGS: Final = {
    "async_insert": 0,  # the embedded engine's default is 1, which answers for blocks it has merged with others
    "max_insert_threads": 1,  # one thread, one part
    "insert_deduplicate": 1,
    "min_insert_block_size_rows": 2**32,  # blocks of a batch are joined, however many and large: one block, one part
    "min_insert_block_size_bytes": 0,
    "log_comment": COMMENT,
}


class Step(NamedTuple):
    """One insert of a batch."""

    table: str
    block: Block | Staged
    token: str


class Batch(NamedTuple):
    """A batch ready to be written."""

    token: str
    steps: list[Step]
    stage: Stage | None = None
    """Where its rows are, when ClickHouse parsed them; then each step's block is a ``Staged``."""


class Writer:
    """One database. Methods raise clickhouse_connect's ``Error``."""

    def __init__(self, client: Client, database: str, stages: Stages | None = None) -> None:
        """Without ``stages`` all records have to be decoded."""
        self._client = client
        self._database = database
        self._stages = stages
        self._described = {table: self._describe(table) for table in ("events", "edges")}
        self._types = {table: _types_to_send(columns) for table, columns in self._described.items()}
        self._tokens = uuid.uuid4().hex  # never the same over two processes: equal offsets need not be equal rows
        self._batches = 0
        self._edges_stored = self.stored("edges")
        events = self.stored()
        self._half_done = any(offset > events.get(place, -1) for place, offset in self._edges_stored.items())

    def stored(self, table: str = "events") -> dict[Place, int]:
        """The highest offset stored of each topic-partition."""
        columns = "topic, partition, max(offset)"
        query = f"SELECT {columns} FROM {self._database}.{table} GROUP BY topic, partition"  # noqa: S608 — names of ours
        rows = self._client.query(query).result_rows
        return {(topic, partition): offset for topic, partition, offset in rows}

    def resume(self) -> None:
        """Looks which edges are stored, before a batch that is stored in part is written again with other limits."""
        self._edges_stored = self.stored("edges")

    def inserting(self) -> int:
        """Inserts of a sink under way right now; ours or a dead predecessor's."""
        ours = "query_kind = 'Insert' AND Settings['log_comment'] = {comment:String}"
        query = f"SELECT count() FROM system.processes WHERE {ours}"  # noqa: S608 — its value is bound
        found = self._client.query(query, parameters={"comment": COMMENT})
        return int(found.result_rows[0][0])

    def stage(self, records: Sequence[Lying]) -> Batch | None:
        """The batch parsed by ClickHouse, or None: something in it is not as usual, decode the records and ``prepare``
        them. May run while another batch is being written. Raises as the registry does."""
        if self._stages is None or not records or (self._half_done and self._any_edge_stored(records)):
            return None
        stage = self._stages.take(self._described["events"])
        staged = stage.fill(records)
        if not staged:
            self._stages.give_back(stage)
            return None
        return self._batch([Step(part.table, part, part.table) for part in staged], stage)

    def _any_edge_stored(self, records: Sequence[Lying]) -> bool:
        found = any(one.offset <= self._edges_stored.get((one.topic, one.partition), -1) for one in records)
        self._half_done = found  # true of the first batches after a crash only
        return found

    def prepare(self, records: Sequence[Record]) -> Batch:
        """The decoded batch as columns. Costs time but no I/O, and may run while another batch is being written."""
        steps: list[Step] = []
        for number, part in enumerate(inserts(records)):
            fresh = _after(part, self._edges_stored)
            steps += [Step("edges", edges(fresh), f"{number}/edges"), Step("events", events(part), f"{number}/events")]
        return self._batch(steps)

    def _batch(self, steps: list[Step], stage: Stage | None = None) -> Batch:
        self._batches += 1
        return Batch(f"{self._tokens}/{self._batches}", [step for step in steps if step.block.rows], stage)

    def write(self, batch: Batch) -> None:
        """Stores the batch, or raises; then part of it may be stored, and repeating the call completes it."""
        for step in batch.steps:
            settings = {**SETTINGS, "insert_deduplication_token": f"{batch.token}/{step.token}"}
            if isinstance(step.block, Block):
                self._insert(step.table, step.block, settings)
            elif batch.stage is not None:
                self._insert_staged(batch.stage, step.block, settings)
        if batch.stage is not None and self._stages is not None:
            self._stages.give_back(batch.stage)

    def _insert(self, table: str, block: Block, settings: dict[str, Any]) -> None:
        from clickhouse_connect.driver.insert import InsertContext

        types = self._types[table]
        context = InsertContext(
            f"{self._database}.{table}",
            block.names,
            [types[name] for name in block.names],
            data=block.columns,
            column_oriented=True,
            settings=settings,
            block_size=block.rows,  # one block: cut in several, it could land in part
        )
        self._client.data_insert(context)

    def _insert_staged(self, stage: Stage, staged: Staged, settings: dict[str, Any]) -> None:
        from clickhouse_connect.driver.exceptions import DatabaseError

        table = f"{self._database}.{staged.table}"
        try:
            if self._stages is not None and self._stages.in_store:
                given = ", ".join(f"{name} = {value!r}" for name, value in settings.items())
                stage.run(f"INSERT INTO {table} ({', '.join(staged.columns)}) SETTINGS {given} {staged.select}")
            else:
                self._client.raw_insert(table, staged.columns, stage.native(staged), settings, fmt="Native")
        except RuntimeError as error:  # chDB's own, which says no more than ClickHouse's text
            raise DatabaseError(str(error)) from error

    def _describe(self, table: str) -> dict[str, str]:
        rows = self._client.query(f"DESCRIBE TABLE {self._database}.{table}").result_rows
        return {str(row[0]): str(row[1]) for row in rows}


def _types_to_send(described: Mapping[str, str]) -> dict[str, Any]:
    """Column → type to send. Dictionaries are left to the server, which makes them faster than Python does."""
    from clickhouse_connect.datatypes.registry import get_from_name

    plain = {
        name: kind.removeprefix("LowCardinality(").removesuffix(")") if kind.startswith("LowCardinality(") else kind
        for name, kind in described.items()
    }
    return {name: get_from_name(kind) for name, kind in plain.items()}


def _after(records: Sequence[Record], stored: Mapping[Place, int]) -> list[Record]:
    """Those beyond what is stored. Only the first batches after a crash have others."""
    return [record for record in records if record.offset > stored.get((record.topic, record.partition), -1)]
