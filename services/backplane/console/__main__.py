"""``python -m backplane.console --data-dir D --http-port N``: serves the console until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agents_sdk import core_dumps
from agents_sdk.settings import load_settings

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

CONNECTIONS: Final = 2048
"""At a time. One that sends nothing is closed after 30 s; by granian's default 128 of them shut out everybody else."""


def main() -> None:
    """Parses, wires, serves."""
    core_dumps.forbid(wholly=True)
    parser = argparse.ArgumentParser(prog="python -m backplane.console", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the platform's data directory")
    parser.add_argument("--http-port", type=int, required=True, help="the port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--token-file", type=Path, help="file with the token that has to be shown")
    given = parser.parse_args()
    overrides = {"data_dir": given.data_dir} if given.data_dir else {}
    token = given.token_file.read_text().strip() if given.token_file else ""
    from backplane.access.principals import path_of
    from backplane.runtime.origin import loopback

    if not token and not loopback(given.host) and not path_of(load_settings(**overrides).data_dir).exists():
        parser.error(f"--host {given.host} can be reached by other machines: give it a --token-file")
    sys.exit(asyncio.run(serve(load_settings(**overrides), given.http_port, given.host, token)))


async def serve(settings: Settings, port: int, host: str = "127.0.0.1", token: str = "") -> int:
    """Serves until it is stopped; one process, one worker, its Python on this loop."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    from backplane.console.app import make_app

    app = make_app(settings, token=token, host=host)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        # nothing else is used: what nobody speaks, nobody attacks by
        http=HTTPModes.http1,
        websockets=False,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        log_enabled=True,
        log_access=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
    return 0


if __name__ == "__main__":
    main()
