"""A real HTTP server on the loopback whose answers a test writes down."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """A response; ``content`` that is no bytes is sent as JSON."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    """Bytes that are announced and not sent."""
    hold: bool = False
    """Sent only when the server is released."""
    forever: bytes = b""
    """Sent again and again until the client has enough."""


Script = Callable[[Asked], Reply]


class Server(ThreadingHTTPServer):
    """Answers by ``script``; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, script: Script | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script = script or (lambda asked: Reply({}))
        self.asked: list[Asked] = []
        self.release = threading.Event()
        self._scheme = "https" if tls else "http"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def replies(self, *replies: Reply) -> None:
        """These one after the other, the last one again and again."""
        left = list(replies)
        self.script = lambda asked: left.pop(0) if len(left) > 1 else left[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each response takes 40 ms
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        target = urlsplit(self.path)
        asked = Asked(
            method=self.command,
            path=target.path,
            query={name: values[0] for name, values in parse_qs(target.query, keep_blank_values=True).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        self.server.asked.append(asked)
        reply = self.server.script(asked)
        if reply.hold:
            self.server.release.wait(10)
        content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
        self.send_response(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if reply.forever:
            self.end_headers()
            self.close_connection = True
            while not self.server.release.is_set():
                self.wfile.write(reply.forever)
            return
        self.send_header("content-length", str(len(content) + reply.cut))
        self.end_headers()
        self.wfile.write(content)
        if reply.cut:
            self.close_connection = True

    do_GET = do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815  # the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving(script: Script | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The server while the block runs."""
    server = Server(script, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
