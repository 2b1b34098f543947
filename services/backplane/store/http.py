"""ClickHouse's own HTTP interface over the embedded engine, reading only: clickhouse-connect, Grafana and curl talk to
it as to a server. The protocol: https://clickhouse.com/docs/interfaces/http

``/`` answers queries, ``/ping`` says ``Ok.``, ``/health`` tells how the sink does, ``/metrics`` the same to
Prometheus. On loopback any user and password are let in, unless a password is set or the platform has principals;
elsewhere one of both must be.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from agents_sdk.core.identity import SINK
from backplane.access.gate import Gate
from backplane.access.principals import ANYBODY, Principal, login_of, token_of
from backplane.access.row_rules import filters
from backplane.metrics import catalogue
from backplane.metrics.exposition import CONTENT_TYPE, Metrics
from backplane.runtime.http_guard import BODY_S, HANDLER_ARGS, guarded
from backplane.runtime.origin import loopback
from backplane.store.engine import LIMITS, Answer, Engine, QueryFailed
from backplane.store.formats import FORMATTING

Health = Callable[[], Awaitable[dict[str, Any]]]

TOTALS: Final = {catalogue.ROWS: "rows", catalogue.SINK_DEAD: "dead_letters", catalogue.SINK_LOST: "lost"}
"""Counters → what the process's health calls them."""
CONCURRENT: Final = 4
"""Queries at a time; more wait their turn, so that ingestion keeps a share of the machine."""
MAX_QUERY_BYTES: Final = 4 * 2**20
TRANSPORT: Final = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key", "role", "readonly"),
        *("session_id", "session_timeout", "session_check", "wait_end_of_query", "buffer_size", "decompress"),
        *("enable_http_compression", "client_protocol_version", "add_http_cors_header", "stacktrace"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
        "cancel_http_readonly_queries_on_client_close",
    )
)
"""Parameters about the connection, which the embedded engine does not know; accepted so that clients work unchanged."""
QUERY_ID: Final = re.compile(r"[\w.-]{1,100}")
"""It goes into a header of the answer."""
BAD_REQUEST: Final = frozenset({6, 26, 27, 38, 41, 53, 62, 69, 70, 72, 73, 130, 386, 456, 457, 1000})
NOT_FOUND: Final = frozenset({16, 46, 47, 60, 81, 82, 115})
STATUS: Final = {
    **dict.fromkeys(BAD_REQUEST, 400),
    **dict.fromkeys(NOT_FOUND, 404),
    159: 408,
    516: 403,
    396: 413,
    497: 403,
}
"""ClickHouse's code → HTTP status, as a server has it; all others are 500."""
NOT_IMPLEMENTED: Final = 48
WORKFLOWS_HEADER: Final = "x-backplane-workflows"
"""A JSON list of workflows: the request is to see the runs of these alone. Anybody may ask for less than is allowed."""
NOT_LET_IN: Final = (
    "Code: 516. DB::Exception: Authentication failed: password is incorrect, or there is no user with such name. "
    "(AUTHENTICATION_FAILED)"
)
"""A server's own words; it does not say which of the two."""
TOO_SLOW: Final = f"Code: 159. DB::Exception: the body did not arrive within {BODY_S:.0f} s. (TIMEOUT_EXCEEDED)"


class StatementRequest(NamedTuple):
    """One request, taken apart."""

    sql: str
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str
    whole: bool
    query_id: str
    rules: str


