"""Visitors of the console, and the rights of a page in a browser.

Lives here: decisions over values, and the ASGI shell that asks them. On loopback everybody who can reach the port is
let in, unless the platform has principals or the console a token. Elsewhere one of both is asked for. Each change also
needs a token that only our own pages hold (double submit: a cookie and a field that must agree). Names that are not
ours are refused, so that no site of another name can be pointed at this port (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import HTTPException

from backplane.access.principals import Principal
from backplane.console.sessions import SESSION, Sessions
from backplane.runtime.origin import Refusal, loopback, refusal

STRANGER: Final = Principal("", "viewer", ())
"""A visitor without a login: it may use what is open to all, and would see no run."""
CSRF: Final = "backplane_csrf"
CSRF_FIELD: Final = "csrf"
OPEN_PATHS: Final = ("/static/", "/login", "/health")
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
BODY_BYTES: Final = 2 * 2**20
"""Of a form, which is held in memory and may be a stranger's. One that names 10,000 dead letters has half of it."""
BODY_S: Final = 30.0
"""How long a body may take to arrive; granian limits the headers alone, to as long."""
COOKIE_S: Final = 30 * 86_400
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def cookies(header: str) -> dict[str, str]:
    """The cookies of a request; none where they cannot be read."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def forged(headers: Mapping[str, str], form: Mapping[str, str]) -> str:
    """Why a request that changes something is not from one of our pages; empty: it is."""
    origin = headers.get("origin", "")
    if origin not in ("", "null") and origin.split("://", 1)[-1] != headers.get("host", ""):
        return f"it was sent by a page of {origin}"
    expected = cookies(headers.get("cookie", "")).get(CSRF, "")
    given = form.get(CSRF_FIELD, "") or headers.get("x-csrf-token", "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        return "it lacks the page's own token; load the page again"
    return ""


class AccessMiddleware:
    """The ASGI shell around the application: 1. whose name, 2. who sends it, 3. the page's token, 4. headers."""

    def __init__(self, app: Any, sessions: Sessions, host: str) -> None:
        self._app = app
        self._sessions = sessions
        self._listening = host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = dict(pairs)
        given = cookies(headers.get("cookie", ""))
        csrf = given.get(CSRF) or secrets.token_urlsafe(24)
        scope.setdefault("state", {})["csrf"] = csrf
        scope["state"]["theme"] = given.get("theme", "")
        answer = _with_headers(send, csrf if CSRF not in given else "")
        if refused := self._refusal(scope["method"], pairs, headers):
            await _text(answer, refused.status, f"{refused.reason}\n")
        else:
            known = None
            if self._sessions.asks or loopback(self._listening):
                known = await asyncio.to_thread(self._sessions.principal, headers, given.get(SESSION, ""))
            if known is None and not scope["path"].startswith(OPEN_PATHS):
                await self._stranger(scope, answer)
            else:
                scope["state"]["principal"] = known or STRANGER
                await self._app(scope, bounded(receive), answer)

    def _refusal(self, method: str, pairs: list[tuple[str, str]], headers: Mapping[str, str]) -> Refusal | None:
        """Any site may have a link to a page of ours; nothing else of another site's is answered."""
        hosts = [value for name, value in pairs if name == "host"]
        origins = [value for name, value in pairs if name == "origin"]
        link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        linked = link and headers.get("sec-fetch-dest") == "document"
        return refusal(hosts, origins, "" if linked else headers.get("sec-fetch-site", ""), self._listening)

    async def _stranger(self, scope: Any, send: Any) -> None:
        if scope["method"] in SAFE_METHODS and b"text/html" in dict(scope["headers"]).get(b"accept", b""):
            query = scope["query_string"].decode("latin-1")
            back = urlencode({"back": scope["path"] + (f"?{query}" if query else "")})
            await _redirect(send, f"/login?{back}")
        else:
            await _text(send, 401, "show a token: Authorization: Bearer …\n")


def bounded(receive: Any, limit: int = BODY_BYTES, seconds: float = BODY_S) -> Any:
    """The ASGI ``receive`` of a request, whose client counts as gone when its body is too large or too slow. So what
    reads the body ends as it does for a client that went away. Messages after a whole body are passed on.

    Args:
        receive: the server's own.
        limit: bytes of the body.
        seconds: from now until all of it is there.
    """
    until = asyncio.get_running_loop().time() + seconds
    left, whole = limit, False

    async def take() -> Any:
        nonlocal left, whole
        if whole:
            return await receive()
        if left >= 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    message = await receive()
                left -= len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if left >= 0:
                    return message
        left, whole = -1, False
        return {"type": "http.disconnect"}

    return take


async def form_of(request: Any) -> dict[str, str]:
    """The fields of a form, the last of each name. For forms of ours, which are small and urlencoded. Raises
    HTTPException where it is none."""
    return {name: values[-1] for name, values in (await _fields(request)).items()}


async def own_form(request: Any) -> dict[str, str]:
    """As ``form_of``, from one of our own pages. Raises HTTPException where it is not."""
    form = await form_of(request)
    if reason := forged(request.headers, form):
        raise HTTPException(403, f"refused: {reason}")
    return form


async def many_of(request: Any, name: str) -> list[str]:
    """All values of one field."""
    return (await _fields(request)).get(name, [])


async def _fields(request: Any) -> dict[str, list[str]]:
    try:
        return parse_qs((await request.body()).decode(), keep_blank_values=True)
    except ValueError as error:
        raise HTTPException(400, "the form is no UTF-8") from error


def _with_headers(send: Any, csrf: str) -> Any:
    async def answer(message: Any) -> None:
        if message["type"] == "http.response.start":
            have = {name.lower() for name, _ in message["headers"]}
            extra = [(n.lower().encode(), v.encode()) for n, v in HEADERS.items() if n.lower().encode() not in have]
            if csrf:
                cookie = f"{CSRF}={csrf}; Path=/; SameSite=Strict; HttpOnly; Max-Age={COOKIE_S}"
                extra.append((b"set-cookie", cookie.encode()))
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return answer


async def _text(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def _redirect(send: Any, where: str) -> None:
    await send({"type": "http.response.start", "status": 303, "headers": [(b"location", where.encode())]})
    await send({"type": "http.response.body", "body": b""})
