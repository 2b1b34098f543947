"""``backplane memory``: what agents remember beyond their runs."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.client import connected
from backplane.cli.output import CommandError, DataDir, JsonFlag, print_json, print_rows

Namespace = Annotated[str, typer.Argument(metavar="NAMESPACE", help="The memory's namespace.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read long-term memories.")


@app.callback()
def group() -> None:
    """Read long-term memories."""


@app.command("list")
def list_(
    namespace: Namespace,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that begin so.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print the keys that have a value, with their versions."""
    with connected(data_dir) as backplane:
        listed = backplane.memory(namespace).list(prefix)
    print_rows(("key", "version"), [(item.key, item.version) for item in listed], as_json=as_json)


@app.command()
def get(
    namespace: Namespace,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key.")],
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print the value of a key, as JSON; with --json, its version too. The exit code is 3 where it has no value."""
    with connected(data_dir) as backplane:
        entry = backplane.memory(namespace).entry(key)
    if entry.version == 0:
        hint = f"`backplane memory list {namespace}` shows its keys"
        raise CommandError("not_found", f"memory {namespace} has no {key!r}", hint)
    print_json({"key": key, "version": entry.version, "value": entry.value} if as_json else entry.value)
