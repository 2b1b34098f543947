"""Every metric of the platform, once: its name, labels, unit and meaning, and which processes tell it.

The dashboard and the alert rules in ``infra/`` are held against this by a test, and so is what a running process
exposes. Names follow Prometheus's rules (base units, ``_total`` for counters) and, for the lag of consumer groups, the
name that kafka_exporter made the standard. Labels are of low cardinality: never a run, a key, an event or a message id.

Sources: https://prometheus.io/docs/practices/naming, https://github.com/danielqsj/kafka_exporter#metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Process: TypeAlias = Literal["ledger", "executor", "sink", "console"]

FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds; around what a batch, a transaction or an insert takes."""
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds; around what providers take."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the catalogue."""

    name: str
    kind: Kind
    help: str
    processes: tuple[Process, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """Names under which queries find it."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


GROUPS: Final[tuple[Process, ...]] = ("ledger", "executor", "sink")
"""Those that are consumer groups."""

UP: Final = Metric(
    "backplane_ready",
    "gauge",
    "1 while the process does its work, 0 while it starts, waits or is paused.",
    (*GROUPS, "console"),
)
LAG: Final = Metric(
    "kafka_consumergroup_lag",
    "gauge",
    "Records that the consumer group has not dealt with yet.",
    GROUPS,
    ("consumergroup", "topic", "partition"),
)

COMMANDS: Final = Metric("backplane_commands_total", "counter", "Commands decided by this worker.", ("ledger",))
FACTS: Final = Metric("backplane_facts_total", "counter", "Facts decided, by kind.", ("ledger",), ("kind",))
REFUSALS: Final = Metric(
    "backplane_refusals_total", "counter", "Commands refused, by the reason's code.", ("ledger",), ("code",)
)
DECIDE: Final = Metric(
    "backplane_decide_seconds", "histogram", "Time to decide one batch of commands.", ("ledger",), buckets=FAST
)
COMMIT: Final = Metric(
    "backplane_commit_seconds", "histogram", "Time of one transaction of facts.", ("ledger",), buckets=FAST
)
PUT_ASIDE: Final = Metric(
    "backplane_partitions_put_aside",
    "gauge",
    "Partitions that stand still before a record at which workers died; `backplane status` says which.",
    ("ledger",),
)
NOTICES: Final = Metric(
    "backplane_notices_total",
    "counter",
    "What an operator has to see to: records passed over, topics that took none, calls that end processes.",
    ("ledger", "executor"),
)
OPEN_RUNS: Final = Metric("backplane_open_runs", "gauge", "Runs that have begun and not ended.", ("ledger",))
RUNS_ENDED: Final = Metric(
    "backplane_runs_ended_total",
    "counter",
    "Runs that ended: completed, failed or cancelled.",
    ("ledger",),
    ("status",),
)
HANDLERS: Final = Metric(
    "backplane_handlers_total",
    "counter",
    "Handlers that ended, by agent and outcome (completed, failed).",
    ("ledger",),
    ("agent", "outcome"),
)
DEAD_LETTERS: Final = Metric(
    "backplane_dead_letters_total", "counter", "Messages that could not be handled, by cause.", ("ledger",), ("cause",)
)
ESCALATIONS: Final = Metric(
    "backplane_escalations_total",
    "counter",
    "Escalations to a supervisor or the operator.",
    ("ledger",),
    ("recipient",),
)
CALLS: Final = Metric(
    "backplane_calls_total",
    "counter",
    "Capability calls that ended: completed, degraded, failed or cancelled.",
    ("ledger",),
    ("capability", "outcome"),
)
CALL_SECONDS: Final = Metric(
    "backplane_call_seconds",
    "histogram",
    "Time of a capability call in the executor, over all its attempts.",
    ("ledger",),
    ("capability",),
    SLOW,
)
ATTEMPTS: Final = Metric(
    "backplane_attempts_total",
    "counter",
    "Attempts at providers; error_class is empty where one succeeded.",
    ("ledger",),
    ("capability", "provider", "error_class"),
)
TOKENS: Final = Metric(
    "backplane_tokens_total",
    "counter",
    "Tokens that models read (input) and wrote (output); parts of them are counted besides: cached, cache_write and "
    "input_audio of what was read, reasoning and output_audio of what was written.",
    ("ledger",),
    ("provider", "model", "type"),
)
COST: Final = Metric(
    "backplane_cost_usd_total",
    "counter",
    "What attempts cost, US dollars; counted on attempts alone, so it sums up.",
    ("ledger",),
    ("capability", "provider"),
)
UNPRICED: Final = Metric(
    "backplane_unpriced_attempts_total",
    "counter",
    "Attempts without a price, or whose use their provider did not tell: their cost is unknown, which is not zero.",
    ("ledger",),
    ("capability", "provider"),
)

IN_FLIGHT: Final = Metric(
    "backplane_calls_in_flight", "gauge", "Capability calls this executor is working on.", ("executor",)
)

ROWS: Final = Metric("backplane_sink_rows_total", "counter", "Facts stored in ClickHouse.", ("sink",))
SINK_DEAD: Final = Metric(
    "backplane_sink_dead_letters_total",
    "counter",
    "Records that are no facts, put into a dead-letter topic.",
    ("sink",),
)
SINK_LOST: Final = Metric(
    "backplane_sink_lost_total", "counter", "Facts deleted from Kafka before they were stored.", ("sink",)
)

PAGES: Final = Metric(
    "backplane_console_requests_total",
    "counter",
    "Requests answered, by the page's pattern and HTTP status; those that were not let in have no page.",
    ("console",),
    ("page", "status"),
)
PAGE_SECONDS: Final = Metric(
    "backplane_console_request_seconds",
    "histogram",
    "Time from a request to the beginning of its answer.",
    ("console",),
    ("page",),
    SLOW,
)
STREAMS: Final = Metric("backplane_console_streams", "gauge", "Live streams that browsers have open.", ("console",))

CATALOGUE: Final = (
    *(UP, LAG),
    *(
        COMMANDS,
        FACTS,
        REFUSALS,
        DECIDE,
        COMMIT,
        PUT_ASIDE,
        NOTICES,
        OPEN_RUNS,
        RUNS_ENDED,
        HANDLERS,
        DEAD_LETTERS,
        ESCALATIONS,
    ),
    *(CALLS, CALL_SECONDS, ATTEMPTS, TOKENS, COST, UNPRICED),
    *(IN_FLIGHT,),
    *(ROWS, SINK_DEAD, SINK_LOST),
    *(PAGES, PAGE_SECONDS, STREAMS),
)
"""All of them, in the order they are exposed."""
