"""``backplane start``: start a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backplane.cli.client import connected, parsed
from backplane.cli.output import (
    Budget,
    CommandError,
    DataDir,
    ExitCode,
    JsonFlag,
    message,
    print_json,
)

if TYPE_CHECKING:
    from agents_sdk.blocking import Run


def start(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow; agents choose by its name.")],
    input_: Annotated[str, typer.Option("--input", help="What the agents are given, JSON; - reads stdin.")] = "null",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
    run_id: Annotated[str, typer.Option("--run-id", help="The run's id; made up by default.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A word to find the run by; may be repeated.")] = None,
    budget: Budget = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Start a run and print its id; with --wait, how it ended. The exit code is 1 when it did not complete."""
    content = parsed(input_, "--input")
    with connected(data_dir) as backplane:
        run = backplane.start_run(workflow, content, run_id=run_id or None, budget=budget, tags=tag or ())
        if not run.recipients:
            _nobody(workflow, run, wait)
        if not wait:
            print_json({"run_id": run.id}) if as_json else print(run.id)
            return
        if not as_json:
            message(f"run: {run.id}")
        ended = run.wait(timeout)
    if as_json:
        fields = ("run_id", "status", "result", "code", "reason", "said", "said_by", "state_hash")
        print_json({field: getattr(ended, field) for field in fields})
    else:
        message(ended.summary)
        print_json(ended.result)
        why = "" if ended.status == "completed" else f", why with `backplane explain {run.id}`"
        message(f"see it with `backplane run {run.id}`{why}")
    if ended.status != "completed":
        raise typer.Exit(ExitCode.FAILURE)


def _nobody(workflow: str, run: Run, wait: bool) -> None:
    """Nobody handles the workflow's start: a run that would be waited for without an end is ended."""
    problem = f"nobody handles the workflow {workflow!r}: no registered agent of it handles run.started"
    hint = "start its agents first (`backplane agents run MODULE`); `backplane agents list` shows who is there"
    if not wait:
        message(f"warning: {problem}")
        message(f"hint: {hint}")
        return
    run.cancel(problem)
    raise CommandError("not_found", f"{problem}; run {run.id} was cancelled", hint)
