"""The dashboard and the alert rules ask only for metrics and labels that there are, and for all that matter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from backplane.metrics.catalogue import CATALOGUE

INFRA: Final = Path(__file__).parents[2] / "infra"
DASHBOARD: Final = json.loads((INFRA / "grafana" / "backplane.json").read_text())
ALERTS: Final = yaml.safe_load((INFRA / "prometheus" / "alerts.yaml").read_text())
SAMPLES: Final = {sample: row for row in CATALOGUE for sample in row.samples}
METRIC: Final = re.compile(r"\b((?:backplane|kafka)_[a-z_]+)(?:\{([^}]*)\})?")
GROUPING: Final = re.compile(r"\bby \(([^)]*)\)")
BY_PROMETHEUS: Final = {"le", "job", "instance"}


def rules() -> Iterator[dict[str, Any]]:
    yield from (rule for group in ALERTS["groups"] for rule in group["rules"])


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return asked + [rule["expr"] for rule in rules()]


def faults(expression: str) -> list[str]:
    """Metrics and labels of the expression that the catalogue does not have."""
    found, known = [], set(BY_PROMETHEUS)
    for name, matchers in METRIC.findall(expression):
        row = SAMPLES.get(name)
        if row is None:
            found.append(name)
            continue
        known |= set(row.labels)
        found += [label for label in re.findall(r"(\w+)\s*[=!]", matchers) if label not in row.labels]
    grouped = [label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")]
    return found + [label for label in grouped if label not in known]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_what_there_is(expression: str) -> None:
    """Every metric, matcher and grouping label is in the catalogue."""
    assert METRIC.search(expression)
    assert faults(expression) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(backplane_runs_total)", "backplane_runs_total"),
        ('backplane_calls_total{outcom="failed"}', "outcom"),
        ("sum by (agent) (backplane_calls_total)", "agent"),
        ("backplane_call_seconds", "backplane_call_seconds"),
    ],
)
def test_a_wrong_expression_is_found(expression: str, fault: str) -> None:
    """The check can fail: unknown metrics, labels, groupings, and a histogram without its suffix."""
    assert fault in faults(expression)


def test_every_metric_is_on_the_dashboard() -> None:
    """What nobody looks at need not be told."""
    shown = {name for expression in expressions() for name, _ in METRIC.findall(expression)}
    assert [row.name for row in CATALOGUE if not shown & set(row.samples)] == []


def test_names_are_as_prometheus_wants_them() -> None:
    """Unique; counters end in _total, histograms in a base unit; each says what it is."""
    names = [row.name for row in CATALOGUE]
    assert len(names) == len(set(names))
    for row in CATALOGUE:
        assert (row.kind == "counter") == row.name.endswith("_total"), row.name
        assert (row.kind == "histogram") == row.name.endswith("_seconds"), row.name
        assert row.help.endswith("."), row.name
        assert not {"run_id", "key", "event_id", "message_id"} & set(row.labels), row.name


def test_every_alert_says_what_to_do_next() -> None:
    """An alert without a next step wakes somebody for nothing."""
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["next"], rule["alert"]
