"""Metrics as a fold over facts, against a count made the naive way; and what a process exposes of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact, MessageEvent, RefusalEvent, RunEvent
from backplane.metrics import catalogue
from backplane.metrics.exposition import Metrics
from backplane.metrics.facts import count_facts, tally

NAMES = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 10**10)


def fact(record: type[Any], kind: str, **fields: Any) -> Any:
    envelope: dict[str, Any] = dict.fromkeys(
        ("event_id", "run_id", "correlation_id", "causation_id", "agent", "command_id"), "x"
    )
    return record(kind=kind, run_seq=1, at=0, command_offset=0, **envelope, **fields)


ATTEMPTS = st.builds(
    lambda kind, capability, provider, cost, price, model, tokens: fact(
        AttemptEvent,
        kind,
        call_id="c",
        attempt=1,
        capability=capability,
        provider=provider,
        cost_nano_usd=cost,
        price_id=price,
        model=model,
        input_tokens=tokens,
        error_class="outage" if kind == "AttemptFailed" else "",
    ),
    st.sampled_from(["AttemptStarted", "AttemptSucceeded", "AttemptFailed"]),
    NAMES,
    NAMES,
    NUMBERS,
    st.sampled_from(["", "p1"]),
    NAMES,
    NUMBERS,
)
CALLS = st.builds(
    lambda kind, capability, degraded: fact(CallEvent, kind, call_id="c", capability=capability, degraded=degraded),
    st.sampled_from(["CallRequested", "CallCompleted", "CallFailed", "CallCancelled"]),
    NAMES,
    st.booleans(),
)
OTHERS = st.sampled_from(
    [
        fact(RunEvent, "RunStarted"),
        fact(RunEvent, "RunFailed"),
        fact(MessageEvent, "HandlerFailed", name="m", recipient="a"),
        fact(MessageEvent, "MessageDeadLettered", name="m", cause="expired"),
        fact(MessageEvent, "EscalationRaised", name="m", recipient="operator"),
        fact(RefusalEvent, "CommandRefused", command_kind="WriteState", code="forged"),
    ]
)


@given(st.lists(st.one_of(ATTEMPTS, CALLS, OTHERS)))
def test_the_tally_is_what_a_naive_count_gives(facts: list[Fact]) -> None:
    """Sums over label values equal sums over facts, whatever the mixture."""
    counted = tally(facts)

    def total(row: catalogue.Metric) -> float:
        return sum(by for (found, _), by in counted.items() if found is row)

    attempts = [f for f in facts if isinstance(f, AttemptEvent) and f.kind != "AttemptStarted"]
    ended = [f for f in facts if isinstance(f, CallEvent) and f.kind != "CallRequested"]
    assert total(catalogue.FACTS) == len(facts)
    assert total(catalogue.ATTEMPTS) == len(attempts)
    assert total(catalogue.COST) == sum(f.cost_nano_usd for f in attempts)
    assert total(catalogue.UNPRICED) == sum(not f.price_id for f in attempts)
    assert total(catalogue.TOKENS) == sum(f.input_tokens for f in attempts)
    assert total(catalogue.CALLS) == len(ended)
    assert sum(
        by for (row, labels), by in counted.items() if row is catalogue.CALLS and labels[1] == "degraded"
    ) == sum(f.degraded for f in ended)
    for row, kind in ((catalogue.RUNS_ENDED, "RunFailed"), (catalogue.REFUSALS, "CommandRefused")):
        assert total(row) == sum(f.kind == kind for f in facts)


def test_what_is_counted_is_told_with_its_labels() -> None:
    """One attempt of a tenth of a dollar: read back from the exposition, as Prometheus would."""
    metrics = Metrics("ledger")
    spent = fact(
        AttemptEvent, "AttemptSucceeded", call_id="c", attempt=1, capability="x", provider="p", cost_nano_usd=10**8
    )
    count_facts(metrics, [spent, fact(CallEvent, "CallCompleted", call_id="c", capability="x", latency_us=2_000)])
    text = metrics.render({"status": "ok", "lag": {"bp.commands[3]": 7}}, "bp.ledger").decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["backplane_cost_usd_total", (("capability", "x"), ("provider", "p"))] == 0.1
    assert samples["backplane_call_seconds_sum", (("capability", "x"),)] == 0.002
    assert samples["backplane_ready", ()] == 1
    lag = (("consumergroup", "bp.ledger"), ("partition", "3"), ("topic", "bp.commands"))
    assert samples["kafka_consumergroup_lag", lag] == 7
    assert "kafka_consumergroup_lag{" not in metrics.render({"status": "starting"}, "bp.ledger").decode()


def test_a_total_counted_elsewhere_never_goes_back() -> None:
    """As a counter must not: Prometheus takes a smaller value for a restart."""
    metrics = Metrics("sink")
    for total in (5, 9, 9, 3):
        metrics.reach(catalogue.ROWS, total)
    assert "backplane_sink_rows_total 9.0" in metrics.render({}, "bp.sink").decode()
