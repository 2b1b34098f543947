"""Records to rows, as functions of values.

Lives here: which column a field goes to, how a batch becomes columns, where a batch is cut so that each insert is
atomic. Not here: Kafka, ClickHouse, clocks. Laws: every record gives exactly one event row, whatever it is. The same
record at the same position always gives the same row. Every field of every record has a column. Every column of the
table is filled from a field or from the position (a test compares this with ``schemas/clickhouse``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec.structs import astuple

from agents_sdk.core import facts
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.instants import utc

MICROS_A_DAY: Final = 86_400_000_000
LATEST_AT: Final = 4_102_444_800_000_000
"""2100-01-01 in microseconds: a fact later than this has no clock worth believing, and DateTime64 ends in 2299."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record of a fact topic that is no fact of ours. It has a row like any other, so that rows and offsets stay
    equal and the sink never meets it twice. Its bytes are in the dead-letter topic."""

    event_id: str
    kind: str = "Unreadable"
    run_id: str = ""
    run_seq: int = 0
    correlation_id: str = ""
    causation_id: str = ""
    agent: str = ""
    at: int = 0
    command_id: str = ""
    command_offset: int = 0
    error_code: str = ""
    error_message: str = ""


Row = facts.Fact | Unreadable


class Record(NamedTuple):
    """One record of a fact topic and where it lies."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    row: Row


class Block(NamedTuple):
    """Rows of one table, column by column; columns it does not name have their defaults."""

    names: tuple[str, ...]
    columns: list[Sequence[Any]]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.columns[0]) if self.columns else 0


RECORDS: Final[tuple[type[Row], ...]] = (*TOPIC_OF_FACT, Unreadable)
RENAMED: Final[dict[tuple[type[Row], str], str]] = {(facts.CallEvent, "cost_nano_usd"): "call_cost_nano_usd"}
"""(record, field) → column, where they differ. A call's cost repeats its attempts'; summed in one column, cost would
count twice."""
POSITION: Final = ("topic", "partition", "offset", "appended_at")
ABOUT: Final = "about_run_id"
"""Column of the run that a fact in no record is about: what came too late must not count as part of an ended run."""
TOO_LATE: Final[frozenset[type[facts.Fact]]] = frozenset({facts.RefusalEvent, facts.MessageEvent, facts.CallEvent})
"""Records that may be about a run that has ended, or never was: then their ``run_seq`` is 0."""
COLUMNS_OF: Final[dict[type[Row], tuple[str, ...]]] = {
    record: tuple(RENAMED.get((record, field), field) for field in record.__struct_fields__) for record in RECORDS
}
"""Record → the columns of its fields, in the order of the fields."""
COLUMNS: Final = tuple(
    dict.fromkeys((*POSITION, ABOUT, *(column for columns in COLUMNS_OF.values() for column in columns)))
)
"""Every column of ``events``."""


def _defaults() -> dict[str, Any]:
    empty = {str: "", int: 0, bool: False, list[str]: (), dict[str, int]: {}, dict[str, str]: {}}
    found: dict[str, Any] = {ABOUT: ""}
    for record, columns in COLUMNS_OF.items():
        hints = get_type_hints(record)
        found.update(
            {column: empty[hints[field]] for field, column in zip(record.__struct_fields__, columns, strict=True)}
        )
    return found


DEFAULTS: Final = _defaults()


def unmappable(fact: facts.Fact) -> str:
    """Why this fact has no row of its own; empty when it has."""
    if 0 <= fact.at < LATEST_AT:
        return ""
    return f"its time {fact.at} µs lies outside 1970 to 2100"


def unreadable(topic: str, partition: int, offset: int, timestamp_ms: int, code: str, message: str) -> Record:
    """The record of what could not be decoded or mapped; its identity is its position."""
    at = min(max(timestamp_ms, 0) * 1000, LATEST_AT - 1)
    row = Unreadable(event_id=f"{topic}/{partition}/{offset}", at=at, error_code=code, error_message=message[:2000])
    return Record(topic, partition, offset, timestamp_ms, row)


def events(records: Sequence[Record]) -> Block:
    """The rows of ``events``, one a record; rows of a kind of record lie together. Only columns that one of these
    records has are named: a batch without registrations does not carry their seven empty lists."""
    groups: dict[type, list[Record]] = {}
    for record in records:
        groups.setdefault(type(record.row), []).append(record)
    names = _names(frozenset(groups))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for kind, group in groups.items():
        _extend(columns, kind, group)
    return Block(names, list(columns.values()))


def _extend(columns: dict[str, list[Any]], kind: type[Row], group: list[Record]) -> None:
    topics, partitions, offsets, stamps, rows = zip(*group, strict=True)
    filled: dict[str, Sequence[Any]] = dict(zip(COLUMNS_OF[kind], zip(*map(astuple, rows), strict=True), strict=True))
    filled |= {
        "topic": topics,
        "partition": partitions,
        "offset": offsets,
        "appended_at": [stamp if 0 <= stamp < LATEST_AT // 1000 else 0 for stamp in stamps],
    }
    if kind in TOO_LATE:
        filled |= _in_no_record(filled)
    count = len(group)
    for name, column in columns.items():
        values = filled.get(name)
        column.extend(values if values is not None else [DEFAULTS[name]] * count)


def record_of(fact: Row) -> str:
    """The run whose record the fact is in; empty for what came when the run had ended, or never was."""
    return "" if type(fact) in TOO_LATE and not fact.run_seq else fact.run_id


def _in_no_record(filled: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The columns that say in which record a fact is, and which run it is about where it is in none."""
    numbers, meant = filled["run_seq"], filled["run_id"]
    ids_of_runs = {
        name: [value if number else "" for value, number in zip(filled[name], numbers, strict=True)]
        for name in ("run_id", "parent_run_id", "root_run_id")
    }
    return {**ids_of_runs, ABOUT: ["" if number else run for run, number in zip(meant, numbers, strict=True)]}


@lru_cache(maxsize=1024)
def _names(kinds: frozenset[type[Row]]) -> tuple[str, ...]:
    late = (ABOUT,) if kinds & TOO_LATE else ()
    used = {*POSITION, *late, *(column for kind in kinds for column in COLUMNS_OF[kind])}
    return tuple(name for name in COLUMNS if name in used)


def inserts(records: Sequence[Record]) -> Iterable[list[Record]]:
    """The batch cut into inserts of one month each, for an insert is atomic only within one partition of the table.
    Done in their order, each continues where the one before left off in every partition of every topic."""
    if not records:
        return []
    times = [record.row.at for record in records]
    if month(min(times)) == month(max(times)):
        return [list(records)]
    cuts: dict[tuple[int, int], list[Record]] = {}
    last: dict[tuple[str, int], tuple[int, int]] = {}
    for record in records:
        of = month(record.row.at)
        wave, before = last.get((record.topic, record.partition), (0, of))
        if of != before:
            wave += 1
        last[record.topic, record.partition] = wave, of
        cuts.setdefault((wave, of), []).append(record)
    return [cuts[cut] for cut in sorted(cuts)]


def month(at: int) -> int:
    """YYYYMM of a time in microseconds UTC, as ClickHouse's ``toYYYYMM`` has it."""
    return _month_of_day(at // MICROS_A_DAY)


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> int:
    date = utc(day * MICROS_A_DAY)
    return date.year * 100 + date.month
