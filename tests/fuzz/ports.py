"""Inputs for HTTP ports: requests of any method, path, header and body, also such that are no HTTP."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from tests.fuzz.values import Values

PATHS: Final = (
    *("/", "/health", "/metrics", "/inboxes", "/refused", "/ping", "/runs", "/run/x", "/books", "/dlq", "/sql"),
    *("/topics", "/topics/bp.runs", "/agents", "/search", "/live", "/static/../../etc/passwd", "//", "/%00", "/%ff"),
)
METHODS: Final = ("GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW", "get", "")
SQL: Final = (
    *("SELECT 1", "SELECT sleep(3)", "SELECT * FROM events", "INSERT INTO events VALUES (1)", "DROP TABLE events"),
    *(
        "SELECT throwIf(1)",
        "SELECT repeat('x', 100000000)",
        "SYSTEM SHUTDOWN",
        "SELECT 1; SELECT 2",
        "\0",
        "SELECT (" * 500,
    ),
    *("SELECT * FROM file('/etc/passwd')", "SELECT number FROM numbers(1000000000000)", "EXPLAIN SELECT 1", "🙂"),
)
TIMEOUT_S: Final = 10.0


def request(values: Values) -> tuple[str, bytes]:
    """A kind and the bytes of a request."""
    chance = values.random
    shape = chance.choice(("page", "page", "query", "body", "large header", "no http", "half"))
    method, path = chance.choice(METHODS), chance.choice(PATHS)
    if shape == "no http":
        return shape, chance.randbytes(chance.randint(1, 400))
    query = f"?{chance.choice(('run', 'q', 'query', 'database', 'partition', 'offset'))}={_quoted(values)}"
    if shape == "query":
        path += query
    body = chance.choice(SQL) if chance.random() < 0.5 else values.json()
    data = body.encode("utf-8", "replace") if shape == "body" else b""
    length = chance.choice((str(len(data)), str(len(data)), "-1", "9" * 30, "x")) if data else "0"
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {length}"]
    if shape == "large header":
        lines.append(f"X-Large: {'x' * chance.choice((1_000, 9_000, 70_000))}")
    made = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + data
    return shape, made[: chance.randint(1, len(made))] if shape == "half" else made


def _quoted(values: Values) -> str:
    text = values.random.choice(("", "x", "%00", "%ff%fe", "..%2f..", "-1", "9" * 40, "%F0%9F%99%82", "a" * 3_000))
    return f"{text}&{text}=1"


def send(port: int, data: bytes) -> None:
    """Sends it and reads what comes; whatever comes."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
