"""``backplane artifacts``: the files that calls made, listed by the store and read from where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backplane.cli.calling import STDOUT, CallOptions, OutOption, write
from backplane.cli.output import CommandError, DataDir, JsonFlag, print_json, print_rows

if TYPE_CHECKING:
    from backplane.insight.artifacts import ArtifactOrigin

Reference = Annotated[str, typer.Argument(metavar="ARTIFACT", help="artifact:<sha256>, or its hash alone.")]
SHORT = 12

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show the files that calls made, and get them.")


@app.callback()
def group() -> None:
    """Show the files that calls made, and get them."""


@app.command("list")
def list_(
    run: Annotated[
        str | None, typer.Option("--run", help="Only of this run: its id, its beginning, or `last`.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")] = 50,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """List files, the newest first: kind, size, who had them made by what, and what that cost."""
    from agents_sdk.core.money import dollars
    from backplane.insight.answers import find_run
    from backplane.insight.artifacts import made
    from backplane.store.queries import connect_store

    client = connect_store(CallOptions(data_dir=data_dir).settings)
    found = made(client, run=find_run(client, run) if run else "", limit=limit)
    if as_json:
        print_json([_document(one) for one in found])
        return
    rows = [
        (
            one.sha256,
            one.mime,
            one.size,
            one.agent,
            one.capability,
            one.provider,
            dollars(one.cost_nano_usd),
            one.run_id,
        )
        for one in found
    ]
    columns = ("sha256", "mime", "size", "agent", "capability", "provider", "cost", "run")
    print_rows(columns, rows, narrow=("sha256", "mime"))


@app.command()
def show(artifact: Reference, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Tell where a file comes from, and which calls it was given to."""
    from backplane.insight.artifacts import made, uses
    from backplane.store.queries import connect_store

    sha256 = _digest(artifact)
    client = connect_store(CallOptions(data_dir=data_dir).settings)
    origins, used = made(client, sha256=sha256), uses(client, sha256)
    if not origins and not used:
        raise CommandError(
            "unknown_artifact", f"no call made or was given {artifact!r}", "see `backplane artifacts list`"
        )
    if as_json:
        shown = [{"run_id": one.run_id, "call_id": one.call_id, "event_id": one.event_id, "agent": one.agent,
                  "capability": one.capability} for one in used]  # fmt: skip
        print_json({"sha256": sha256, "made_by": [_document(one) for one in origins], "given_to": shown})
        return
    rows = [("made", one.agent, one.capability, one.provider, one.run_id, one.call_id) for one in origins]
    rows += [("given", one.agent, one.capability, "", one.run_id, one.call_id) for one in used]
    print_rows(("what", "agent", "capability", "provider", "run", "call"), rows)


@app.command()
def get(artifact: Reference, out: OutOption = None, data_dir: DataDir = None) -> None:
    """Get a file: to --out, else to stdout."""
    how = CallOptions(data_dir=data_dir)
    write(out or STDOUT, how.artifacts.get(_digest(artifact)))


@app.command()
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What a call is to be given.")],
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep a file of this machine, so that calls can be given it, and print its reference."""
    descriptor = CallOptions(data_dir=data_dir).upload(file)
    if as_json:
        print_json(descriptor)
    else:
        print(descriptor["uri"])


def _digest(text: str) -> str:
    from agents_sdk.core.artifacts import digest

    found = digest(text)
    if found is None:
        raise CommandError("usage", f"{text!r} is no artifact", "give artifact:<sha256>, as results have it")
    return found


def _document(one: ArtifactOrigin) -> dict[str, Any]:
    import msgspec

    return {"uri": f"artifact:{one.sha256}", **msgspec.to_builtins(one)}
