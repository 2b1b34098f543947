"""A batch of records parsed by ClickHouse: in memory, in a table that only this stage's own connection sees.

Profiled, a sink that decodes in Python spends 14 of 30 µs of CPU a fact on that. It spends 7 on rows and edges and 8 on
inserting them. So the usual batch is never decoded here. Its bytes are framed as an Avro file
(``backplane.sink.frames``), parsed by the engine (4 µs with the framing). Both tables are filled from the parsed rows
(6 µs). A batch with anything unusual is refused as a whole, and ``backplane.sink.rows`` takes it record by record. A
test holds both ways to the same rows.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.codec import HEADER, MAGIC, Codec, Undecodable
from backplane.sink.edges import NAMES, columns_used, edges_count_sql, edges_sql
from backplane.sink.frames import MARK, EncodedRecord, avro_file
from backplane.sink.rows import ABOUT, COLUMNS, COLUMNS_OF, LATEST_AT, POSITION, TOO_LATE, month

TABLE: Final = "staged"
PLAIN: Final = {"max_threads": 1, "max_memory_usage": 2**30}
"""One thread: the other core is for reading, and blocks keep their order. Memory: a length in bytes that are no record
may say 2 GB, which the engine would otherwise reserve before it finds out."""
CHECK: Final = (
    "SELECT countIf(mark = {mark}), toUnixTimestamp64Micro(min(at)), toUnixTimestamp64Micro(max(at)) FROM staged"
)
EDGES: Final = """
SELECT
    topic, partition, offset, at, run_id, event_id AS child_event,
    tupleElement(edge, 1) AS relation, tupleElement(edge, 2) AS parent_event,
    tupleElement(edge, 3) AS state_key, tupleElement(edge, 4) AS version
FROM (SELECT topic, partition, offset, at, {run_id} AS run_id, event_id, arrayJoin({edges}) AS edge FROM staged)
"""
ALWAYS: Final = frozenset((*POSITION, "run_id", "run_seq", "event_id", "at", *columns_used()))
ONE_BLOCK: Final = f"ORDER BY topic, partition, offset SETTINGS max_block_size = {2**32}"
"""Sorted rows leave the engine in blocks of so many."""
LATE: Final = (
    f"run_seq = 0 AND topic IN ({', '.join(repr(TOPIC_OF_FACT[record]) for record in sorted(TOO_LATE, key=str))})"
)
"""Whether a fact came when its run had ended, or is about none: it is in no run's record; see ``rows.record_of``."""
SELECTED: Final = {
    **{name: f"if({LATE}, '', staged.{name})" for name in ("run_id", "parent_run_id", "root_run_id")},
    ABOUT: f"if({LATE}, staged.run_id, '')",
}
"""Columns that are not as they were parsed → what they are."""


class StagedRows(NamedTuple):
    """Rows for one table."""

    table: str
    columns: tuple[str, ...]
    select: str
    """Their rows, as a query on the stage's connection."""
    rows: int
    """Of the batch; edges are more or fewer."""


