"""``backplane sql``: ask the store in SQL."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from typing import Annotated, Final

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import (
    CommandError,
    DataDir,
    JsonFlag,
    interactive,
    print_json,
    print_rows,
)
from backplane.cli.shown import escaped

NAMES_FORMAT: Final = re.compile(r"\bFORMAT\s+\w+\s*$", re.IGNORECASE)


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One reading statement; `-` reads it from stdin.")],
    form: Annotated[Format, typer.Option("--format", "-o", help="How rows are printed.")] = Format.table,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Ask the store in SQL. Tables: events, edges; views: v_cost, v_calls, v_discarded, v_artifacts, v_state_history,
    v_messages, v_requests, v_children, v_dependencies, v_lineage.

    A statement that names a FORMAT of ClickHouse's own is answered in that.
    """
    from backplane.store.queries import connect_store, raw
    from backplane.store.queries import query as ask_store

    text = (sys.stdin.read() if query == "-" else query).strip().rstrip(";")
    if not text:
        raise CommandError("usage", "the query is empty", "backplane sql 'SHOW TABLES'")
    client = connect_store(load_settings(**({"data_dir": data_dir} if data_dir else {})))
    chosen = Format.json if as_json else form
    if NAMES_FORMAT.search(text):
        _write(raw(client, text, None))
    elif chosen is Format.csv:
        _write(raw(client, text, "CSVWithNames"))
    elif chosen is Format.jsonl:
        _write(raw(client, text, "JSONEachRow"))
    elif chosen is Format.json:
        print_json([msgspec.json.decode(line) for line in raw(client, text, "JSONEachRow").splitlines()])
    else:
        result = ask_store(client, text)
        print_rows(result.column_names, result.result_rows)


def _write(data: bytes) -> None:
    """As the store wrote it; a terminal is given nothing that it would obey."""
    sys.stdout.flush()
    if interactive():
        data = escaped(data.decode(errors="backslashreplace"), keep="\n\t").encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
