"""Files: our own scripts and styles, previews of artifacts, the login and the choice of light or dark."""

from __future__ import annotations

import hmac
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from services.console.access import COOKIE_S, SESSION, own_form, session_of
from services.console.desk import desk_of
from services.console.previews import Shown
from services.console.render import STATIC

router = APIRouter()
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
THEMES: Final = ("light", "dark", "")


@router.get("/static/{name:path}")
def static(name: str) -> Response:
    """A file of ours; its address changes with its content."""
    file = (STATIC / name).resolve()
    if not file.is_relative_to(STATIC) or file.suffix not in TYPES or not file.is_file():
        raise HTTPException(404, "there is no such file")
    return FileResponse(file, media_type=TYPES[file.suffix], headers={"Cache-Control": "max-age=31536000, immutable"})


@router.get("/artifacts/{sha256}")
def artifact(request: Request, sha256: str) -> Response:
    """A file that a call made, from wherever artifacts are kept."""
    return _locked(desk_of(request).files.artifact(sha256))


@router.get("/files/{name:path}")
def file(request: Request, name: str) -> Response:
    """A file of the platform's folders."""
    found = desk_of(request).files.file(name)
    if found is None:
        raise HTTPException(404, "there is no such file in the platform's folders")
    return _locked(found)


def _locked(shown: Shown) -> Response:
    """What others made: it may run nothing and ask for nothing."""
    locked = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=3600"}
    return Response(shown.content, media_type=shown.media_type, headers=locked)


@router.get("/login")
def login(request: Request, back: str = "/", token: str = "") -> Response:
    """Asks for the token; one in the address, as the command line opens it, is taken and leaves the address."""
    return _let_in(request, token, back) if token else _ask(request, back)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Takes the token."""
    form = await own_form(request)
    return _let_in(request, form.get("token", ""), form.get("back", "/"))


def _let_in(request: Request, token: str, back: str) -> Response:
    expected: str = request.app.state.token
    if not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        return _ask(request, back, "this is not the token")
    answer = RedirectResponse(_local(back), 303)
    answer.set_cookie(SESSION, session_of(expected), max_age=COOKIE_S, httponly=True, samesite="strict")
    return answer


def _ask(request: Request, back: str, problem: str = "") -> Response:
    return desk_of(request).page(request, "login.html.j2", 401 if problem else 200, back=_local(back), problem=problem)


def _local(back: str) -> str:
    """The address, if it is one of ours."""
    return back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"


@router.post("/theme")
async def theme(request: Request) -> Response:
    """Keeps the choice in a cookie."""
    form = await own_form(request)
    chosen = form.get("theme", "")
    answer = RedirectResponse(_local(form.get("back", "/")), 303)
    answer.set_cookie("theme", chosen if chosen in THEMES else "", max_age=COOKIE_S, httponly=True, samesite="strict")
    return answer
