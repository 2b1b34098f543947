"""How long each tier takes, against what it may take: printed after the tests, never asserted on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

BUDGETS_S: Final = {
    "unit": 75,
    "properties": 80,
    "architecture": 25,
    "integration": 850,
    "security": 150,
    "scenarios": 350,
    "faults": 500,
    "replay": 15,
}
"""Seconds of one worker for a tier, on two idle cores. Two workers share the first three and three the others: within
these budgets `make test` takes twelve minutes."""


def by_tier(reports: Iterable[Any], tier: Callable[[Path], str]) -> list[str]:
    """Lines of a table: tier, tests, seconds of one worker, budget; and the modules that take longest."""
    seconds: dict[str, float] = defaultdict(float)
    tests: dict[str, set[str]] = defaultdict(set)
    modules: dict[str, float] = defaultdict(float)
    for report in reports:
        if not hasattr(report, "duration"):
            continue
        module = report.nodeid.partition("::")[0]
        name = tier(Path(module).absolute())
        seconds[name] += report.duration
        tests[name].add(report.nodeid)
        modules[module] += report.duration
    lines = [f"{'tier':<14}{'tests':>7}{'seconds':>9}{'budget':>8}"]
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        budget = BUDGETS_S.get(name, 0)
        over = "  over its budget" if seconds[name] > budget else ""
        lines.append(f"{name:<14}{len(tests[name]):>7}{seconds[name]:>9.0f}{budget:>8}{over}")
    slowest = sorted(modules, key=lambda module: -modules[module])[:12]
    return [*lines, "", *(f"{modules[module]:>7.0f} s  {module}" for module in slowest)]
