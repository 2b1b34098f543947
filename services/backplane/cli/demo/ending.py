"""The remains of a finished run: read from Kafka and from the store, and compared. Nothing is printed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.facts import AttemptEvent, Fact
from agents_sdk.core.replay import Verdict
from agents_sdk.history import read_run
from backplane.cli.demo import path
from backplane.insight.answers import Event, RunRow, runs, timeline
from backplane.replay.recorded import replay_run
from backplane.store.queries import connect_store, query

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

STORE_S: Final = 30.0
"""For the store to have all facts of the run; 2 s, unless the machine is very busy."""
LOOK_S: Final = 0.05


class Bill(msgspec.Struct, frozen=True):
    """The payments of one agent to one provider."""

    agent: str
    capability: str
    provider: str
    calls: int
    attempts: int
    failed: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    latency_us: int
    cost_nano_usd: int


class Ending(msgspec.Struct, frozen=True):
    """All that the demo shows at its end."""

    run: RunRow
    page: dict[str, Any]
    """The state ``page``; empty where the run published none."""
    draft: dict[str, Any]
    """The draft that was published."""
    drafts: int
    facts: int
    """In Kafka."""
    rows: int
    """In the store; as many, or something is wrong."""
    events: list[Event]
    bills: list[Bill]
    attempts_cost: int
    """Sum over the attempts in Kafka; the same as the bills, or something is wrong."""
    fallbacks: int
    path: path.Path | None
    broken: str
    """Where the lineage has a gap."""
    verdict: Verdict

    @property
    def cost(self) -> int:
        """Nano-USD, from the store."""
        return sum(bill.cost_nano_usd for bill in self.bills)

    @property
    def doubts(self) -> list[str]:
        """Contradictions; nothing, if all is well."""
        found = []
        if self.rows != self.facts:
            found.append(f"the store has {self.rows} rows for {self.facts} facts")
        if self.cost != self.attempts_cost:
            found.append(f"the bills add up to {self.cost} nano-USD, the attempts to {self.attempts_cost}")
        if self.broken and self.run.status == "completed":
            found.append(f"the lineage has a gap: {self.broken}")
        if not self.verdict.identical:
            found.append("the replay differs")
        return found


def read_ending(settings: Settings, codec: Codec, run_id: str, wait: Callable[[], None]) -> Ending:
    """Reads it all. ``wait`` is called while the store lags, and may raise.

    Raises:
        Unreachable: Kafka or the store does not answer.
    """
    # what was refused before its sender was known, or came too late, is about the run and not in its record
    facts = [fact for fact in read_run(settings, codec, run_id, until_ended_s=10.0, whole=True) if fact.run_seq]
    verdict = replay_run(settings, codec, run_id)
    client = connect_store(settings)
    rows = _settled(client, run_id, len(facts), wait)
    events = timeline(client, run_id)
    values = {(key, version): msgspec.json.decode(value) for key, version, value in _rows(client, "values", run_id)}
    found = {call: (asked, ids) for call, asked, ids in _rows(client, "searches", run_id)}
    broken, way = "", None
    try:
        way = path.trace(events, path.Record(values, found))
    except path.Untraceable as gap:
        broken = str(gap)
    page: dict[str, Any] = values.get(("page", 1), {})
    return Ending(
        run=runs(client, 1, run_id)[0],
        page=page,
        draft=values.get(("draft", page.get("draft_version", 0)), {}),
        drafts=sum(key == "draft" for key, _ in values),
        facts=len(facts),
        rows=rows,
        events=events,
        bills=[Bill(*row) for row in _rows(client, "bill", run_id)],
        attempts_cost=sum(fact.cost_nano_usd for fact in facts if isinstance(fact, AttemptEvent)),
        fallbacks=fallbacks(facts),
        path=way,
        broken=broken,
        verdict=verdict,
    )


def fallbacks(facts: Sequence[Fact]) -> int:
    """Calls that were completed by another provider than the one asked first."""
    first: dict[str, str] = {}
    for fact in sorted(facts, key=lambda fact: fact.run_seq):
        if isinstance(fact, AttemptEvent):
            first.setdefault(fact.call_id, fact.provider)
    return sum(
        fact.kind == kinds.CALL_COMPLETED and getattr(fact, "provider", "") != first.get(getattr(fact, "call_id", ""))
        for fact in facts
    )


def _settled(client: Client, run_id: str, facts: int, wait: Callable[[], None]) -> int:
    """The run's rows, once they are as many as its facts, or after a while."""
    deadline = time.monotonic() + STORE_S
    while True:
        rows = int(_rows(client, "rows", run_id)[0][0])
        if rows >= facts or time.monotonic() > deadline:
            return rows
        wait()
        time.sleep(LOOK_S)


def _rows(client: Client, name: str, run_id: str) -> Sequence[Sequence[Any]]:
    sql = (File(__file__).parent / "sql" / f"{name}.sql").read_text()
    rows: Sequence[Sequence[Any]] = query(client, sql, {"run": run_id}).result_rows
    return rows
