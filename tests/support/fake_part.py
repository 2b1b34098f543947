"""A part that behaves as told: ``python -m tests.support.fake_part --data-dir D --http-port N [--mode M]``.

Modes: ``well`` serves /health; ``deadly`` dies three times at its work before it does; ``refuse`` ends with a reason at
once; ``deaf`` ignores SIGTERM; ``parent`` has a child.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from backplane.platform.parts import NO_NEEDS, SPARE, Launch, Part, Site, python_part
from backplane.platform.policy import Node


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "ok", "lag": {"bp.commands": 7, "bp.runs": 1}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def part(name: str, mode: str = "well", node: Node = NO_NEEDS) -> Part:
    """A row for a table of parts."""
    made = python_part(name, "tests.support.fake_part")

    def launch(site: Site) -> Launch:
        usual = made.launch(site)
        assert usual is not None
        return Launch([*usual.argv, "--mode", mode], usual.env)

    return Part(name, launch, node, (name,), made.ready, worker=True)


WELL: Final = (part("first"), part("second", node=Node(after=("first",))))
REFUSING: Final = (part("first"), part("second", "refuse", Node(after=("first",))))
DEAF: Final = (part("first", "deaf"),)
SPARED: Final = (replace(part("first"), spare=True),)
DEADLY: Final = (part("first", "deadly", Node(notes=True)),)
DEADLY_WITHOUT_NOTES: Final = (part("first", "deadly"),)
PARENT: Final = (part("first", "parent"),)


def die_at_work(deaths: Path, port: int) -> None:
    """Listens, is not ready, and is killed; three times."""
    count = len(deaths.read_bytes()) if deaths.exists() else 0
    if count < 3:
        deaths.write_bytes(b"x" * (count + 1))
        server = socket.create_server(("127.0.0.1", port))
        server.accept()
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGSEGV)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--http-port", type=int)
    parser.add_argument("--mode", default="well")
    given = parser.parse_args()
    if os.environ.get(SPARE) and not os.read(0, 1):
        return
    if given.mode == "refuse":
        print("the reason is this")
        sys.exit(3)
    if given.mode == "deadly":
        die_at_work(given.data_dir / "deaths", given.http_port)
    if given.mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if given.mode == "parent":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (given.data_dir / "grandchild.pid").write_text(str(child.pid))
    print("serving", flush=True)
    HTTPServer(("127.0.0.1", given.http_port), Health).serve_forever()


if __name__ == "__main__":
    main()
