"""The metrics of one process: made from the catalogue, written in Prometheus's text format.

Nothing is registered globally, so tests may have as many as they like. There are only metrics of the catalogue, and
only those of this process's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from backplane.metrics import catalogue
from backplane.metrics.catalogue import CATALOGUE, Metric, Process

LABEL_SETS: Final = 1_000
"""Of one metric. Names of agents and capabilities are their senders' own: there may be any number of them."""
OTHERS: Final = "(others)"
"""The labels of what comes beyond that."""
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, and in this format gauges of their own


class Metrics:
    """The counts of one process. Thread-safe, as prometheus_client is."""

    def __init__(self, process: Process) -> None:
        self.registry = CollectorRegistry()
        self._reached: dict[Metric, float] = {}
        self._known: dict[Metric, set[tuple[str, ...]]] = {}
        self._kept = {row: _make(row, self.registry) for row in CATALOGUE if process in row.processes}
        ProcessCollector(registry=self.registry)

    def count(self, row: Metric, by: float = 1, **labels: str) -> None:
        """Adds to a counter. Raises KeyError where the process does not tell that metric."""
        self._child(row, labels).inc(by)

    def reach(self, row: Metric, total: float) -> None:
        """Raises a counter to a total that is counted elsewhere; it never goes back."""
        before = self._reached.get(row, 0.0)
        if total > before:
            self.count(row, total - before)
            self._reached[row] = total

    def observe(self, row: Metric, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        self._child(row, labels).observe(value)

    def set(self, row: Metric, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._child(row, labels).set(value)

    def forget(self, row: Metric) -> None:
        """Drops all label values of a gauge: a partition that is another's now has no lag here."""
        self._kept[row].clear()
        self._known.pop(row, None)

    def render(self, health: Mapping[str, Any], group: str = "") -> bytes:
        """The exposition, after taking the process's own health: ready or not, and each lag of its consumer group, if
        it is one."""
        self.set(catalogue.UP, health.get("status") == "ok")
        if group:
            self.forget(catalogue.LAG)
        for place, behind in health.get("lag", {}).items():
            topic, _, number = place.rstrip("]").partition("[")
            self.set(catalogue.LAG, behind, consumergroup=group, topic=topic, partition=number)
        return bytes(generate_latest(self.registry))

    def _child(self, row: Metric, labels: Mapping[str, str]) -> Any:
        kept = self._kept[row]
        if not labels:
            return kept
        known = self._known.setdefault(row, set())
        values = tuple(labels.values())
        if values not in known:
            if len(known) >= LABEL_SETS:
                return kept.labels(**dict.fromkeys(labels, OTHERS))
            known.add(values)
        return kept.labels(**labels)


def _make(row: Metric, registry: CollectorRegistry) -> Any:
    makers: dict[str, Callable[..., Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    extra = {"buckets": row.buckets} if row.buckets else {}
    return makers[row.kind](row.name, row.help, row.labels, registry=registry, **extra)