class Login(NamedTuple):
    """The user and password of the store's own settings, who may see all."""

    username: str
    password: str

    def lets_in(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether a request has them, in any of the three ways that ClickHouse knows."""
        user, password = login_of(headers, query)[0], token_of(headers, query)
        same = hmac.compare_digest(_bytes(password), _bytes(self.password))
        return hmac.compare_digest(_bytes(user), _bytes(self.username)) and same


def _bytes(text: str) -> bytes:
    """Of a header whatever is in it: aiohttp hands bytes that are no UTF-8 on as halves of characters."""
    return text.encode("utf-8", "surrogatepass")


class Door:
    """Users of the store's port: holders of its login, else the platform's principals."""

    def __init__(self, gate: Gate | None = None, login: Login | None = None, host: str = "127.0.0.1") -> None:
        self._gate = gate
        self._login = login
        self.host = host

    def principal(self, request: web.Request) -> Principal | None:
        """The sender of the request; None: nobody who may ask anything."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self._login is not None and self._login.lets_in(headers, request.query):
            found: Principal | None = Principal(self._login.username, "admin")
        elif self._gate is not None and self._gate.asks:
            found = self._gate.principal(headers, request.query)
        else:
            found = ANYBODY if self._login is None and loopback(self.host) else None
        narrowed = headers.get(WORKFLOWS_HEADER)
        if found is None or found.restricted or narrowed is None:
            return found
        return Principal(found.name, "viewer", msgspec.json.decode(narrowed, type=tuple[str, ...]))


def make_server(engine: Engine | None, health: Health, door: Door | None = None, database: str = "backplane") -> Any:
    """The application. Without an engine it tells its health and nothing else.

    Args:
        engine: what answers queries.
        health: what ``/health`` tells.
        door: who is let in; everybody where it is left out.
        database: the store's own, to which principals with rules of rows are kept.
    """
    door = door or Door()
    app = web.Application(client_max_size=MAX_QUERY_BYTES, middlewares=[guarded(door.host)], handler_args=HANDLER_ARGS)
    turns = asyncio.Semaphore(CONCURRENT)
    metrics = Metrics("sink")

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def health_page(request: web.Request) -> web.Response:
        said = await health()
        shown = said if await asyncio.to_thread(door.principal, request) else {"status": said.get("status", "")}
        return web.json_response(shown, status=200 if said.get("status") == "ok" else 503)

    async def metrics_page(request: web.Request) -> web.Response:
        known = await asyncio.to_thread(door.principal, request)
        if known is None or known.restricted:
            return web.Response(status=401, text="show a token of somebody who may see all: Authorization: Bearer …\n")
        said = await health()
        for row, name in TOTALS.items():
            metrics.reach(row, said.get(name, 0))
        return web.Response(body=metrics.render(said, SINK), headers={"Content-Type": CONTENT_TYPE})

    async def query(request: web.Request) -> web.StreamResponse:
        if engine is None:
            return web.Response(status=404, text="the store is an external ClickHouse server; ask that\n")
        named = request.query.get("query_id", "")
        query_id = named if QUERY_ID.fullmatch(named) else str(uuid.uuid4())
        try:
            asked = await _in_time(_asked(request, query_id, await _known(door, request), database))
            async with turns:
                return await _answered(request, engine, asked)
        except QueryFailed as failure:
            return _failed(failure, query_id)

    app.router.add_get("/ping", ping)
    app.router.add_get("/health", health_page)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_route("*", "/", query)
    return app


async def _known(door: Door, request: web.Request) -> Principal:
    found = await asyncio.to_thread(door.principal, request)
    if found is None:
        raise QueryFailed(NOT_LET_IN)
    return found


async def _in_time(asked: Awaitable[StatementRequest]) -> StatementRequest:
    """The request, if its body arrives in time. Raises QueryFailed."""
    try:
        async with asyncio.timeout(BODY_S):
            return await asked
    except TimeoutError as error:
        raise QueryFailed(TOO_SLOW) from error


async def _asked(request: web.Request, query_id: str, known: Principal, database: str) -> StatementRequest:
    given: dict[str, str] = dict(request.query)
    sql = given.get("query", "")
    if request.method == "POST":
        if request.content_type == "multipart/form-data":
            form = {name: str(value) for name, value in (await _form(request)).items()}
            sql = form.pop("query", sql)
            given |= form
        else:
            body = _text(await request.read())
            sql = f"{sql}\n{body}" if sql and body else sql or body
    if not sql.strip():
        sql = "SELECT 'Ok.'"
    named = given.get("database") or request.headers.get("X-ClickHouse-Database") or ""
    return StatementRequest(
        sql,
        {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")},
        _settings({name: value for name, value in given.items() if not name.startswith("param_")}),
        database if known.restricted else named,
        given.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated",
        given.get("wait_end_of_query") == "1",
        query_id,
        filters(database, known.workflows) if known.workflows is not None else "",
    )


async def _form(request: web.Request) -> Mapping[str, Any]:
    """The parts of a form; what reads them raises whatever it likes about one that is malformed. Raises QueryFailed."""
    try:
        return await request.post()
    except web.HTTPException:
        raise
    except Exception as error:
        message = f"Code: 62. DB::Exception: the form is malformed: {type(error).__name__}. (SYNTAX_ERROR)"
        raise QueryFailed(message) from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise QueryFailed(f"Code: 62. DB::Exception: the statement is no UTF-8: {error}. (SYNTAX_ERROR)") from error


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """The settings a request may make: how the result is written, and limits below ours. Raises QueryFailed."""
    made: dict[str, str] = {}
    for name, value in given.items():
        if name in TRANSPORT or (name == "compress" and value == "0"):
            continue
        limit = LIMITS.get(name)
        if name in FORMATTING:
            made[name] = value
        elif isinstance(limit, int) and value.isdecimal():
            made[name] = str(min(int(value) or limit, limit))
        elif limit != value:
            raise QueryFailed(f"Code: 164. DB::Exception: Cannot modify '{name}' setting in readonly mode. (READONLY)")
    return made


async def _answered(request: web.Request, engine: Engine, asked: StatementRequest) -> web.StreamResponse:
    answer = await asyncio.to_thread(
        engine.query,
        asked.sql,
        asked.parameters,
        asked.settings,
        asked.database,
        asked.default_format,
        asked.whole,
        asked.rules,
    )
    # Taken before the headers go out: most queries that fail do so before their first block.
    first = await asyncio.to_thread(next, answer.chunks, b"")
    response = web.StreamResponse(headers=_headers(asked, answer))
    await response.prepare(request)
    chunk: bytes = first
    try:
        while chunk:
            await response.write(chunk)
            chunk = await asyncio.to_thread(next, answer.chunks, b"")
    except QueryFailed:
        # Status and headers are gone: cutting the connection is what tells a client that this is not the whole.
        if request.transport is not None:
            request.transport.abort()
        return response
    finally:
        answer.close()
    await response.write_eof()
    return response


def _headers(asked: StatementRequest, answer: Answer) -> dict[str, str]:
    return {
        "Content-Type": "application/json; charset=UTF-8" if "JSON" in answer.format else "text/plain; charset=UTF-8",
        "X-ClickHouse-Format": answer.format,
        "X-ClickHouse-Query-Id": asked.query_id,
        "X-ClickHouse-Summary": json.dumps(answer.summary),
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Server-Display-Name": "backplane",
    }


def _failed(failure: QueryFailed, query_id: str) -> web.Response:
    return web.Response(
        status=STATUS.get(failure.code, 501 if failure.code == NOT_IMPLEMENTED else 500),
        text=f"{failure}\n",
        headers={
            "X-ClickHouse-Exception-Code": str(failure.code),
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": "UTC",
        },
    )
