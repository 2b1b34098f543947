"""``backplane console``: opens the platform's console in a browser, or serves one where none runs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from agents_sdk.settings import load_settings
from backplane.cli.output import CommandError, DataDir, ExitCode, message

if TYPE_CHECKING:
    from backplane.platform.layout import Layout

LOOPBACK: Final = "127.0.0.1"


def console(
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="The port; 0: a free one.")] = 0,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; beyond this machine, with a token.")
    ] = LOOPBACK,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the token to be shown; made where there is none.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, and open no browser.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Open the console in a browser: runs, lineage, cost, state, dead letters, SQL.

    The local platform brings one; without such, or with an address or port of its own, one is served until Ctrl-C.
    """
    from backplane.access.principals import path_of, service_path_of, service_token
    from backplane.platform.layout import Layout
    from backplane.runtime.origin import loopback

    layout = Layout(settle_data_dir(data_dir))
    if not loopback(host) and token_file is None and not path_of(layout.data_dir).exists():
        way = "add --token-file FILE, or say who may come in: `backplane access add NAME --role viewer`"
        raise CommandError("usage", f"{host} can be reached by other machines", way)
    running = _running(layout)
    if running and host == LOOPBACK and token_file is None and port in (0, running):
        asks = bool(service_token(layout.data_dir))
        _show(f"http://{LOOPBACK}:{running}/", no_open, service_path_of(layout.data_dir) if asks else None)
        return
    token = _token(token_file) if token_file else ""
    _serve(host, port or _free(), token, no_open, data_dir, token_file)


def _running(layout: Layout) -> int:
    """The port of the platform's own console; 0 where there is none."""
    if not layout.running():
        return 0
    part = layout.read_record().get("parts", {}).get("console", {})
    return int(part["port"]) if part.get("state") == "ready" else 0


def _token(file: Path) -> str:
    """The file's content; it is made for its owner alone where it is not there yet."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(24) + "\n")
        message(f"a token was made: {file}")
    token = file.read_text().strip()
    if len(token) < 16:
        raise CommandError("usage", f"the token in {str(file)!r} has less than 16 characters", "remove the file")
    return token


def _free() -> int:
    from backplane.platform.ports import choose

    return choose(["console"], {})["console"]


def _serve(host: str, port: int, token: str, no_open: bool, data_dir: Path | None, token_file: Path | None) -> None:
    import asyncio

    from backplane.console.__main__ import serve

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    shown = LOOPBACK if host in ("0.0.0.0", "::") else host
    where = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    _show(where, no_open, token_file)
    message("stop it with Ctrl-C")
    asyncio.run(serve(settings, port, host, token))
    raise typer.Exit(ExitCode.INTERRUPTED)


def _show(address: str, no_open: bool, token_file: Path | None = None) -> None:
    """Prints the address, and where the token is that the console asks for. A browser is started with its address on
    the command line, which others on this machine can read: so it is not given the token."""
    import webbrowser

    print(address, flush=True)
    if token_file is not None:
        message(f"log in with the token in {token_file}")
    if not no_open:
        webbrowser.open(address)
