"""Search: a run by its id, or any text that a fact holds: a wrong sentence, a source, an error."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from agents_sdk.errors import UnknownRun
from backplane.console.desk import desk_of
from backplane.insight import figures
from backplane.insight.answers import find_run

router = APIRouter()
LIMIT = 50
ID_CHARS = frozenset("0123456789abcdefABCDEF-")


@router.get("/search")
def search(request: Request, q: str = "", run: str = "") -> Response:
    """Facts with the text, the newest first; a whole run id leads to the run."""
    desk = desk_of(request)
    text = q.strip()
    if len(text) >= 8 and set(text) <= ID_CHARS:
        try:
            return RedirectResponse(f"/runs/{find_run(desk.store, text)}/timeline", 303)
        except UnknownRun:
            pass
    found = figures.found(desk.store, text, run, LIMIT) if text else []
    return desk.page(request, "search.html.j2", found=found, search=text, run_id=run, limit=LIMIT)