class Writers:
    """Which record, and which columns, the bytes with a schema id are."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: dict[bytes, tuple[dict[str, Any], tuple[str, ...]]] = {}

    def of(self, header: bytes) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        """The schema and its columns; None for what is no fact of ours."""
        known = self._known.get(header)
        if known is None:
            known = self._look_up(header)
            if known is not None:  # the others are many, and one of them may be applied tomorrow
                self._known[header] = known
        return known

    def _look_up(self, header: bytes) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        try:
            magic, schema_id = HEADER.unpack(header)
            if magic != MAGIC:
                return None
            record, schema = self._codec.writer(schema_id)
        except (struct.error, Undecodable):
            return None
        if record not in COLUMNS_OF:
            return None
        renamed = dict(zip(record.__struct_fields__, COLUMNS_OF[record], strict=True))
        # A field of a newer writer has no column: its name is one that ClickHouse finds nowhere and skips.
        return schema, tuple(renamed.get(field["name"], f"unknown.{field['name']}") for field in schema["fields"])


class Stage:
    """One connection and its table. Not for two threads at a time."""

    def __init__(self, handle: Any, types: Mapping[str, str], writers: Writers) -> None:
        """``types``: column of ``events`` → its type."""
        self._handle = handle
        self._types = types
        self._writers = writers
        self.month = 0
        """YYYYMM of the rows that it was filled with last."""
        for name, value in PLAIN.items():
            handle.query(f"SET {name} = {value}")

    def fill(self, records: Sequence[EncodedRecord]) -> list[StagedRows]:
        """Parses the records; what is to be inserted, the edges first. Empty: look at them one by one."""
        groups: dict[bytes, list[EncodedRecord]] = {}
        for record in records:
            if record.value is None:
                return []
            groups.setdefault(record.value[: HEADER.size], []).append(record)
        found = {header: self._writers.of(header) for header in groups}
        if not found or None in found.values():
            return []
        known = {header: writer for header, writer in found.items() if writer is not None}
        used = {*POSITION, ABOUT, *(name for _, columns in known.values() for name in columns if name in self._types)}
        self._create((used | ALWAYS) - {ABOUT})
        mark = secrets.randbits(60)
        try:
            for header, (schema, columns) in known.items():
                named = [name for name in columns if name in self._types]
                self._parse(avro_file(schema, columns, groups[header], HEADER.size, mark), named)
        except RuntimeError:  # the parser's: some of these bytes are no record of their schema
            return []
        if not self._usual(len(records), mark):
            return []
        columns = tuple(name for name in COLUMNS if name in used)
        selected = ", ".join(f"{SELECTED[name]} AS {name}" if name in SELECTED else name for name in columns)
        return [
            StagedRows("edges", NAMES, EDGES.format(edges=edges_sql(), run_id=SELECTED["run_id"]), len(records)),
            StagedRows("events", columns, f"SELECT {selected} FROM {TABLE}", len(records)),  # noqa: S608 — names of ours
        ]

    def _create(self, columns: Iterable[str]) -> None:
        self._handle.query(f"DROP TEMPORARY TABLE IF EXISTS {TABLE}")
        described = ", ".join(f"{name} {self._types[name]}" for name in sorted(columns))
        self._handle.query(f"CREATE TEMPORARY TABLE {TABLE} ({described}, {MARK} Int64) ENGINE = Memory")

    def _parse(self, file: bytes, columns: Iterable[str]) -> None:
        names = ", ".join((*POSITION, *columns, MARK))
        with self._handle.send_insert(f"INSERT INTO {TABLE} ({names})", "Avro") as insert:
            insert.append(file)
            insert.finish()

    def _usual(self, count: int, mark: int) -> bool:
        """Whether all were read to their ends, at times that can be stored, in one month."""
        whole, first, last = map(int, self._ask(CHECK.format(mark=mark)).split("\t"))
        if whole != count or first < 0 or last >= LATEST_AT:
            return False
        self.month = month(first)
        return self.month == month(last)

    def tops_of_edges(self) -> dict[tuple[str, int], int]:
        """The highest offset with an edge of each topic-partition."""
        said = self._ask(
            f"SELECT topic, partition, max(offset) FROM {TABLE} WHERE {edges_count_sql()} > 0 GROUP BY topic, partition"  # noqa: S608 — names of ours
        )
        rows = (line.split("\t") for line in said.splitlines())
        return {(topic, int(partition)): int(offset) for topic, partition, offset in rows}

    def _ask(self, query: str) -> str:
        return bytes(self._handle.query(query, "TSVRaw").bytes()).decode().rstrip("\n")

    def native(self, staged: StagedRows) -> bytes:
        """The rows in ClickHouse's own format, for a server elsewhere. They are one block: a server names an insert by
        its token and the number of its blocks."""
        return bytes(self._handle.query(f"{staged.select} {ONE_BLOCK}", "Native").bytes())

    def run(self, statement: str) -> None:
        """A statement on the stage's connection, whose table it may name. Raises RuntimeError."""
        self._handle.query(statement)

    def clear(self) -> None:
        """Gives the memory of its rows back."""
        self._handle.query(f"DROP TEMPORARY TABLE IF EXISTS {TABLE}")


class Stages:
    """Stages in turn: one is filled while others wait or are being inserted."""

    def __init__(self, connect: Callable[[], Any], codec: Codec, *, in_store: bool) -> None:
        """``connect``: a new connection to an engine of this process; ``in_store``: the one that the store is in."""
        self._connect = connect
        self._writers = Writers(codec)
        self._free: list[Stage] = []
        self.in_store = in_store

    def take(self, types: Mapping[str, str]) -> Stage:
        """One that nobody uses."""
        return self._free.pop() if self._free else Stage(self._connect(), types, self._writers)

    def give_back(self, stage: Stage) -> None:
        """It may be filled again."""
        stage.clear()
        self._free.append(stage)
