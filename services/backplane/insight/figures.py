"""The store's answers about more than one run, or about a part of one: one class and one function a question, as in
``backplane.insight.answers``. Money: nano-USD; times: microseconds UTC, ``since`` as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from backplane.sink.reconcile import Position
from backplane.store.queries import ask, query

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Pulse(msgspec.Struct, frozen=True):
    """Everything since a moment, in figures."""

    runs_started: int
    runs_completed: int
    runs_failed: int
    attempts: int
    attempts_failed: int
    calls_failed: int
    refused: int
    unpriced: int
    cost_nano_usd: int
    facts: int


class Count(msgspec.Struct, frozen=True):
    """One number."""

    count: int


class Spend(msgspec.Struct, frozen=True):
    """One step of time; ``at`` is its beginning, in seconds."""

    at: int
    cost_nano_usd: int
    attempts: int
    failed: int


class Failure(msgspec.Struct, frozen=True):
    """Something that went wrong."""

    at: int
    run_id: str
    run_seq: int
    kind: str
    agent: str
    about: str
    provider: str
    error: str
    message: str
    """In the platform's own words."""
    said: str
    """The words of somebody else: of the one that failed, or said why."""
    said_by: str
    topic: str
    partition: int
    offset: int


class TextMatch(msgspec.Struct, frozen=True):
    """A fact that holds a text, with the words around it."""

    at: int
    run_id: str
    run_seq: int
    kind: str
    agent: str
    key: str
    version: int
    name: str
    capability: str
    topic: str
    partition: int
    offset: int
    excerpt: str


class Key(msgspec.Struct, frozen=True):
    """A state key of a run or a memory."""

    run_id: str
    key: str
    versions: int
    version: int
    deleted: bool
    agent: str
    size: int
    reads: int
    at: int


class Version(msgspec.Struct, frozen=True):
    """One version of a key."""

    version: int
    agent: str
    at: int
    kind: str
    size: int
    value_hash: str
    event_id: str
    run_seq: int
    topic: str
    partition: int
    offset: int
    value: str

    @property
    def emptied(self) -> bool:
        """It had a value, which is not kept any more."""
        return self.size > 0 and not self.value


class Reader(msgspec.Struct, frozen=True):
    """A reader of a key; version 0: it had no value."""

    version: int
    agent: str
    at: int
    event_id: str
    run_seq: int


class AgentRow(msgspec.Struct, frozen=True):
    """An agent in one line."""

    agent: str
    deliveries: int
    failed: int
    dead: int
    decisions: int
    writes: int
    calls: int
    refused: int
    runs: int
    last_at: int
    cost_nano_usd: int


class Registration(msgspec.Struct, frozen=True):
    """The agent's last declaration."""

    name: str
    subscriptions: list[str]
    workflows: list[str]
    reads: list[str]
    writes: list[str]
    capabilities: list[str]
    publishes: list[str]
    max_deliveries: int
    supervisor: str
    handler_timeout_ms: int
    at: int


class ProviderRow(msgspec.Struct, frozen=True):
    """How one provider of a capability does."""

    capability: str
    provider: str
    calls: int
    attempts: int
    failed: int
    errors: list[str]
    """The most frequent class of error, if any."""
    p50_us: int
    p95_us: int
    unpriced: int
    cost_nano_usd: int
    last_at: int


class Outcomes(msgspec.Struct, frozen=True):
    """How the calls of a capability ended."""

    capability: str
    calls: int
    completed: int
    degraded: int
    failed: int
    helped: int
    """Completed after more than one attempt."""
    p50_us: int
    p95_us: int


class Allowance(msgspec.Struct, frozen=True):
    """The limit that an agent declared last; -1: none."""

    agent: str
    budget_nano_usd: int
    """In one run."""
    capabilities: list[str]
    """Globs of those it may call."""
    call_budgets: dict[str, int]
    """Glob of capabilities → what one call may cost."""


class Delivery(msgspec.Struct, frozen=True):
    """A message in an agent's inbox; ``settled_at`` 0: it is open."""

    delivery_id: str
    message_id: str
    name: str
    sender: str
    recipient: str
    status: str
    deliveries: int
    delivered_at: int
    settled_at: int
    error_message: str
    data: str
    traceback: str = ""
    """Where the handler failed last."""
    reason: str = ""
    """Why it failed or was cancelled, in the platform's own words; ``error_message`` is in those of ``said_by``."""
    said: str = ""
    """The words of somebody else about why it was cancelled."""
    said_by: str = ""


class Output(msgspec.Struct, frozen=True):
    """A value or result that may name a file."""

    run_seq: int
    at: int
    kind: str
    agent: str
    key: str
    version: int
    capability: str
    provider: str
    call_id: str
    text: str


class Relation(msgspec.Struct, frozen=True):
    """A table or view, and what it is for."""

    name: str
    engine: str
    comment: str


def positions(client: Client) -> list[Position]:
    """How far the store is."""
    return ask(client, "positions", Position)


class StoppedPartition(msgspec.Struct, frozen=True):
    """A partition that stands still."""

    partition: int
    record: int
    """Offset of the record before which it stands."""
    since_us: int
    message: str


