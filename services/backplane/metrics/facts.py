"""Metrics that are a fold over facts: calls, attempts, cost, refusals, dead letters. Nobody instruments anything.

Counted by the worker that decided the facts, once a batch: label look-ups cost a microsecond each, so equal ones are
added up first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

from agents_sdk.core import kinds
from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact, MessageEvent, RefusalEvent
from backplane.metrics import catalogue
from backplane.metrics.catalogue import Metric
from backplane.metrics.exposition import Metrics

Tally: TypeAlias = Counter[tuple[Metric, tuple[str, ...]]]

HANDLER_ENDS: Final = {kinds.HANDLER_COMPLETED: "completed", kinds.HANDLER_FAILED: "failed"}
CALL_ENDS: Final = {kinds.CALL_COMPLETED: "completed", kinds.CALL_FAILED: "failed", kinds.CALL_CANCELLED: "cancelled"}
NANO: Final = 1_000_000_000


def tally(facts: Iterable[Fact]) -> Tally:
    """How much each counter grows by these facts; cost in nano-USD. Pure."""
    counted: Tally = Counter()
    for fact in facts:
        counted[catalogue.FACTS, (fact.kind,)] += 1
        if isinstance(fact, AttemptEvent):
            _attempt(fact, counted)
        elif isinstance(fact, CallEvent) and fact.kind in CALL_ENDS:
            outcome = "degraded" if fact.degraded else CALL_ENDS[fact.kind]
            counted[catalogue.CALLS, (fact.capability, outcome)] += 1
        elif isinstance(fact, MessageEvent):
            _message(fact, counted)
        elif isinstance(fact, RefusalEvent):
            counted[catalogue.REFUSALS, (fact.code,)] += 1
        elif fact.kind in kinds.RUN_ENDS:
            counted[catalogue.RUNS_ENDED, (kinds.RUN_ENDS[fact.kind],)] += 1
    return counted


def _attempt(fact: AttemptEvent, counted: Tally) -> None:
    if fact.kind == kinds.ATTEMPT_STARTED:
        return
    who = (fact.capability, fact.provider)
    counted[catalogue.ATTEMPTS, (*who, fact.error_class)] += 1
    counted[catalogue.COST, who] += fact.cost_nano_usd
    if not fact.price_id:
        counted[catalogue.UNPRICED, who] += 1
    for kind, tokens in (
        ("input", fact.input_tokens),
        ("output", fact.output_tokens),
        ("cached", fact.cached_tokens),
        ("cache_write", fact.cache_write_tokens),
        ("reasoning", fact.reasoning_tokens),
        ("input_audio", fact.input_audio_tokens),
        ("output_audio", fact.output_audio_tokens),
    ):
        if tokens:
            counted[catalogue.TOKENS, (fact.provider, fact.model, kind)] += tokens


def _message(fact: MessageEvent, counted: Tally) -> None:
    if fact.kind in HANDLER_ENDS:
        counted[catalogue.HANDLERS, (fact.recipient or fact.agent, HANDLER_ENDS[fact.kind])] += 1
    elif fact.kind == kinds.MESSAGE_DEAD_LETTERED:
        counted[catalogue.DEAD_LETTERS, (fact.cause,)] += 1
    elif fact.kind == kinds.ESCALATION_RAISED:
        counted[catalogue.ESCALATIONS, (fact.recipient or "operator",)] += 1


def count_facts(metrics: Metrics, facts: list[Fact]) -> None:
    """Takes a decided batch into the metrics."""
    for (row, values), by in tally(facts).items():
        amount = by / NANO if row is catalogue.COST else by
        metrics.count(row, amount, **dict(zip(row.labels, values, strict=True)))
    for fact in facts:
        if isinstance(fact, CallEvent) and fact.latency_us and fact.kind in CALL_ENDS:
            metrics.observe(catalogue.CALL_SECONDS, fact.latency_us / 1e6, capability=fact.capability)
