"""A provider that counts its effects. It knows idempotency keys and does not act on them: whoever sends one twice is to
be found out."""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

TAKES_S: Final = 0.25
"""At most, before the effect and after it again: what a kill finds in the middle."""
CANNOT_TELL: Final = 10
"""It cannot say of one call in so many what became of it."""


class Till:
    """The server, on a free port of this machine; ``till.url`` in the data directory says where."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self.effects: Counter[str] = Counter()
        """Call → how often it was done."""
        self.asked: Counter[str] = Counter()
        """Call → how often it was asked what became of it."""
        self.begun = 0
        """Requests for the effect that came."""
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._data_dir = data_dir
        till = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._answer(200, {"number": till.charge(self.headers["idempotency-key"])})

            def do_GET(self) -> None:
                self._answer(*till.tell(self.path.rpartition("/")[2]))

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                raw = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    self.close_connection = True  # whoever asked was killed

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever asked was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Till:
        (self._data_dir / "till.url").write_text(f"http://127.0.0.1:{self._server.server_port}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def charge(self, call_id: str) -> int:
        """The effect, in the middle of a while."""
        with self._lock:
            self.begun += 1
            before, after = self._chance.uniform(0, TAKES_S), self._chance.uniform(0, TAKES_S)
        time.sleep(before)
        with self._lock:
            self.effects[call_id] += 1
            number = self.effects.total()
        time.sleep(after)
        return number

    def tell(self, call_id: str) -> tuple[int, dict[str, Any]]:
        """What became of a call."""
        with self._lock:
            self.asked[call_id] += 1
            done = self.effects[call_id] > 0
            number = self.effects.total()
        if cannot_tell(call_id):
            return 503, {"error": {"message": "ask the bank"}}
        return (200, {"happened": True, "number": number}) if done else (404, {"happened": False})


def cannot_tell(call_id: str) -> bool:
    """Whether the till never says what became of this call."""
    return zlib.crc32(call_id.encode()) % CANNOT_TELL == 0
