"""Which rows of the store a restricted principal sees: ClickHouse's own ``additional_table_filters``, set by us.

Every read of a filtered table, through any view or join, gets the filter as well. A statement cannot change the
setting, since it runs in readonly mode. Everything that reads around it (functions over parts, tables of the system) is
refused by name: see ``services/backplane/store/read_only.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OF_RUNS: Final = ("events", "edges")
"""Tables whose rows belong to runs, by ``run_id``."""
OF_WORKFLOWS: Final = "run_workflows"
FILLED: Final = "run_workflows_filled"
"""The view that fills it, which shows its rows to any statement that names it."""
OTHERS: Final = ("migrations",)
"""Tables that are about nobody's run."""
SETTING: Final = "additional_table_filters"


def filters(database: str, workflows: Iterable[str]) -> str:
    """The value of the setting for a principal that sees the runs of these workflows, and nothing else."""
    names = ", ".join(_quoted(name) for name in sorted(workflows)) or "''"
    # the inner table is filtered by its own rule; a condition over events itself would look for itself without an end
    runs = f"run_id IN (SELECT run_id FROM {database}.{OF_WORKFLOWS})"  # noqa: S608  # names of our own
    own = dict.fromkeys((OF_WORKFLOWS, FILLED), f"workflow IN ({names})")
    rules = {**dict.fromkeys(OF_RUNS, runs), **own, **dict.fromkeys(OTHERS, "0")}
    return "{" + ", ".join(f"{_quoted(f'{database}.{table}')}: {_quoted(rule)}" for table, rule in rules.items()) + "}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
