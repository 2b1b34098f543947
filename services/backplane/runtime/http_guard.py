"""The middleware of each aiohttp server of ours: it refuses requests that another site's page may have sent, and
answers malformed ones without a traceback."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Collection
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from backplane.access.gate import Gate
from backplane.runtime.origin import refusal

log = logging.getLogger("backplane.http")

HEALTH: Final = "/health"
MALFORMED: Final = (ValueError, LookupError, OverflowError, RecursionError, web.RequestPayloadError)
"""Raised by whatever reads a request: bytes that are no UTF-8, charsets that nobody knows, forms without an end."""
CLIENTS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError, zlib.error)
"""Faults of the client that aiohttp logs with a traceback."""
IDLE_S: Final = 60.0
"""How long a connection may be open without a whole head of a request: by aiohttp's default it is an hour."""
HANDLER_ARGS: Final = {"keepalive_timeout": IDLE_S}
"""Each ``web.Application`` of ours gets these. Else anybody who sends nothing uses up the process's open files."""
BODY_S: Final = 30.0
"""How long the body of a request may take to arrive."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}
"""A browser shows no answer of these servers as a page, and no other site may embed one."""


def _own_fault(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's log is about a fault of this server."""
    return not (record.exc_info and isinstance(record.exc_info[1], CLIENTS))


async def _unrestricted(gate: Gate, request: web.Request) -> bool:
    """Whether the sender may know about all runs."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    found = await asyncio.to_thread(gate.principal, headers, request.query)
    return found is not None and not found.restricted


def _status_alone(response: web.StreamResponse) -> web.StreamResponse:
    """A report of health for everybody: how much there is to do is not theirs to know."""
    said = json.loads(response.text or "{}") if isinstance(response, web.Response) else {}
    return web.json_response({"status": said.get("status", "")}, status=response.status)


def guarded(listening: str, paths: Collection[str] = (), gate: Gate | None = None) -> Any:
    """A middleware for a server that listens at ``listening``.

    Args:
        listening: the address; see ``origin.refusal``.
        paths: the only ones that are answered; empty: all that have a handler.
        gate: visitors that see more than whether all is well; left out: the handlers see to it.
    """
    logging.getLogger("aiohttp.server").addFilter(_own_fault)

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers
        site = given.get("Sec-Fetch-Site", "")
        refused = refusal(given.getall("Host", []), given.getall("Origin", []), site, listening)
        if refused is not None:
            return web.Response(status=refused.status, text=f"{refused.reason}\n", headers=HEADERS)
        if paths and request.path not in paths:
            return web.Response(status=404, text="no such page\n", headers=HEADERS)
        unrestricted = gate is None or await _unrestricted(gate, request)
        if not unrestricted and request.path != HEALTH:
            return web.Response(status=401, text="show a token: Authorization: Bearer …\n", headers=HEADERS)
        try:
            response: web.StreamResponse = await handler(request)
        except MALFORMED as error:
            log.info("malformed request to %s: %s: %.200r", request.path, type(error).__name__, str(error))
            return web.Response(status=400, text=f"malformed request: {type(error).__name__}\n", headers=HEADERS)
        except ConnectionError:
            log.debug("the client of %s went away", request.path)
            return web.Response()
        if not unrestricted:
            response = _status_alone(response)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guard
