"""A server on the loopback that answers as servers do on good and on bad days; its path says which."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HUGE = 3_000_000


class Server(ThreadingHTTPServer):
    """Remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.release = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    """The first part of the path says how to behave."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        asked = urlsplit(self.path)
        self.server.seen.append(
            {"path": self.path, "query": parse_qs(asked.query), "headers": dict(self.headers), "body": body}
        )
        getattr(self, asked.path.strip("/").split("/")[0])()

    do_GET = do_POST  # noqa: N815  # the name that http.server calls

    def ok(self) -> None:
        self._send(200, json.dumps({"data": {"text": "hello"}, "usage": {"in": 5, "out": 7}, "model": "m-1"}).encode())

    def limited(self) -> None:
        self._send(429, b'{"error": {"message": "slow down"}}', **{"retry-after": "12"})

    def broken(self) -> None:
        self._send(500, b"<html>oops</html>")

    def moved(self) -> None:
        self._send(302, b"", location="http://127.0.0.1:9/elsewhere")

    def html(self) -> None:
        self._send(200, b"<html>login</html>", **{"content-type": "text/html"})

    def empty(self) -> None:
        self._send(200, b"")

    def malformed(self) -> None:
        self._send(200, b'{"data": {"text": "hel')

    def truncated(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"data":')
        self.close_connection = True

    def huge(self) -> None:
        self._send(200, b'"' + b"x" * HUGE + b'"')

    def flood(self) -> None:
        self._send(200, b'"' + b"x" * 10 * 1024 * 1024 + b'"')

    def gone(self) -> None:
        self.send_response(204)
        self.end_headers()

    def endless(self) -> None:
        self._chunks(b'{"data": "', forever=b"x" * 65_536, pause=0.0)

    def drip(self) -> None:
        self._chunks(b" ", forever=b" ", pause=0.02)

    def silent(self) -> None:
        self.server.release.wait(5)
        self.close_connection = True

    def hangup(self) -> None:
        self.close_connection = True
        self.connection.close()

    def model_text(self) -> None:
        inner = json.dumps({"text": "hello"})
        self._send(
            200, json.dumps({"choices": [{"message": {"content": inner}}], "usage": {"in": 1, "out": 2}}).encode()
        )

    def model_chat(self) -> None:
        self._send(200, json.dumps({"choices": [{"message": {"content": "Sure! Here it is"}}]}).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chunks(self, first: bytes, *, forever: bytes, pause: float) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunk = first
        while not self.server.release.wait(pause):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            chunk = forever

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
