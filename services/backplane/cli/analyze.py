"""``backplane analyze``: SQL over files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backplane.cli.calling import STDOUT, CallOptions, OutOption, RunOption, TimeoutOption, finish, given, perform
from backplane.cli.output import Budget, CommandError, DataDir, JsonFlag, message, print_json, print_rows

FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
OUTPUTS: Final = ("csv", "jsonl", "parquet")


def analyze(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, in ClickHouse's SQL.")],
    files: Annotated[
        list[str], typer.Argument(metavar="[NAME=]FILE…", help="Each a table, named as given or as the file.")
    ],
    out: OutOption = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Printed; 1,000 unless said.")] = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="Of the question; 20 unless said.")] = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask files in SQL. Prints rows; with --out NAME.csv, .jsonl or .parquet the whole answer is written there.

    For example: backplane analyze 'SELECT city, sum(amount) FROM sales GROUP BY city' sales.csv
    """
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    output = output_of(out)
    params = given(
        sql=sql,
        inputs=[_input(how, text) for text in files],
        output=output,
        max_rows=max_rows,
        max_seconds=max_seconds,
    )
    called = perform("data_analysis", params, how)
    if output:
        finish(called, how, out, as_json=as_json)
        return
    result = called.result.result
    if as_json:
        print_json(called.document())
        return
    print_rows([column["name"] for column in result["columns"]], result["rows"])
    if result.get("truncated"):
        message(f"there are more rows than these {result['row_count']}; --max-rows or --out gives them")
    message(called.summary())


def output_of(out: Path | None) -> str | None:
    """The format of the file that is to be written, by its name; None where rows are printed. Raises CommandError."""
    if out is None:
        return None
    found = "csv" if out == STDOUT else FORMATS.get(out.suffix)
    if found not in OUTPUTS:
        known = ", ".join(f".{name}" for name in OUTPUTS)
        raise CommandError("usage", f"{str(out)!r} has no format that can be written", f"end its name with {known}")
    return found


def named(text: str) -> tuple[str, Path]:
    """Table and file of ``[NAME=]FILE``. Raises CommandError."""
    name, equals, rest = text.partition("=")
    path = Path(rest if equals else text)
    table = name if equals else re.sub(r"\W+", "_", path.stem.lower()).strip("_")
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", table):
        hint = f"name it: {re.sub('[^a-z0-9_]+', '_', f't_{table}'.lower())[:63]}={path}"
        raise CommandError("usage", f"{table!r} cannot be the name of a table", hint)
    return table, path


def _input(how: CallOptions, text: str) -> dict[str, Any]:
    table, path = named(text)
    format_ = FORMATS.get(path.suffix)
    if format_ is None:
        hint = f"rename it to end with one of {', '.join(FORMATS)}"
        raise CommandError("usage", f"the format of {str(path)!r} is not known by its name", hint)
    return {"name": table, "artifact": {"uri": how.upload(path)["uri"]}, "format": format_}
