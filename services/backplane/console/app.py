"""The application: pages, live streams, files of ours, all within the guard; and how errors look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from agents_sdk.errors import BackplaneError, Refused, Unreachable
from backplane.console.access import BODY_BYTES, BODY_S, AccessMiddleware
from backplane.console.desk import ConsoleContexts, desk_of
from backplane.console.measured import RequestMetrics
from backplane.console.rights import allowed
from backplane.console.routes import (
    agents,
    capabilities,
    cost,
    files,
    letters,
    lineage,
    login,
    overview,
    runs,
    schemas,
    search,
    sql,
    state,
    streams,
    topics,
)
from backplane.console.sessions import Sessions

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

PAGES: Final = (
    *(overview, runs, agents, state, lineage, cost, capabilities, letters, topics, schemas, sql, search),
    *(streams, files, login),
)
STATUS_OF: Final = {
    **dict.fromkeys(("unknown_run", "unknown_agent", "unknown_capability", "unknown_artifact", "not_found"), 404),
    **dict.fromkeys(("query_failed", "usage"), 400),
    "auth": 403,
    "outdated": 409,
    "too_large": 413,
}
"""An error's code → HTTP status; unreachable is 503, a refusal 409, anything else 500."""


def make_app(settings: Settings, *, token: str = "", host: str = "127.0.0.1") -> Any:
    """The ASGI application. ``token``: its holder may do all. Empty: the platform's principals alone count, and on
    loopback everybody, where it has none."""
    app = FastAPI(title="Backplane console", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.desks = desks = ConsoleContexts(settings)
    app.state.sessions = sessions = Sessions(settings, token)
    for page in PAGES:
        app.include_router(page.router, dependencies=[Depends(allowed)])
    app.add_exception_handler(BackplaneError, _error_response)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ClientDisconnect, _cut)
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(Exception, _broken)
    return RequestMetrics(AccessMiddleware(app, sessions, host), desks.all.metrics)


def _status(error: BackplaneError) -> int:
    if isinstance(error, Unreachable):
        return 503
    return STATUS_OF.get(error.code, 409 if isinstance(error, Refused) else 500)


def _error_response(request: Request, error: Any) -> Response:
    """A typed error as a page: what, and what to do next."""
    return desk_of(request).page(
        request, "problem.html.j2", _status(error), what=error.message, hint=error.hint, code=error.code
    )


def _broken(request: Request, error: Any) -> Response:
    """An error of ours: its type only, since its text may hold anything; the log has it all."""
    hint = "the console's log has the traceback: `backplane logs console`"
    return desk_of(request).page(
        request, "problem.html.j2", 500, what=f"this page broke: {type(error).__name__}", hint=hint, code="internal"
    )


def _refused(request: Request, error: Any) -> Response:
    return desk_of(request).page(
        request, "problem.html.j2", error.status_code, what=str(error.detail), hint="", code="refused"
    )


def _cut(request: Request, error: Any) -> Response:
    """A body that did not arrive whole: its sender is gone, or counts as gone."""
    what = f"the form did not arrive whole within {BODY_S:.0f} s, or has more than {BODY_BYTES} bytes"
    return desk_of(request).page(request, "problem.html.j2", 400, what=what, hint="", code="refused")


def _not_found(request: Request, error: Any) -> Response:
    detail = getattr(error, "detail", "")
    what = f"there is no page {request.url.path!r}" if detail in ("", "Not Found") else str(detail)
    return desk_of(request).page(request, "problem.html.j2", 404, what=what, hint="", code="not_found")
