"""Logging in: by token, or at an OpenID Connect provider; and out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from backplane.access.oidc import Login, LoginFailed, begin
from backplane.console.access import COOKIE_S, own_form
from backplane.console.desk import desk_of
from backplane.console.sessions import SESSION, Sessions

if TYPE_CHECKING:
    from backplane.access.principals import Principal

router = APIRouter()
BEGUN: Final = "backplane_login"
"""The cookie of a login that is under way at the provider."""
DONE: Final = "/login/oidc/done"


@router.get("/login")
def login(request: Request, back: str = "/", token: str = "") -> Response:
    """Asks for the token; one in the address, as the command line opens it, is taken and leaves the address."""
    return _with_token(request, token, back) if token else _ask(request, back)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Takes the token."""
    form = await own_form(request)
    return await asyncio.to_thread(_with_token, request, form.get("token", ""), form.get("back", "/"))


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forgets the session."""
    await own_form(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION, httponly=True, samesite="lax")
    return answer


@router.get("/login/oidc")
def to_provider(request: Request, back: str = "/") -> Response:
    """Sends the browser to the provider."""
    sessions = _sessions(request)
    if sessions.gate.provider is None:
        return _ask(request, back, "this console has no provider to log in at")
    login = begin(local(back), time.time())
    try:
        where = sessions.gate.provider.begin(login, _redirect(request))
    except LoginFailed as error:
        return _ask(request, back, error.message)
    answer = RedirectResponse(where, 303)
    # lax: the provider's page is another site, and leads back here by a link
    answer.set_cookie(BEGUN, sessions.sealed(login, ""), max_age=600, httponly=True, samesite="lax", path="/login")
    return answer


@router.get(DONE)
def from_provider(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
    """Takes what the provider's page sent the browser back with."""
    sessions = _sessions(request)
    begun = sessions.opened(request.cookies.get(BEGUN, ""), Login)
    if sessions.gate.provider is None or begun is None or begun.until < time.time() or begun.state != state:
        return _ask(request, "/", "this login was not begun here, or took too long")
    if error or not code:
        return _ask(request, begun.back, f"the provider says: {error[:100] or 'nothing'}")
    try:
        return _let_in(request, sessions.gate.provider.finish(begun, code, _redirect(request)), begun.back)
    except LoginFailed as failed:
        return _ask(request, begun.back, failed.message)


def _with_token(request: Request, token: str, back: str) -> Response:
    principal = _sessions(request).of_token(token)
    return _let_in(request, principal, back) if principal else _ask(request, back, "this is not the token")


def _let_in(request: Request, principal: Principal, back: str) -> Response:
    answer = RedirectResponse(local(back), 303)
    cookie = _sessions(request).open(principal, time.time())
    # lax: a link to a run, in a chat say, opens it
    answer.set_cookie(SESSION, cookie, max_age=COOKIE_S, httponly=True, samesite="lax")
    answer.delete_cookie(BEGUN, path="/login")
    return answer


def _ask(request: Request, back: str, problem: str = "") -> Response:
    provider = _sessions(request).gate.provider is not None
    return desk_of(request).page(
        request, "login.html.j2", 401 if problem else 200, back=local(back), problem=problem, provider=provider
    )


def _redirect(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{DONE}"


def _sessions(request: Request) -> Sessions:
    found: Sessions = request.app.state.sessions
    return found


def local(back: str) -> str:
    """The address, if it is one of ours."""
    return back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
