"""Files: our own scripts and styles, previews of artifacts, the login and the choice of light or dark."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from backplane.console.access import COOKIE_S, own_form
from backplane.console.desk import desk_of
from backplane.console.previews import PreviewPart
from backplane.console.render import STATIC
from backplane.console.routes.login import local
from backplane.insight import figures

router = APIRouter()
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
THEMES: Final = ("light", "dark", "")


@router.get("/static/{name:path}")
def static(name: str) -> Response:
    """A file of ours; its address changes with its content."""
    try:
        file = (STATIC / name).resolve()
        found = file.is_relative_to(STATIC) and file.suffix in TYPES and file.is_file()
    except (ValueError, OSError):  # a name that no file can have
        found = False
    if not found:
        raise HTTPException(404, "there is no such file")
    return FileResponse(file, media_type=TYPES[file.suffix], headers={"Cache-Control": "max-age=31536000, immutable"})


@router.get("/artifacts/{sha256}")
def artifact(request: Request, sha256: str) -> Response:
    """A file that a call made, from wherever artifacts are kept; to a restricted viewer, if a run it sees has it."""
    desk = desk_of(request)
    if request.state.principal.restricted and not figures.has_artifact(desk.store, sha256):
        raise HTTPException(404, "no run that you may see has this file")
    return _locked(desk.files.artifact(sha256))


@router.get("/files/{name:path}")
def file(request: Request, name: str) -> Response:
    """A file of the platform's folders."""
    found = desk_of(request).files.file(name)
    if found is None:
        raise HTTPException(404, "there is no such file in the platform's folders")
    return _locked(found)


def _locked(shown: PreviewPart) -> Response:
    """Content of others: it may run nothing and ask for nothing."""
    locked = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=3600"}
    return Response(shown.content, media_type=shown.media_type, headers=locked)


@router.post("/theme")
async def theme(request: Request) -> Response:
    """Keeps the choice in a cookie."""
    form = await own_form(request)
    chosen = form.get("theme", "")
    answer = RedirectResponse(local(form.get("back", "/")), 303)
    answer.set_cookie("theme", chosen if chosen in THEMES else "", max_age=COOKIE_S, httponly=True, samesite="strict")
    return answer
