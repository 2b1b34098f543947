"""What the page of a capability says of budgets, and what no switch may be."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.registry import ExecutorBeat, Switch
from backplane.console.routes.capabilities import allowed
from backplane.insight.figures import Allowance
from backplane.manifests.switches import NotSwitchable, switch, why_not


def allowance(agent: str, budget: int = -1, **call_budgets: int) -> Allowance:
    globs = {name.replace("_star", "*"): limit for name, limit in call_budgets.items()}
    return Allowance(agent, budget, ["text_*", "echo"], globs)


def test_the_most_specific_budget_counts_and_whoever_may_not_call_has_none() -> None:
    """Agents without any budget are left out; a limit of the run alone is one."""
    agents = [
        allowance("both", 9, text_star=5, text_generation=3),
        allowance("run", 0),
        allowance("none"),
        Allowance("barred", 9, ["echo"], {"*": 1}),
    ]
    assert [(one.agent, limit) for one, limit in allowed(agents, "text_generation")] == [("both", 3), ("run", -1)]
    assert [(one.agent, limit) for one, limit in allowed(agents, "text_analysis")] == [("both", 5), ("run", -1)]
    assert allowed(agents, "web_search") == []


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], "no executor lives"),
        ([ExecutorBeat(executor="e", period_ms=1000, beat_at=0)], "no executor has it"),
        ([ExecutorBeat(executor="e", period_ms=1000, beat_at=0, lacking=["a/p: lacks KEY"])], "lacks KEY"),
        ([ExecutorBeat(executor="e", period_ms=1000, beat_at=0, ready=["a/p"])], ""),
        (
            [
                ExecutorBeat(executor="e", period_ms=1000, beat_at=0, ready=["a/p"]),
                Switch(target="a/p", state="disabled", reason="too dear"),
            ],
            "disabled: too dear",
        ),
    ],
)
def test_why_a_provider_cannot_be_asked(records: list[Any], reason: str) -> None:
    """By its switch first, then by what living executors say of it."""
    catalogue = Catalogue()
    for record in records:
        catalogue.take(record, 0, 10.0)
    assert why_not(catalogue, "a", "p", 11.0) == reason
    assert reason.startswith("disabled") or why_not(catalogue, "a", "p", 99.0) == "no executor lives"


@pytest.mark.parametrize(
    ("target", "state", "policy"),
    [
        ("a", "off", ""),
        ("a", "paused", ""),
        ("a", "paused", "later"),
        ("a", "disabled", "wait"),
        ("a/p", "paused", "wait"),
    ],
)
def test_there_is_no_such_switch(target: str, state: str, policy: str) -> None:
    """Refused before anything is asked of the platform."""
    nothing: Any = None
    with pytest.raises(NotSwitchable):
        switch(nothing, nothing, target, state, by="test", policy=policy)
