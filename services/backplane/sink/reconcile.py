"""Whether the books balance: what Kafka has, what the store has, and what is derived from it, per topic-partition.

``reconcile`` asks; ``problems`` judges, as a function of values. The checks, and what a difference would mean:

- rows = different offsets: a fact is there once;
- facts of a run count on without a gap: none is missing;
- the highest offset lies before Kafka's end: the store is of this cluster;
- edges = those that the facts call for; the roll-up kept with the parts, from which the sink goes on, = the rows.

It may be asked while facts flow. Rows are counted up to where each topic-partition was when the checking began, since
all up to there is stored. Gaps are looked for in runs whose last fact is older than the time to which every topic is
complete.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from backplane.sink.edges import edges_count_sql
from backplane.store.queries import ask, query, question

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Place = tuple[str, int]
SHOWN: Final = 5
"""Runs with gaps that are named; all of them, up to a hundred, are counted."""
CLOCKS_MS: Final = 5_000
"""By how much the clocks of brokers and of this process may differ."""


class Positions(msgspec.Struct, frozen=True):
    """How far Kafka is, and the sink: the offset after the last record of each topic-partition."""

    ends: dict[Place, int]
    following: dict[Place, int]
    """Markers of transactions included, after which no record follows."""


class Position(msgspec.Struct, frozen=True):
    """How far the store is in one topic-partition."""

    topic: str
    partition: int
    rows: int
    last_offset: int
    newest_ms: int


class PartitionCheck(msgspec.Struct, frozen=True):
    """One topic-partition, up to ``last_offset``."""

    topic: str
    partition: int
    rows: int = 0
    offsets: int = 0
    """Different ones."""
    first_offset: int = -1
    last_offset: int = -1
    unreadable: int = 0
    rolled_rows: int = 0
    """As the roll-up has them."""
    edges: int = 0
    edges_due: int = 0
    kafka_end: int = -1
    """-1: Kafka was not asked."""
    behind: int = 0
    """Offsets that Kafka has and the store does not."""


class Gap(msgspec.Struct, frozen=True):
    """A run that lacks facts."""

    run_id: str
    missing: int


class ReconciliationReport(msgspec.Struct, frozen=True):
    """All accounts at one time."""

    accounts: list[PartitionCheck]
    gaps: list[Gap]
    complete_to_ms: int
    """Every topic is stored up to here, milliseconds since 1970: gaps are looked for in runs that were quiet since."""
    checked_at_ms: int
    took_ms: int

    def summary(self) -> dict[str, Any]:
        """A health page's report about them."""
        found = list(problems(self))
        return {
            "balanced": not found,
            "problems": found,
            "rows": sum(account.rows for account in self.accounts),
            "behind": sum(account.behind for account in self.accounts),
            "complete_to_ms": self.complete_to_ms,
            "checked_at_ms": self.checked_at_ms,
            "took_ms": self.took_ms,
        }


def problems(books: ReconciliationReport) -> Iterator[str]:
    """Imbalances, one sentence each; none: all balances."""
    for one in books.accounts:
        where = f"{one.topic}[{one.partition}]"
        if one.rows != one.offsets:
            yield f"{where} has {one.rows} rows for {one.offsets} offsets"
        if one.rolled_rows != one.rows:
            yield f"{where} has {one.rows} rows and is rolled up as {one.rolled_rows}"
        if one.edges != one.edges_due:
            yield f"{where} has {one.edges} edges, its facts call for {one.edges_due}"
        if -1 < one.kafka_end <= one.last_offset:
            yield f"{where} is stored up to offset {one.last_offset}, but ends at {one.kafka_end} in Kafka"
    if books.gaps:
        named = ", ".join(f"{gap.run_id} lacks {gap.missing}" for gap in books.gaps[:SHOWN])
        yield f"{len(books.gaps)} runs lack facts: {named}{' …' if len(books.gaps) > SHOWN else ''}"


def reconcile(client: Client, kafka: Positions | None) -> ReconciliationReport:
    """Asks the store; ``kafka``: as it was just before, None when it does not answer. Raises as ``queries.ask``."""
    began = time.time_ns() // 1_000_000
    stored = {(one.topic, one.partition): one for one in ask(client, "positions", Position)}
    bounds = {
        "places": [f"{topic}/{partition}" for topic, partition in stored],
        "bounds": [one.last_offset for one in stored.values()],
    }
    counted = _by_place(query(client, question("reconcile").replace("{edges_count}", edges_count_sql()), bounds))
    edges = _by_place(query(client, question("edges"), bounds))
    complete = complete_to(stored, kafka, began)
    gaps = ask(client, "gaps", Gap, before=complete - CLOCKS_MS)
    accounts = [
        _account(place, stored.get(place), {**counted.get(place, {}), **edges.get(place, {})}, kafka)
        for place in sorted({*stored, *(kafka.ends if kafka else ())})
    ]
    return ReconciliationReport(accounts, gaps, complete, began, time.time_ns() // 1_000_000 - began)


def complete_to(stored: Mapping[Place, Position], kafka: Positions | None, now_ms: int) -> int:
    """Until when all that was appended to Kafka is in the store, topics in which nothing came included."""
    if kafka is None or not kafka.ends:
        return 0
    late = [place for place, end in kafka.ends.items() if end > kafka.following.get(place, 0)]
    return min((stored[place].newest_ms if place in stored else 0 for place in late), default=now_ms)


def _by_place(result: Any) -> dict[Place, dict[str, int]]:
    rows = [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
    return {(row.pop("topic"), row.pop("partition")): row for row in rows}


def _account(
    place: Place, stored: Position | None, found: Mapping[str, Any], kafka: Positions | None
) -> PartitionCheck:
    end = kafka.ends.get(place, -1) if kafka else -1
    topic, partition = place
    return PartitionCheck(
        topic=topic,
        partition=partition,
        rolled_rows=stored.rows if stored else 0,
        last_offset=stored.last_offset if stored else -1,
        kafka_end=end,
        behind=max(0, end - kafka.following.get(place, 0)) if kafka else 0,
        **found,
    )
