"""A search service of its own over real HTTP, with a quota: ``GET /search?q=…&n=…``; 429 with Retry-After beyond it.

``python -m backplane.builtin.search_server --data-dir D --port P --quota N --window-seconds S``. While
it runs, its address is in ``<data dir>/search_server.url``, where the manifest of ``web_search`` looks for it.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from backplane.builtin.corpus import open_corpus
from backplane.builtin.files import write_whole
from backplane.builtin.index import SearchIndex, open_index
from backplane.builtin.search import CORPUS, EXCERPT_CHARS, RESULTS, answer

ADDRESS_FILE: Final = "search_server.url"
MAX_RESULTS: Final = 50
FREE_PORTS: Final = range(20_000, 32_000)
"""Below the ephemeral range: a client that probes a closed port there may be given that very port, and keep us out."""
TRIES: Final = 50


class Quota:
    """A token bucket: ``size`` requests at once, refilled evenly over ``window_seconds``."""

    def __init__(self, size: int, window_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._per_second = size / window_seconds
        self._now = now
        self._left = float(size)
        self._at = now()
        self._lock = threading.Lock()

    def take(self) -> float:
        """0.0 when a request is allowed now; else the seconds until one is."""
        with self._lock:
            now = self._now()
            self._left = min(self._size, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) / self._per_second


class SearchServer:
    """The service on a free or given port of the loopback; a context manager."""

    def __init__(self, data_dir: Path, *, quota: int, window_seconds: float, port: int = 0) -> None:
        index = open_index(data_dir, open_corpus(CORPUS.resolve(os.environ, data_dir)))
        self._server = _listen(index, Quota(quota, window_seconds), port)
        self._address_file = data_dir / ADDRESS_FILE
        self._thread = threading.Thread(target=self._server.serve_forever, name="search-server", daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SearchServer:
        self._thread.start()
        write_whole(self._address_file, self.url.encode())
        return self

    def __exit__(self, *exception: object) -> None:
        self._address_file.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """An HTTP server with what its handlers answer from."""

    def __init__(self, port: int, index: SearchIndex, quota: Quota) -> None:
        self.index = index
        self.quota = quota
        super().__init__(("127.0.0.1", port), _Handler)


def _listen(index: SearchIndex, quota: Quota, port: int) -> _Server:
    """On this port, or on a free one for 0. Raises OSError."""
    if port:
        return _Server(port, index, quota)
    for candidate in random.sample(FREE_PORTS, TRIES):
        try:
            return _Server(candidate, index, quota)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"{TRIES} ports from {FREE_PORTS[0]} to {FREE_PORTS[-1]} are all taken")


class _Handler(BaseHTTPRequestHandler):
    """Answers from the index of its server."""

    protocol_version = "HTTP/1.1"
    server_version = "backplane-search"
    server: _Server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/health":
            self._send(200, {"status": "ok"})
        elif asked.path != "/search":
            self._send(404, {"error": {"message": f"no such path: {asked.path}"}})
        else:
            self._search(parse_qs(asked.query))

    def _search(self, query: dict[str, list[str]]) -> None:
        words = query.get("q", [""])[0].strip()
        number = query.get("n", [str(RESULTS)])[0]
        characters = query.get("chars", [str(EXCERPT_CHARS)])[0]
        if not (words and number.isdecimal() and 1 <= int(number) <= MAX_RESULTS and characters.isdecimal()):
            self._send(400, {"error": {"message": f"needs q, n from 1 to {MAX_RESULTS}, and chars as a number"}})
            return
        wait = self.server.quota.take()
        if wait:
            seconds = math.ceil(wait)
            message = f"quota used up; next request in {seconds} s"
            self._send(429, {"error": {"message": message}}, {"Retry-After": str(seconds)})
            return
        params = {"query": words, "results": int(number), "excerpt_chars": int(characters)}
        self._send(200, answer(params, self.server.index))

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in the executor's facts; a second log of them helps nobody."""


def main() -> None:
    """Parses the command line and serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="search_server", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--quota", type=int, default=60, help="requests per window")
    parser.add_argument("--window-seconds", type=float, default=60.0)
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SearchServer(
        options.data_dir, quota=options.quota, window_seconds=options.window_seconds, port=options.port
    ) as server:
        print(server.url, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
