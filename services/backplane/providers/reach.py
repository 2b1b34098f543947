"""Whether a provider is there at all: its program, or something that listens where it is. One TCP connection now and
then, no request, no credentials."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from agents_sdk.proxies import ProxyUnusable, proxy_for
from backplane.manifests.model import Provider

CONNECT_TIMEOUT_S: Final = 2.0
AGAIN_S: Final = 30.0
"""How long an endpoint that answered is taken to be there; one that did not is asked at every beat."""
PORTS: Final = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a provider listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def endpoint_of(provider: Provider, environment: Mapping[str, str], data_dir: Path) -> Endpoint | None:
    """The provider's address; None: nowhere that a connection of ours would show anything about, as in a process, or
    through a proxy."""
    where = provider.address()
    if where is None:
        return None
    url = urlsplit(where.resolve(environment, data_dir))
    try:
        port = url.port or PORTS.get(url.scheme)
    except ValueError:
        return None
    if not url.hostname or port is None or _proxied(url.scheme, url.hostname):
        return None
    return Endpoint(url.hostname, port)


def missing_program(provider: Provider, environment: Mapping[str, str], data_dir: Path) -> str:
    """The program that the provider would start and that is not there; "" where it is, or there is none to start."""
    program, folder = provider.program()
    if not program:
        return ""
    place = data_dir / folder / program if "/" in program else Path(program)
    return "" if shutil.which(place, path=environment.get("PATH")) else f"the program {program!r}"


def _proxied(scheme: str, host: str) -> bool:
    try:
        return proxy_for(f"{scheme}://[{host}]" if ":" in host else f"{scheme}://{host}", os.environ) is not None
    except ProxyUnusable:
        return True


class Reach:
    """Findings about endpoints."""

    def __init__(self) -> None:
        self.down: dict[Endpoint, str] = {}
        """Endpoint → why it cannot be reached."""
        self._asked_at: dict[Endpoint, float] = {}

    async def look(self, endpoints: Iterable[Endpoint]) -> None:
        """Asks those that are due, all at once; returns within ``CONNECT_TIMEOUT_S``."""
        now = asyncio.get_running_loop().time()
        wanted = set(endpoints)
        for gone in self._asked_at.keys() - wanted:
            del self._asked_at[gone]
            self.down.pop(gone, None)
        due = [each for each in wanted if each in self.down or now >= self._asked_at.get(each, now - AGAIN_S) + AGAIN_S]
        for endpoint, why in zip(due, await asyncio.gather(*map(_why_down, due)), strict=True):
            self._asked_at[endpoint] = now
            if why:
                self.down[endpoint] = why
            else:
                self.down.pop(endpoint, None)


async def _why_down(endpoint: Endpoint) -> str:
    """Why nothing answers there; "" when something does."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except TimeoutError:
        return f"is out of reach: {endpoint} does not answer within {CONNECT_TIMEOUT_S:g} s"
    except OSError as error:
        return f"is out of reach: {endpoint}: {error.strerror or error}"
    writer.close()
    return ""
