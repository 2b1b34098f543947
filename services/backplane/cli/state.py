"""``backplane state``: a run's shared state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backplane.cli.client import connected, parsed
from backplane.cli.output import CommandError, DataDir, JsonFlag, print_json, print_rows
from backplane.cli.run_name import RunName, named_run
from backplane.cli.shown import when

if TYPE_CHECKING:
    pass

Key = Annotated[str, typer.Argument(metavar="KEY", help="The state key.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read and write a run's shared state.")


@app.callback()
def group() -> None:
    """Read and write a run's shared state."""


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
