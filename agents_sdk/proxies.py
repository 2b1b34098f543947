"""Which proxy the environment names for an address; loopback never goes through one. Pure but for ``unread``.

Desktops and companies set ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` in many spellings. The libraries that read
them raise at some of them, whatever they are asked for. So they are read here, and errors name the variable.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import threading
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, NamedTuple
from urllib.parse import urlsplit

from agents_sdk.errors import BackplaneError

USABLE: Final = ("http", "https")
SOCKS: Final = ("socks5", "socks5h")
"""Usable where the package ``socksio`` is there."""
VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_LOCK: Final = threading.Lock()


class ProxyUnusable(BackplaneError):
    """A variable names a proxy that cannot be used; ``fields["variable"]`` is its name."""

    code: ClassVar[str] = "proxy_unusable"


class Proxy(NamedTuple):
    """A proxy, and the variable that names it."""

    url: str
    variable: str


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that a request to this address goes through; None: it goes there directly. Raises ProxyUnusable."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if on_loopback(host) or _excepted(host, _port(url), environment):
        return None
    found = _named(f"{parts.scheme.lower()}_proxy", environment) or _named("all_proxy", environment)
    return _usable(*found) if found else None


def on_loopback(host: str) -> bool:
    """Whether a host, as it stands in an address, is this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@contextlib.contextmanager
def unread(url: str) -> Iterator[None]:
    """While the block runs, this process's environment names no proxies but the one for ``url``, spelled as every
    library reads it. For constructors of libraries that read the environment themselves. Raises ProxyUnusable."""
    with _LOCK:
        proxy = proxy_for(url, os.environ)
        kept = {name: value for name, value in os.environ.items() if name.lower() in VARIABLES}
        for name in kept:
            del os.environ[name]
        if proxy is not None:
            os.environ[f"{urlsplit(url).scheme}_proxy"] = proxy.url
        try:
            yield
        finally:
            os.environ.pop(f"{urlsplit(url).scheme}_proxy", None)
            os.environ.update(kept)


def _named(name: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """(value, variable); the spelling in small letters goes before the other one."""
    for variable in (name, name.upper()):
        value = environment.get(variable, "").strip()
        # of a CGI script's environment HTTP_PROXY is what the client's header said
        if value and not (variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment):
            return value, variable
    return None


def _usable(value: str, variable: str) -> Proxy:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port or 1) > 0
        scheme = parts.scheme.lower()
    except ValueError:
        valid, scheme = False, ""
    if valid and (scheme in USABLE or (scheme in SOCKS and importlib.util.find_spec("socksio"))):
        return Proxy(url, variable)
    shown = f"a proxy of the kind {scheme!r}" if valid else "no proxy's address"
    raise ProxyUnusable(
        f"${variable} names {shown}, which cannot be used",
        hint=f"set it to http://HOST:PORT, unset it, or name the host in NO_PROXY; {_other(scheme)}",
        variable=variable,
    )


def _other(scheme: str) -> str:
    return "socks5:// needs the package socksio" if scheme.startswith("socks") else "http and https are usable"


def _excepted(host: str, port: int | None, environment: Mapping[str, str]) -> bool:
    """Whether NO_PROXY has the host: by its name, as a part of a domain, by its address or network, or all by ``*``."""
    found = _named("no_proxy", environment)
    for each in (found[0].replace(",", " ") if found else "").split():
        entry, wanted = _entry(each)
        if wanted is not None and wanted != port:
            continue
        if entry == "*" or _fits(host, entry):
            return True
    return False


def _entry(text: str) -> tuple[str, int | None]:
    """(host, port) of an entry; brackets, schemes and leading dots or stars are how some write it."""
    name = text.strip().lower().partition("://")[2] or text.strip().lower()
    port = ""
    if name.startswith("["):
        name, _, rest = name[1:].partition("]")
        port = rest.removeprefix(":")
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    return (name if name == "*" else name.lstrip("*").strip(".")), int(port) if port.isdecimal() else None


def _fits(host: str, entry: str) -> bool:
    if not entry:
        return False
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host == entry or host.endswith(f".{entry}")
    with contextlib.suppress(ValueError):
        return address in ipaddress.ip_network(entry, strict=False)
    return False


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
