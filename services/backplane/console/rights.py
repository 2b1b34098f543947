"""Which role a page or action needs: one line a route. A route without a line is refused, and fails a test."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastapi import HTTPException, Request

from backplane.access.principals import Principal


class Right(NamedTuple):
    """The needs of a route: a role of the principal."""

    role: str
    """At least this one; empty: anybody, logged in or not."""
    restricted: bool = False
    """Also a viewer of some workflows: the route shows nothing but rows of the store, which rules of rows filter."""


OPEN: Final = Right("")
OWN_RUNS: Final = Right("viewer", restricted=True)
ALL_RUNS: Final = Right("viewer")
OPERATE: Final = Right("operator")

RIGHTS: Final = {
    ("GET", "/health"): OPEN,
    ("GET", "/static/{name:path}"): OPEN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("GET", "/login/oidc"): OPEN,
    ("GET", "/login/oidc/done"): OPEN,
    ("POST", "/theme"): OWN_RUNS,
    ("POST", "/logout"): OWN_RUNS,
    ("GET", "/"): OWN_RUNS,
    ("GET", "/runs"): OWN_RUNS,
    ("GET", "/runs/{name}"): OWN_RUNS,
    ("GET", "/runs/{name}/{tab}"): OWN_RUNS,
    ("GET", "/agents"): OWN_RUNS,
    ("GET", "/agents/{name:path}"): OWN_RUNS,
    ("GET", "/state"): OWN_RUNS,
    ("GET", "/state/version"): OWN_RUNS,
    ("GET", "/lineage"): OWN_RUNS,
    ("GET", "/lineage/{name}"): OWN_RUNS,
    ("GET", "/cost"): OWN_RUNS,
    ("GET", "/search"): OWN_RUNS,
    ("GET", "/sql"): OWN_RUNS,
    ("GET", "/live"): OWN_RUNS,
    ("GET", "/events/{topic}/{partition}/{offset}"): OWN_RUNS,
    ("GET", "/artifacts/{sha256}"): OWN_RUNS,
    ("GET", "/schemas"): OWN_RUNS,
    ("GET", "/schemas/{record}"): OWN_RUNS,
    ("GET", "/capabilities"): ALL_RUNS,
    ("GET", "/capabilities/{name:path}"): ALL_RUNS,
    ("GET", "/dead-letters"): ALL_RUNS,
    ("GET", "/dead-letters/{topic}/{partition}/{offset}"): ALL_RUNS,
    ("GET", "/topics"): ALL_RUNS,
    ("GET", "/topics/{topic}"): ALL_RUNS,
    ("GET", "/books"): ALL_RUNS,
    ("GET", "/files/{name:path}"): ALL_RUNS,
    ("GET", "/metrics"): ALL_RUNS,
    ("POST", "/dead-letters/redrive"): OPERATE,
    ("POST", "/dead-letters/discard"): OPERATE,
    ("POST", "/runs/{name}/cancel"): OPERATE,
    ("POST", "/runs/{name}/resume"): OPERATE,
    ("POST", "/capabilities/{name:path}"): OPERATE,
    ("POST", "/agents/{name:path}"): OPERATE,
}
"""(method, path of the route) → what it asks."""
SECTIONS_OF_ALL: Final = ("/capabilities", "/dead-letters", "/topics")
"""Sections that a restricted viewer has no use for."""


def problem(right: Right | None, principal: Principal) -> str:
    """Why the principal may not use a route; empty: it may."""
    if right is None:
        return "nobody may use this route"
    if not right.role:
        return ""
    if not principal.may(right.role):
        return f"{principal.name or 'you'} is a {principal.role}, and this is for an {right.role}"
    if principal.restricted and not right.restricted:
        return "this shows more than the runs of your workflows"
    return ""


def allowed(request: Request) -> None:
    """The dependency of every route. Raises HTTPException 403 where the principal may not use it."""
    route = request.scope.get("route")
    method = "GET" if request.method == "HEAD" else request.method
    right = RIGHTS.get((method, getattr(route, "path", "")))
    if why := problem(right, request.state.principal):
        raise HTTPException(403, why)
