"""Writes batches of records to ClickHouse exactly once, through clickhouse-connect: embedded engine and server alike.

The rows are the offsets: the next record follows the highest offset stored of each topic-partition. One insert moves it
together with the rows, because an insert of one block into one partition is one part, there or not there. A batch is
written in this order, each step for one month (``rows.inserts``):

1. its edges, but for those already stored (a crash after this step repeats it with other batch limits);
2. its events.

Every insert carries a token, so that repeating one whose answer was lost adds nothing. On a server, which more than one
sink may write to, the token also fences: see ``fence``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backplane.sink.edges import edges
from backplane.sink.fence import TABLES, Fence, Place, State, state_of
from backplane.sink.frames import EncodedRecord
from backplane.sink.rows import Block, Record, events, inserts, month

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from backplane.sink.stage import Stage, StagedRows, Stages

SEEN_S: Final = 60.0
"""How old a look at the tables may be when something is inserted. ClickHouse remembers the names of 10,000 inserts; a
sink that stood still for longer looks again."""
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
    block: Block | StagedRows
    token: str
    month: str
    """YYYYMM of its rows."""
    tops: Mapping[Place, int]
    """The highest offset of its rows in each topic-partition."""


class Batch(NamedTuple):
    """A batch ready to be written."""

    token: str
    steps: list[Step]
    stage: Stage | None = None
    """Where its rows are, when ClickHouse parsed them; then each step's block is a ``StagedRows``."""


