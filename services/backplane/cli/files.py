"""``backplane files``: files by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from backplane.cli.calling import (
    STDOUT,
    CallOptions,
    OutOption,
    RunOption,
    SucceededCall,
    TimeoutOption,
    finish,
    given,
    perform,
)
from backplane.cli.output import Budget, CommandError, DataDir, JsonFlag, message, print_json, print_rows

Key = Annotated[str, typer.Argument(metavar="KEY", help="For example reports/2026/november.pdf.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Keep files by key, and get them back.")


@app.callback()
def group() -> None:
    """Keep files by key, and get them back."""


@app.command()
def put(
    key: Key,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to keep; - reads stdin.")],
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Fail where the key is taken.")] = False,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep a file under a key."""
    import sys

    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    if file == STDOUT:
        artifact = {"uri": how.artifacts.put(sys.stdin.buffer.read(), "application/octet-stream").uri}
    else:
        artifact = how.upload(file)
    called = _do(how, "put", key=key, artifact=artifact, if_absent=if_absent or None)
    _print_files(called, ("key", "size", "mime", "etag"), [called.result.result], as_json=as_json)


@app.command()
def get(
    key: Key,
    out: OutOption = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Get a file: to --out, else to stdout; with --json alone, only what is known of it."""
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    called = _found(_do(how, "get", key=key))
    finish(called, how, out if out or as_json else STDOUT, as_json=as_json)


@app.command()
def head(
    key: Key,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what is known of a file without getting it."""
    called = _found(_do(CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir), "head", key=key))
    _print_files(called, ("key", "size", "mime", "modified_at", "etag"), [called.result.result], as_json=as_json)


@app.command("list")
def list_(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys below it; whole parts of a path.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, at most.")] = 100,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """List the files by key."""
    called = _do(
        CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir), "list", prefix=prefix, limit=limit
    )
    files = called.result.result["files"]
    _print_files(called, ("key", "size", "modified_at", "etag"), files, as_json=as_json)
    if called.result.result.get("truncated"):
        message(f"there are more; these are the first {len(files)}")


@app.command()
def delete(
    key: Key,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Delete a file. The exit code is 3 where there is none."""
    called = _do(CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir), "delete", key=key)
    _print_files(called, ("key", "deleted"), [called.result.result], as_json=as_json)
    if not called.result.result["deleted"]:
        raise _missing(key)


def _do(how: CallOptions, operation: str, **params: Any) -> SucceededCall:
    return perform("file_storage", given(operation=operation, **params), how)


def _found(called: SucceededCall) -> SucceededCall:
    if not called.result.result["found"]:
        raise _missing(called.result.result["key"])
    return called


def _missing(key: str) -> CommandError:
    return CommandError("not_found", f"no file has the key {key!r}", "`backplane files list` shows what there is")


def _print_files(
    called: SucceededCall, columns: Sequence[str], rows: Sequence[dict[str, Any]], *, as_json: bool
) -> None:
    if as_json:
        print_json(called.document())
        return
    print_rows(columns, [[row.get(column, "") for column in columns] for row in rows])
    message(called.summary())
