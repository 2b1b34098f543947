"""The store's answers, typed: one class and one function a question. Money: nano-USD; times: microseconds UTC."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from agents_sdk.errors import UnknownRun
from backplane.store.queries import ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

By = Literal["agent", "capability", "provider", "model", "run", "day", "key"]
LATEST: Final = ("last", "latest")
MAX_EVENTS: Final = 100_000
"""Of one run that are taken into memory; 50 MB."""
MAX_RUNS: Final = 100_000
"""Of one tree that are taken into memory."""
RECENT_RUNS: Final = 500
"""Where no run is named, unread drafts are looked for in so many runs. In all of ten million facts it took more than
ten seconds of processor."""
POLL_S: Final = 0.1


class Cost(msgspec.Struct, frozen=True):
    """Figures of one agent, capability, model … cost, over its attempts."""

    name: str
    calls: int
    attempts: int
    failed: int
    retries: int
    """Attempts that were not a call's first."""
    degraded: int
    """Calls that ended with a substitute."""
    unpriced: int
    """Attempts without a price: not free, unknown."""
    cost_nano_usd: int
    wasted_nano_usd: int
    """Of failed attempts."""
    input_tokens: int
    output_tokens: int
    latency_us: int


class DiscardedCall(msgspec.Struct, frozen=True):
    """A call that served nothing: its result went into drafts alone that were replaced before anything read them. The
    view ``v_discarded`` says exactly which those are."""

    run_id: str
    call_id: str
    agent: str
    capability: str
    cost_nano_usd: int
    """Of the attempt that succeeded; what failed before it is in ``Cost.wasted_nano_usd``."""


class BudgetUsage(msgspec.Struct, frozen=True):
    """The budget and spending of a run, or of an agent in it."""

    agent: str
    """Empty: all of the run."""
    limit_nano_usd: int
    """-1: none."""
    spent_nano_usd: int
    """With child runs that ended."""
    reserved_nano_usd: int
    """For calls and child runs that are open."""

    @property
    def left_nano_usd(self) -> int:
        """Of the limit."""
        return self.limit_nano_usd - self.spent_nano_usd - self.reserved_nano_usd


class RunRow(msgspec.Struct, frozen=True):
    """A run in one line."""

    run_id: str
    workflow: str
    status: str
    started_at: int
    last_at: int
    facts: int
    last_seq: int
    agents: int
    """Those that a message was delivered to; who only started the run is none."""
    calls: int
    failures: int
    cost_nano_usd: int
    unpriced: int
    reason: str
    """Why it failed or was cancelled, in the platform's own words."""
    parent_run_id: str
    root_run_id: str
    children: int
    """Child runs it started itself."""
    ended_seq: int = 0
    """run_seq of the fact that ended it; 0: it goes on."""
    resumed_from: str = ""
    """The ended run that it goes on from."""
    tags: list[str] = []
    """Words by which people find it again."""
    code: str = ""
    """A stable word for the reason."""
    said: str = ""
    """The words of somebody else about why it ended."""
    said_by: str = ""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A fact in a run's timeline; fields as in ``schemas/clickhouse``, long texts cut. It holds nothing that could hold
    it: the garbage collector need not look at ten thousands of them."""

    run_seq: int
    at: int
    kind: str
    agent: str
    event_id: str
    causation_id: str = ""
    run_id: str = ""
    parent_run_id: str = ""
    topic: str = ""
    partition: int = 0
    offset: int = 0
    key: str = ""
    version: int = 0
    size: int = 0
    name: str = ""
    sender: str = ""
    recipient: str = ""
    delivery_id: str = ""
    message_id: str = ""
    request_id: str = ""
    call_id: str = ""
    capability: str = ""
    provider: str = ""
    model: str = ""
    prompt_version: str = ""
    attempt: int = 0
    attempts: int = 0
    latency_us: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    price_id: str = ""
    degraded: bool = False
    error_class: str = ""
    error_code: str = ""
    error_type: str = ""
    error_message: str = ""
    action: str = ""
    rationale: str = ""
    context_used: list[str] = []
    downstream: str = ""
    depends_on: list[str] = []
    satisfied_by: list[str] = []
    command_kind: str = ""
    code: str = ""
    message: str = ""
    workflow: str = ""
    reason: str = ""
    said: str = ""
    """The words of somebody else; ``error_message`` of a message or an attempt is in the words of others too."""
    said_by: str = ""
    state_hash: str = ""
    recipients: int = 0
    child_run_id: str = ""
    status: str = ""
    body: str = ""
    command_id: str = ""
    """Facts of one command have one cause in common."""
    cause: str = ""
    """By this a dead letter or an escalation is grouped."""
    artifacts: list[str] = []
    """SHA-256 of each file that a call was given, or its result names."""
    traceback: str = ""
    """Where a handler failed."""
    resumed_from: str = ""
    """The ended run that this one goes on from."""
    not_before: int = 0
    """When an attempt is to be made, microseconds UTC; 0: at once."""


class Progress(msgspec.Struct, frozen=True):
    """How much of a run is in the store."""

    facts: int
    last_seq: int
    ended: int

    @property
    def whole(self) -> bool:
        """Every fact up to the highest number is there."""
        return self.facts > 0 and self.facts == self.last_seq


class RunId(msgspec.Struct, frozen=True):
    """A run's id."""

    run_id: str


class CallReport(msgspec.Struct, frozen=True):
    """The report of a call's outcome."""

    event_id: str
    report: str


def costs(client: Client, by: By, run: str = "", *, tree: bool = False) -> list[Cost]:
    """Cost of a run, with ``tree`` also of all runs below it, or of all with an empty ``run``. The sum is the same for
    every grouping."""
    chosen = _chosen(client, run, tree)
    if by == "key":
        return ask(client, "cost_by_key", Cost, runs=chosen)
    return ask(client, "cost", Cost, by=by, runs=chosen)


