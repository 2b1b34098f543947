"""``backplane state``: a run's shared state; ``backplane start``: start a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backplane.cli.output import Budget, CommandError, DataDir, ExitCode, JsonFlag, message, print_json, print_rows
from backplane.cli.run_name import RunName, named_run
from backplane.cli.shown import when

if TYPE_CHECKING:
    from agents_sdk.blocking import Backplane, Run

Key = Annotated[str, typer.Argument(metavar="KEY", help="The state key.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read and write a run's shared state.")


@app.callback()
def group() -> None:
    """Read and write a run's shared state."""


@contextmanager
def connected(data_dir: Path | None) -> Iterator[Backplane]:
    """The platform, as the client ``cli``."""
    from agents_sdk.blocking import Backplane
    from agents_sdk.settings import load_settings

    with Backplane.connect(load_settings(**({"data_dir": data_dir} if data_dir else {})), name="cli") as backplane:
        yield backplane


def parsed(text: str, what: str) -> Any:
    """The JSON in ``text``, or on stdin for ``-``. Raises CommandError."""
    import json

    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        hint = f"strings need quotes: '\"{text}\"'" if text.isalnum() else ""
        raise CommandError("usage", f"{what} is not JSON: {error}", hint) from error


@app.command()
def get(
    run: RunName,
    key: Key,
    version: Annotated[int, typer.Option(min=0, help="A version; 0: the current one.")] = 0,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print the value of a key, as JSON; with --json, its version too. The exit code is 3 where it has no value."""
    with connected(data_dir) as backplane:
        entry = backplane.run(named_run(run, data_dir)).state.entry(key, version=version)
    if entry.version == 0:
        raise CommandError(
            "not_found", f"run {run} has no state {key!r}", f"`backplane state list {run}` shows its keys"
        )
    print_json({"key": key, "version": entry.version, "value": entry.value} if as_json else entry.value)


@app.command("set")
def set_(
    run: RunName,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="JSON", help="The value; - reads it from stdin.")],
    expected_version: Annotated[
        int | None, typer.Option(min=0, help="Only if the key is at this version; 0: if it does not exist.")
    ] = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Write a key and print its new version."""
    content = parsed(value, "the value")
    with connected(data_dir) as backplane:
        version = backplane.run(named_run(run, data_dir)).state.set(key, content, expected_version=expected_version)
    print_json({"key": key, "version": version} if as_json else version)


@app.command("list")
def list_(
    run: RunName,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that begin so.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print the keys that have a value, with their versions."""
    with connected(data_dir) as backplane:
        listed = backplane.run(named_run(run, data_dir)).state.list(prefix)
    print_rows(("key", "version"), [(item.key, item.version) for item in listed], as_json=as_json)


@app.command()
def history(run: RunName, key: Key, as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Print the versions of a key: who wrote which, when and how large."""
    with connected(data_dir) as backplane:
        versions = backplane.run(named_run(run, data_dir)).state.history(key)
    rows = [
        (one.version, one.agent, when(one.at, fraction=True), one.size, "yes" if one.deleted else "", one.event_id)
        for one in versions
    ]
    print_rows(("version", "agent", "at", "size", "deleted", "event_id"), rows, as_json=as_json)


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
        fields = ("run_id", "status", "result", "reason", "state_hash")
        print_json({field: getattr(ended, field) for field in fields})
    else:
        message(f"{ended.status}{f': {ended.reason}' if ended.reason else ''}")
        print_json(ended.result)
        why = "" if ended.status == "completed" else f", why with `backplane explain {run.id}`"
        message(f"see it with `backplane run {run.id}`{why}")
    if ended.status != "completed":
        raise typer.Exit(ExitCode.FAILURE)


def _nobody(workflow: str, run: Run, wait: bool) -> None:
    """Nobody handles the workflow's start: a run that would be waited for without an end is ended."""
    told = f"nobody handles the workflow {workflow!r}: no registered agent of it handles run.started"
    hint = "start its agents first (`backplane agents run MODULE`); `backplane agents list` shows who is there"
    if not wait:
        message(f"warning: {told}")
        message(f"hint: {hint}")
        return
    run.cancel(told)
    raise CommandError("not_found", f"{told}; run {run.id} was cancelled", hint)
