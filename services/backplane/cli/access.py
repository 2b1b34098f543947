"""``backplane access``: who may use the console, SQL and the figures of this platform, and in which role."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_rows

if TYPE_CHECKING:
    from backplane.access.principals import Entry

app = typer.Typer(no_args_is_help=True, help="Who may use console, SQL and figures; the first entry closes the ports.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A person or program.")]


@app.command("add")
def add(
    name: Name,
    role: Annotated[str, typer.Option("--role", help="viewer reads, operator also acts, admin also grants.")],
    workflow: Annotated[
        list[str] | None, typer.Option("--workflow", help="A viewer sees the runs of these alone; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody in, and print the token, which is kept nowhere. A name that is there gets a new token."""
    from backplane.access.principals import Entry, checked, digest, new_token, save

    token = new_token()
    entry = checked(Entry(name, role, digest(token), tuple(workflow) if workflow else None))
    where, entries = _entries(data_dir)
    first = not entries
    save(where, [*(one for one in entries if one.name != name), entry])
    if first:
        message("from now on every port asks who wants to know; this machine's `backplane` shows a token by itself")
    print(token)


@app.command("list")
def show(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """List who may come in."""
    _, entries = _entries(data_dir)
    rows = [(one.name, one.role, "all" if one.workflows is None else ", ".join(one.workflows)) for one in entries]
    print_rows(("name", "role", "workflows"), rows, as_json=as_json)


@app.command("remove")
def remove(name: Name, data_dir: DataDir = None) -> None:
    """Take back a token; its sessions end at once. Without any entry left, nobody but this machine's owner comes in."""
    from backplane.access.principals import save

    where, entries = _entries(data_dir)
    left = [one for one in entries if one.name != name]
    if len(left) == len(entries):
        raise CommandError("not_found", f"nobody is called {name!r}", "`backplane access list` shows all")
    save(where, left)


def _entries(data_dir: Path | None) -> tuple[Path, tuple[Entry, ...]]:
    from agents_sdk.settings import data_dir as settled
    from backplane.access.principals import load

    where = settled(data_dir)
    found = load(where)
    return where, found.entries if found else ()
