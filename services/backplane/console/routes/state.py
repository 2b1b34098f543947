"""State: keys, their versions, who wrote and who read them, and what changed between two."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.desk import desk_of
from backplane.console.difference import difference
from backplane.console.render import pretty
from backplane.insight import figures

router = APIRouter()
LIMIT = 300


@router.get("/state")
def list_keys(request: Request, q: str = "", run: str = "") -> Response:
    """Keys of all runs and memories, those written last first."""
    desk = desk_of(request)
    found = figures.keys(desk.store, run=run, text=q, limit=LIMIT)
    return desk.page(request, "state.html.j2", found=found, q=q, run_id=run, limit=LIMIT)


@router.get("/state/version")
def show_version(request: Request, run: str, key: str, version: int = 0, against: int = 0) -> Response:
    """One version of a key beside the others."""
    desk = desk_of(request)
    found = figures.versions(desk.store, run, key)
    chosen = next((one for one in found if one.version == version), found[0] if found and not version else None)
    if chosen is None:
        raise HTTPException(404, f"{key!r} of {run!r} has no version {version}")
    other = next((one for one in found if one.version == (against or chosen.version - 1)), None)
    return desk.page(
        request,
        "state_key.html.j2",
        run_id=run,
        key=key,
        versions=found,
        chosen=chosen,
        other=other,
        changes=difference(pretty(other.value), pretty(chosen.value)) if other else [],
        readers=figures.readers(desk.store, run, key),
        files=desk.files.previews(chosen.value),
    )
