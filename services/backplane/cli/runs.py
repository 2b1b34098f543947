"""``backplane runs``: list the runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import (
    DataDir,
    JsonFlag,
    message,
    print_json,
    print_rows,
)
from backplane.cli.shown import when


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")] = 20,
    workflow: Annotated[str, typer.Option("--workflow", help="Only of this workflow.")] = "",
    status: Annotated[str, typer.Option("--status", help="Only running, completed, failed or cancelled ones.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only with this tag.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """List the runs, the newest first, and below each the runs that it started."""
    from agents_sdk.core.money import dollars
    from backplane.insight.answers import by_parent
    from backplane.insight.answers import runs as ask_runs
    from backplane.insight.wording import duration
    from backplane.store.queries import connect_store

    client = connect_store(load_settings(**({"data_dir": data_dir} if data_dir else {})))
    found = ask_runs(client, limit, workflow=workflow, status=status, tag=tag)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    columns = ("run", "workflow", "status", "started", "took", "agents", "calls", "failures", "facts", "cost")
    rows = [
        (
            row.run_id,
            "└ " * depth + row.workflow,
            row.status,
            when(row.started_at),
            duration(row.last_at - row.started_at),
            row.agents,
            row.calls,
            row.failures or "",
            row.facts,
            dollars(row.cost_nano_usd) + (" + ?" if row.unpriced else ""),
        )
        for depth, row in by_parent(found)
    ]
    print_rows(columns, rows, narrow=("run", "workflow", "status", "took", "cost"))
    if not found:
        message("no runs yet; `backplane demo` makes one")
