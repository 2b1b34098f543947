"""SQL: a statement in the address, its answer below; the store only reads and has limits of its own."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.desk import ConsoleContext, desk_of
from backplane.insight import figures
from backplane.store.queries import QueryRefused, health, query, raw

router = APIRouter()
ROWS: Final = 500
"""Rows that are shown; a file has them all."""
EXAMPLE: Final = re.compile(r"Example: ([^?]*\?) (.*)$", re.DOTALL)
NUMERIC: Final = re.compile(r"(Nullable\()?(U?Int|Float|Decimal)")
"""Types whose values stand on the right."""
FORMATS: Final = {"csv": ("CSVWithNames", "text/csv"), "json": ("JSONEachRow", "application/x-ndjson")}


@router.get("/sql")
def show(request: Request, q: str = "", download: str = "") -> Response:
    """The statement's rows, what can be asked, and examples."""
    desk = desk_of(request)
    statement = q.strip().rstrip(";")
    if desk.workflows is not None and statement and not health(desk.settings):
        raise HTTPException(403, "a viewer of some workflows has no SQL here: its rules of rows need our own store")
    if statement and download in FORMATS:
        name, kind = FORMATS[download]
        headers = {"Content-Disposition": f'attachment; filename="answer.{download}"'}
        return Response(raw(desk.store, statement, name), media_type=kind, headers=headers)
    # which tables there are is no secret, and a table of the system
    tables = figures.relations(request.app.state.desks.all.store)
    return desk.page(
        request,
        "sql.html.j2",
        q=q,
        tables=[(one, *_described(one.comment)) for one in tables],
        **(_answer(desk, statement) if statement else {"columns": [], "rows": [], "problem": "", "count": 0}),
    )


def _answer(desk: ConsoleContext, statement: str) -> dict[str, Any]:
    try:
        result = query(desk.store, statement)
    except QueryRefused as refused:
        return {"columns": [], "rows": [], "problem": refused.message, "count": 0}
    rows = result.result_rows
    shown = [[_cell(cell) for cell in row] for row in rows[:ROWS]]
    columns = [
        (name, bool(NUMERIC.match(kind.name)))
        for name, kind in zip(result.column_names, result.column_types, strict=True)
    ]
    return {"columns": columns, "rows": shown, "problem": "", "count": len(rows)}


def _cell(value: Any) -> Any:
    """As people write it: a small amount of money with all its zeros."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def _described(comment: str) -> tuple[str, str, str]:
    """The purpose of a table, the question of its example, and that in SQL."""
    found = EXAMPLE.search(comment)
    return (comment[: found.start()].strip(), found[1], found[2].strip()) if found else (comment, "", "")