class Writer:
    """One database. Methods raise clickhouse_connect's ``Error``."""

    def __init__(self, client: Client, database: str, stages: Stages | None = None, *, shared: bool = False) -> None:
        """Without ``stages`` all records have to be decoded. ``shared``: other sinks may write to the database, and
        are fenced; the methods that write raise Overtaken then."""
        self._client = client
        self._database = database
        self._stages = stages
        self._described = {table: self._describe(table) for table in ("events", "edges")}
        self._types = {table: _types_to_send(columns) for table, columns in self._described.items()}
        self._tokens = uuid.uuid4().hex  # never the same over two processes: equal offsets need not be equal rows
        self._batches = 0
        self._seen_at: dict[str, float] = {}
        states = {table: self._look(table) for table in TABLES} if shared else {}
        self._fence = Fence(states) if shared else None
        self._stored_steps: tuple[str, int] = ("", 0)
        """The batch that is being written, by its token, and how many of its steps are stored."""
        self._edges_stored = states["edges"].positions if shared else self.stored("edges")
        events = states["events"].positions if shared else self.stored()
        self._half_done = any(offset > events.get(place, -1) for place, offset in self._edges_stored.items())

    def stored(self, table: str = "events") -> dict[Place, int]:
        """The highest offset stored of each topic-partition."""
        columns = "topic, partition, max(offset)"
        query = f"SELECT {columns} FROM {self._database}.{table} GROUP BY topic, partition"  # noqa: S608 — names of ours
        rows = self._client.query(query).result_rows
        return {(topic, partition): offset for topic, partition, offset in rows}

    def stamps(self, stored: Mapping[Place, int]) -> dict[Place, int]:
        """The broker's timestamps, ms, of the records at these places."""
        if not stored:
            return {}
        rows = self._client.query(
            f"SELECT DISTINCT topic, partition, toUnixTimestamp64Milli(appended_at) FROM {self._database}.events "  # noqa: S608 — names of ours
            "WHERE (topic, partition, offset) IN {places:Array(Tuple(String, Int32, Int64))}",
            parameters={"places": [(*place, offset) for place, offset in stored.items()]},
        ).result_rows
        return {(topic, partition): stamp for topic, partition, stamp in rows}

    def _look(self, table: str) -> State:
        columns = "_partition_id AS month, topic, partition, max(offset)"
        found = self._client.query(
            f"SELECT {columns} FROM {self._database}.{table} GROUP BY month, topic, partition"  # noqa: S608 — names of ours
        )
        self._seen_at[table] = time.monotonic()
        return state_of(found.result_rows)

    def _last_deletion(self, table: str) -> str:
        found = self._client.query(
            "SELECT toString(max((create_time, mutation_id))) FROM system.mutations "
            "WHERE database = {database:String} AND table = {table:String} HAVING count() > 0",
            parameters={"database": self._database, "table": table},
        )
        return "".join(str(row[0]) for row in found.result_rows)

    def resume(self) -> None:
        """Looks which edges are stored, before a batch that is stored in part is written again with other limits."""
        self._edges_stored = self.stored("edges")
        if self._fence is not None:
            for table in TABLES:
                self._fence.look(table, self._look(table))

    def inserting(self) -> int:
        """Inserts of a sink under way right now; ours or a dead predecessor's."""
        ours = "query_kind = 'Insert' AND Settings['log_comment'] = {comment:String}"
        query = f"SELECT count() FROM system.processes WHERE {ours}"  # noqa: S608 — its value is bound
        found = self._client.query(query, parameters={"comment": COMMENT})
        return int(found.result_rows[0][0])

    def stage(self, records: Sequence[EncodedRecord]) -> Batch | None:
        """The batch parsed by ClickHouse, or None: something in it is not as usual, decode the records and ``prepare``
        them. May run while another batch is being written. Raises as the registry does."""
        if self._stages is None or not records or (self._half_done and self._any_edge_stored(records)):
            return None
        stage = self._stages.take(self._described["events"])
        staged = stage.fill(records)
        if not staged:
            self._stages.give_back(stage)
            return None
        of = str(stage.month)
        steps = [Step(part.table, part, part.table, of, self._tops_of(part, stage, records)) for part in staged]
        return self._batch([step for step in steps if step.tops or self._fence is None], stage)

    def _tops_of(self, part: StagedRows, stage: Stage, records: Sequence[EncodedRecord]) -> Mapping[Place, int]:
        if self._fence is None:
            return {}
        return _tops(records) if part.table == "events" else stage.tops_of_edges()

    def _any_edge_stored(self, records: Sequence[EncodedRecord]) -> bool:
        found = any(one.offset <= self._edges_stored.get((one.topic, one.partition), -1) for one in records)
        self._half_done = found  # true of the first batches after a crash only
        return found

    def prepare(self, records: Sequence[Record]) -> Batch:
        """The decoded batch as columns. Costs time but no I/O, and may run while another batch is being written."""
        steps: list[Step] = []
        for number, part in enumerate(inserts(records)):
            of = str(month(part[0].row.at))
            made = edges(_after(part, self._edges_stored))
            steps += [
                Step("edges", made, f"{number}/edges", of, _tops_of_block(made)),
                Step("events", events(part), f"{number}/events", of, _tops(part)),
            ]
        return self._batch(steps)

    def _batch(self, steps: list[Step], stage: Stage | None = None) -> Batch:
        self._batches += 1
        return Batch(f"{self._tokens}/{self._batches}", [step for step in steps if step.block.rows], stage)

    def write(self, batch: Batch) -> None:
        """Stores the batch, or raises; then part of it may be stored, and repeating the call completes it."""
        if self._fence is None:
            for step in batch.steps:
                self._store(batch, step, f"{batch.token}/{step.token}")
        else:
            self._write_fenced(batch, self._fence)
        if batch.stage is not None and self._stages is not None:
            self._stages.give_back(batch.stage)

    def _write_fenced(self, batch: Batch, fence: Fence) -> None:
        token, done = self._stored_steps
        if token != batch.token:
            done = 0
        for number, step in enumerate(batch.steps[done:], start=done + 1):
            fresh = time.monotonic() - self._seen_at[step.table] < SEEN_S
            if fresh or not fence.look(step.table, self._look(step.table)):
                self._store_fenced(batch, step, fence)
            self._stored_steps = batch.token, number

    def _store_fenced(self, batch: Batch, step: Step, fence: Fence) -> None:
        self._store(batch, step, fence.begin(step.table, step.month, step.tops))
        now = self._look(step.table)
        if fence.dropped(step.table, now) and (deletion := self._last_deletion(step.table)):
            self._store(batch, step, fence.begin(step.table, step.month, step.tops, deletion))
            now = self._look(step.table)
        fence.end(step.table, now)

    def _store(self, batch: Batch, step: Step, token: str) -> None:
        settings = {**SETTINGS, "insert_deduplication_token": token}
        if isinstance(step.block, Block):
            self._insert(step.table, step.block, settings)
        elif batch.stage is not None:
            self._insert_staged(batch.stage, step.block, settings)

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

    def _insert_staged(self, stage: Stage, staged: StagedRows, settings: dict[str, Any]) -> None:
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


def _tops(records: Sequence[Record] | Sequence[EncodedRecord]) -> dict[Place, int]:
    """The highest offset of each topic-partition, which come in their order."""
    return {(one.topic, one.partition): one.offset for one in records}


def _tops_of_block(block: Block) -> dict[Place, int]:
    if not block.rows:
        return {}
    topics, partitions, offsets = (block.columns[block.names.index(name)] for name in ("topic", "partition", "offset"))
    return {(topic, partition): offset for topic, partition, offset in zip(topics, partitions, offsets, strict=True)}
