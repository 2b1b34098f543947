"""``backplane code``: a Python snippet in a sandbox."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backplane.cli.calling import CallOptions, RunOption, SucceededCall, TimeoutOption, given, perform
from backplane.cli.output import Budget, CommandError, DataDir, JsonFlag, interactive, message, print_json
from backplane.cli.shown import escaped


def code(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The snippet; - reads stdin.")] = None,
    command: Annotated[str | None, typer.Option("--command", "-c", help="The snippet itself.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="A variable of the snippet; JSON, else a text."),
    ] = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="Of running; 5 unless said.")] = None,
    max_memory_mb: Annotated[int | None, typer.Option("--max-memory-mb", help="64 unless said.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the module random.")] = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a Python snippet in a sandbox: what it printed, then the value of its last expression, as JSON.

    No files, no network, no packages. The exit code is 1 where the snippet raised an error, which --json tells as well.
    """
    from backplane.cli.call import gather

    params = given(
        code=_snippet(file, command),
        inputs=gather(inputs or [], None, frozenset()) or None,
        max_seconds=max_seconds,
        max_memory_mb=max_memory_mb,
        seed=seed,
    )
    called = perform("code_execution", params, CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir))
    _print_result(called, as_json=as_json)


def _print_result(called: SucceededCall, *, as_json: bool) -> None:
    """Raises CommandError for an error of the snippet."""
    result: dict[str, Any] = called.result.result
    error = result["error"]
    if as_json:
        print_json(called.document())
    else:
        sys.stdout.write(escaped(result["stdout"], keep="\n\t") if interactive() else result["stdout"])
        if result["value"] is not None:
            print_json(result["value"])
        message(error["traceback"].rstrip() if error else called.summary())
    if error:
        raise CommandError("code_failed", f"{error['type']}: {error['message']}", called.summary())


def _snippet(file: Path | None, command: str | None) -> str:
    if (file is None) == (command is None):
        raise CommandError("usage", "give either a file or --command", "for example `backplane code -c '1 + 1'`")
    if command is not None:
        return command
    assert file is not None
    try:
        return sys.stdin.read() if file == Path("-") else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError("usage", f"{str(file)!r} cannot be read: {error}", "give a file of Python") from error
