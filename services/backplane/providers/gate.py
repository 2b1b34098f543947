"""The way out of providers that are reached over HTTP: directly to addresses that are allowed, or through a proxy.

The address of each connection was checked as it is: names are resolved here, once, and not again. It holds for every
connection: the first, a repeated one, a redirect, another host that a response named.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from agents_sdk.proxies import proxy_for
from backplane.manifests import egress

NEXT_S: Final = 3.0
"""For one address of several to answer."""


class AllowedAddresses:
    """The addresses that one provider may reach."""

    def __init__(
        self,
        policy: egress.Policy,
        meant: egress.NamedPlaces | Callable[[], egress.NamedPlaces],
        environment: Mapping[str, str],
    ) -> None:
        self._policy = policy
        self._meant = meant
        self._environment = environment

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to. Raises egress.Refused, socket.gaierror."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        resolved = list(dict.fromkeys(str(each[4][0]) for each in found))
        meant = self._meant() if not isinstance(self._meant, egress.NamedPlaces) else self._meant
        refusals = {each: egress.refusal(self._policy, meant, host, port, each) for each in resolved}
        allowed = [each for each in resolved if not refusals[each]]
        if not allowed:
            raise egress.Refused(next(iter(refusals.values()), f"{host} has no address"))
        return allowed

    async def proxy(self, url: Any) -> str | None:
        """The proxy of a request; None: it goes directly. Through one, what is known to be private is refused as well;
        a name that only the proxy can resolve is the proxy's to judge. Raises egress.Refused, ProxyUnusable."""
        proxy = proxy_for(str(url), self._environment)
        if proxy is None:
            return None
        place = egress.place_of(str(url))
        try:
            if place is not None:
                await self.addresses(*place)
        except OSError:
            pass
        return proxy.url


class _CheckedBackend:
    """A network backend of httpcore that connects to allowed addresses only."""

    def __init__(self, inner: Any, way: AllowedAddresses) -> None:
        self._inner = inner
        self._way = way

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """A connection to the first of the host's addresses that answers."""
        try:
            addresses = await self._way.addresses(host, port)
        except OSError as error:
            raise _library(self._inner).ConnectError(str(error)) from error
        *others, last = addresses
        for address in others:
            try:
                async with asyncio.timeout(NEXT_S):
                    return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (TimeoutError, _library(self._inner).ConnectError):
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> Any:
        """None: no provider is reached so."""
        raise egress.Refused(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """As httpcore's."""
        await self._inner.sleep(seconds)


def _library(backend: Any) -> Any:
    import importlib

    return importlib.import_module(type(backend).__module__.partition(".")[0])


def transport(library: ModuleType, way: AllowedAddresses, **options: Any) -> Any:
    """A transport of ``library`` (httpx or httpx2) for this way; ``options`` are those of its AsyncHTTPTransport."""

    class Gate(library.AsyncBaseTransport):  # type: ignore[misc, name-defined]  # of a library known at run time
        """Directly, or through the proxy that the environment names for the address."""

        def __init__(self) -> None:
            self._by_proxy: dict[str | None, Any] = {}

        async def handle_async_request(self, request: Any) -> Any:
            proxy = await way.proxy(request.url)
            if proxy not in self._by_proxy:
                self._by_proxy[proxy] = _made(library, way, proxy, options)
            return await self._by_proxy[proxy].handle_async_request(request)

        async def aclose(self) -> None:
            made, self._by_proxy = self._by_proxy, {}
            for each in made.values():
                await each.aclose()

    return Gate()


def _made(library: ModuleType, way: AllowedAddresses, proxy: str | None, options: dict[str, Any]) -> Any:
    made = library.AsyncHTTPTransport(proxy=proxy, trust_env=False, **options)
    if proxy is None:
        pool = made._pool
        pool._network_backend = _CheckedBackend(pool._network_backend, way)
    return made