def discarded(client: Client, run: str = "", *, tree: bool = False) -> list[DiscardedCall]:
    """The calls that served nothing, of the runs that ``costs`` would be about; the dearest first. With an empty
    ``run`` those of the newest ``RECENT_RUNS``."""
    chosen = _chosen(client, run, tree) or [each.run_id for each in runs(client, RECENT_RUNS)]
    return ask(client, "discarded", DiscardedCall, runs=chosen) if chosen else []


def _chosen(client: Client, run: str, tree: bool) -> list[str]:
    return family(client, run) if tree else [run] if run else []


def budgets(client: Client, run: str) -> list[BudgetUsage]:
    """The budgets that hold in a run: its own, then its agents'."""
    return [purse for purse in ask(client, "budgets", BudgetUsage, run=run) if purse.limit_nano_usd >= 0]


def family(client: Client, run: str) -> list[str]:
    """The run and all runs below it, parents before their children."""
    (about,) = runs(client, 1, run)
    below: dict[str, list[str]] = {}
    for row in reversed(runs(client, MAX_RUNS, root=about.root_run_id)):
        below.setdefault(row.parent_run_id, []).append(row.run_id)
    found = [run]
    for one in found:
        found += below.get(one, ())
    return found


def by_parent(rows: Sequence[RunRow]) -> list[tuple[int, RunRow]]:
    """The rows with their depth below another one, children after their parents and the oldest first; otherwise in the
    order given."""
    known = {row.run_id for row in rows}
    below: dict[str, list[RunRow]] = {}
    for row in reversed(rows):
        below.setdefault(row.parent_run_id, []).append(row)
    found: list[tuple[int, RunRow]] = []
    waiting = [(0, row) for row in reversed(rows) if row.parent_run_id not in known]
    while waiting:
        depth, row = waiting.pop()
        found.append((depth, row))
        waiting += [(depth + 1, child) for child in reversed(below.get(row.run_id, []))]
    return found


def runs(
    client: Client,
    limit: int = 20,
    run: str = "",
    root: str = "",
    *,
    workflow: str = "",
    status: str = "",
    before: int = 0,
    roots: bool = False,
    tag: str = "",
) -> list[RunRow]:
    """The newest runs first, the one asked for, or those of the tree under ``root``. The filters: a workflow, an end
    (or ``running``), a beginning before a time in microseconds, a tag; ``roots``: no child runs."""
    asked = {
        "run": run,
        "root": root,
        "workflow": workflow,
        "status": status,
        "before": before,
        "roots": int(roots),
        "tag": tag,
    }
    return ask(client, "runs", RunRow, limit=limit, **asked)


def timeline(client: Client, run: str, after: int = 0, limit: int = MAX_EVENTS) -> list[Event]:
    """A run's facts in its order, those after ``run_seq`` ``after``."""
    return ask(client, "timeline", Event, run=run, after=after, limit=limit)


def reports(client: Client, runs_asked: Sequence[str]) -> dict[str, str]:
    """The executor's reports on calls in these runs that met trouble: fact → JSON."""
    return {one.event_id: one.report for one in ask(client, "reports", CallReport, runs=list(runs_asked))}


class Archive:
    """All runs and memories, as ``backplane.insight.lineage`` asks for them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def events(self, run_id: str) -> list[Event]:
        """A run's facts in its order."""
        return timeline(self._client, run_id)

    def memory_reads(self, run_id: str) -> list[Event]:
        """The reads of a run's handlers from memories, in the order of time."""
        return ask(self._client, "memory_reads", Event, run=run_id)

    def writer(self, run_id: str, key: str, version: int) -> Event | None:
        """The fact that made a version of a key."""
        return next(iter(ask(self._client, "writer", Event, run=run_id, key=key, version=version)), None)

    def run_of(self, event_id: str) -> str:
        """The run in which a fact happened; empty for a fact that is not in the store."""
        return next((row.run_id for row in ask(self._client, "run_of", RunId, event=event_id)), "")


def progress(client: Client, run: str) -> Progress:
    """How much of the run is in the store."""
    return ask(client, "progress", Progress, run=run)[0]


def runs_like(client: Client, prefix: str) -> list[str]:
    """The newest runs whose ids begin so, three at most."""
    return [row.run_id for row in ask(client, "runs_like", RunId, prefix=prefix)]


def find_run(client: Client, text: str) -> str:
    """The id of the run that ``text`` names: a whole id, its first characters, or ``last``.

    ``last`` is the newest run that a person or program started, not a child run.

    Raises:
        UnknownRun: none is in the store, or several begin so.
    """
    found = [row.run_id for row in runs(client, 1, roots=True)] if text in LATEST else runs_like(client, text)
    if len(found) > 1 and text not in found:
        raise UnknownRun(
            f"several runs begin with {text!r}: {', '.join(found)} …", hint="give more characters", run=text
        )
    if not found:
        raise UnknownRun(f"no run {text!r} is in the store", hint="`backplane runs` lists those there are", run=text)
    return text if text in found else found[0]


def wait_for(client: Client, run: str, behind: Callable[[], int | None], timeout_s: float) -> Progress:
    """Waits until the store has all facts of an ended run. For an open run it waits for those that Kafka had at the
    call; at most ``timeout_s``. ``behind`` says how many facts the store lacks, None where nobody knows."""
    deadline = time.monotonic() + timeout_s
    while True:
        lacking = behind()
        seen = progress(client, run)
        if seen.whole and (seen.ended or lacking == 0):
            return seen
        if lacking == 0 or time.monotonic() >= deadline:
            return seen
        time.sleep(POLL_S)
