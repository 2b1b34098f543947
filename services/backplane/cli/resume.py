"""``backplane resume``: go on from a run that ended."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.client import connected
from backplane.cli.output import (
    Budget,
    DataDir,
    ExitCode,
    JsonFlag,
    message,
    print_json,
)
from backplane.cli.run_name import RunName, named_run


def resume(
    run: RunName,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the new run has ended.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
    budget: Budget = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Go on from a run that failed or was cancelled, in a new run with its state, and print the new run's id. The
    message that ended it is handled again, and those that were open then; what was handled is not. A run is resumed
    once: asked again, the same new run is named. --budget in place of what was left of the old one's. With --wait, the
    exit code is 1 when the new run did not complete."""
    run_id = named_run(run, data_dir)
    with connected(data_dir) as backplane:
        resumed = backplane.resume_run(run_id, budget=budget)
        document = {"run_id": resumed.id, "resumed_from": run_id}
        if not wait:
            print_json(document) if as_json else print(resumed.id)
            message(f"goes on from {run_id}; `backplane run {resumed.id}` tells what happens")
            return
        if not as_json:
            message(f"run: {resumed.id}")
        ended = resumed.wait(timeout)
    if as_json:
        outcome = {name: getattr(ended, name) for name in ("status", "result", "code", "reason", "said", "said_by")}
        print_json({**document, **outcome})
    else:
        message(ended.summary)
        print_json(ended.result)
    if ended.status != "completed":
        raise typer.Exit(ExitCode.FAILURE)
