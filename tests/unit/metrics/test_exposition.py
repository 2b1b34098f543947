"""What a process tells stays small, whatever names its senders make up."""

from __future__ import annotations

from backplane.metrics import catalogue
from backplane.metrics.exposition import LABEL_SETS, OTHERS, Metrics


def test_label_sets_are_bounded() -> None:
    """Names come from senders: the thousandth and all after it are counted together."""
    metrics = Metrics("ledger")
    for number in range(LABEL_SETS + 50):
        metrics.count(catalogue.FACTS, kind=f"kind-{number}")
    render = metrics.render({"status": "ok"}).decode()
    assert render.count("backplane_facts_total{") == LABEL_SETS + 1
    assert f'backplane_facts_total{{kind="{OTHERS}"}} 50.0' in render
