"""``backplane cancel``: end a run."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.client import connected
from backplane.cli.output import (
    DataDir,
    JsonFlag,
    message,
    print_json,
)
from backplane.cli.run_name import RunName, named_run


def cancel(
    run: RunName,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the run's record.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """End a run as cancelled: its handlers, calls and child runs are stopped. The exit code is 7 where it has ended."""
    run_id = named_run(run, data_dir)
    with connected(data_dir) as backplane:
        backplane.run(run_id).cancel(reason)
    print_json({"run_id": run_id, "status": "cancelled", "reason": reason}) if as_json else print(run_id)
    message(f"cancelled; `backplane resume {run_id}` goes on from it")