def aside(client: Client) -> list[StoppedPartition]:
    """Partitions that were put aside and not brought back. Raises QueryRefused, Unreachable."""
    return ask(client, "aside", StoppedPartition)


def pulse(client: Client, since: int) -> Pulse:
    """The figures since then."""
    return ask(client, "pulse", Pulse, since=since)[0]


def live_runs(client: Client) -> int:
    """Runs that have not ended."""
    return ask(client, "live_runs", Count)[0].count


def spend(client: Client, since: int, step_s: int) -> list[Spend]:
    """Spending step by step; steps without an attempt are left out."""
    return ask(client, "spend", Spend, since=since, step=step_s)


def failures(client: Client, limit: int = 20) -> list[Failure]:
    """The last failures, the newest first."""
    return ask(client, "failures", Failure, limit=limit)


def found(client: Client, text: str, run: str = "", limit: int = 50) -> list[TextMatch]:
    """Facts that hold the text, the newest first; upper and lower case are alike."""
    return ask(client, "found", TextMatch, text=text, run=run, limit=limit)


def keys(client: Client, run: str = "", text: str = "", limit: int = 500) -> list[Key]:
    """State keys that were written, of a run or of all, those written last first."""
    return ask(client, "keys", Key, run=run, text=text, limit=limit)


def versions(client: Client, run: str, key: str, limit: int = 200) -> list[Version]:
    """The versions of a key, the newest first."""
    return ask(client, "versions", Version, run=run, key=key, limit=limit)


def readers(client: Client, run: str, key: str, limit: int = 500) -> list[Reader]:
    """Every read of a key, in the order of the run."""
    return ask(client, "readers", Reader, run=run, key=key, limit=limit)


def agents(client: Client) -> list[AgentRow]:
    """All agents that registered or did something, those seen last first."""
    return ask(client, "agents", AgentRow)


def registration(client: Client, agent: str) -> Registration | None:
    """The agent's last declaration; None: it never registered."""
    return next(iter(ask(client, "registration", Registration, agent=agent)), None)


def providers(client: Client, since: int) -> list[ProviderRow]:
    """How each provider did."""
    return ask(client, "capabilities", ProviderRow, since=since)


def outcomes(client: Client, since: int) -> list[Outcomes]:
    """How the calls of each capability ended."""
    return ask(client, "outcomes", Outcomes, since=since)


def allowances(client: Client) -> list[Allowance]:
    """The budget of each agent."""
    return ask(client, "allowances", Allowance)


def deliveries(client: Client, run: str, limit: int = 5_000) -> list[Delivery]:
    """The messages delivered in a run, in their order."""
    return ask(client, "deliveries", Delivery, run=run, limit=limit)


def outputs(client: Client, run: str, limit: int = 500) -> list[Output]:
    """Values and results of a run that may name files, in its order."""
    return ask(client, "outputs", Output, run=run, limit=limit)


class Ends(msgspec.Struct, frozen=True):
    """Input and result of a run, JSON; empty where it has none, or its bodies are not kept any more."""

    input: str = ""
    result: str = ""


def ends(client: Client, run: str) -> Ends:
    """How a run began and ended."""
    sql = """SELECT anyIf(input, kind = 'RunStarted'), anyIf(result, kind = 'RunCompleted') FROM events
        WHERE run_id = {run:String} AND kind IN ('RunStarted', 'RunCompleted')"""
    rows = query(client, sql, {"run": run}).result_rows
    return Ends(*map(str, rows[0])) if rows else Ends()


def has_artifact(client: Client, sha256: str) -> bool:
    """Whether a run that the client sees made this file or was given it. To have asked for it is not to have it."""
    kept = "kind = 'StateWritten' AND key = concat('artifacts/', {sha256:String})"
    where = f"has(artifacts, {{sha256:String}}) OR ({kept})"
    answer = query(client, f"SELECT 1 FROM events WHERE {where} LIMIT 1", {"sha256": sha256})  # noqa: S608 -- bound
    return bool(answer.result_rows)


def relations(client: Client) -> list[Relation]:
    """Tables and views for SQL, views first."""
    return ask(client, "relations", Relation)


def record(client: Client, topic: str, partition: int, offset: int) -> dict[str, Any] | None:
    """All columns of one fact that say something; None: it is not in the store."""
    where = "topic = {topic:String} AND partition = {partition:Int32} AND offset = {offset:Int64}"
    parameters = {"topic": topic, "partition": partition, "offset": offset}
    answer = query(client, f"SELECT * FROM events WHERE {where} LIMIT 1", parameters)  # noqa: S608 -- parameters bound
    for row in answer.result_rows:
        return {name: value for name, value in zip(answer.column_names, row, strict=True) if value not in ("", 0, [])}
    return None


class Decision(msgspec.Struct, frozen=True):
    """A decision of an agent, and its reason."""

    at: int
    run_id: str
    run_seq: int
    action: str
    rationale: str
    context_used: list[str]


def decisions(client: Client, agent: str, limit: int = 30) -> list[Decision]:
    """The last decisions of an agent, the newest first."""
    return ask(client, "decisions", Decision, agent=agent, limit=limit)
