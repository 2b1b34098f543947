"""Where requests of providers may go: nowhere private, unless a manifest says so and the operator allows it. Pure.

Private is everything that the public internet does not route: loopback, link-local (where clouds keep credentials),
private networks. So are addresses that stand for one of them in another form. The check is of the address that is
connected to: names are looked at once they are resolved.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from agents_sdk.proxies import on_loopback
from agents_sdk.settings import NotConfigured
from agents_sdk.settings_model import Settings

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

CODE: Final = "egress_refused"
PORTS: Final = {"http": 80, "https": 443}
_EMBEDDING: Final[tuple[tuple[ipaddress.IPv6Network, int], ...]] = (
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
)
"""Networks of IPv6 whose addresses stand for one of IPv4 (NAT64, 6to4, compatible, translated), and how many bits
follow it."""


_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")
"""For protocols' own use; this Python takes parts of it for public."""
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""NAT64 within one network (RFC 8215): which address of IPv4 is meant, each network says for itself."""


class Refused(Exception):
    """A connection that is not to be made; the text says why, and what would allow it."""

    code = CODE


class Rule(NamedTuple):
    """One entry of ``egress.allow``: a network or a pattern of names, and a port; None for all."""

    network: Network | None
    name: str
    port: int | None

    def allows(self, host: str, address: Address, port: int) -> bool:
        """Whether it names this place."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address in self.network
        return fnmatchcase(host.rstrip(".").lower(), self.name)


@dataclass(frozen=True, slots=True)
class Policy:
    """The addresses that the operator allows."""

    loopback: bool = True
    """This machine itself, as on a platform of its own."""
    rules: tuple[Rule, ...] = ()


class NamedPlaces(NamedTuple):
    """The places that a manifest names, and whether they may be private though their names do not show it."""

    places: frozenset[tuple[str, int]]
    private: bool

    def names(self, host: str, port: int) -> bool:
        """Whether the manifest means this place to be private."""
        return (host.lower(), port) in self.places and (self.private or literal(host) is not None or on_loopback(host))


def policy_of(settings: Settings) -> Policy:
    """The addresses that the settings allow. Raises NotConfigured for an entry that is none."""
    loopback = settings.egress.loopback
    if loopback is None:
        servers = settings.kafka.get("bootstrap.servers", "").split(",")
        loopback = all(on_loopback(each.strip().rpartition(":")[0]) for each in servers if each.strip())
    try:
        return Policy(loopback, tuple(rule(each) for each in settings.egress.allow))
    except ValueError as error:
        hint = "write networks and names as in egress.allow = ['10.0.0.0/8', 'intranet.example:443']"
        raise NotConfigured(f"egress.allow: {error}", hint=hint) from error


def said(urls: Iterable[str], *, private: bool) -> NamedPlaces:
    """The addresses that a manifest means."""
    return NamedPlaces(frozenset(place for url in urls if (place := place_of(url)) is not None), private)


def place_of(url: str) -> tuple[str, int] | None:
    """Host and port of an address; None: it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname.lower(), port) if parts.hostname and port else None


def rule(text: str) -> Rule:
    """An entry: ``10.0.0.0/8``, ``[fd00::1]:8080``, ``intranet.example:443``, ``*.example``. Raises ValueError."""
    entry, port = text.strip(), ""
    if entry.startswith("["):
        entry, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        entry, _, port = entry.partition(":")
    if not entry or (port and not (port.isdecimal() and 0 < int(port) < 65_536)):
        raise ValueError(f"{text!r} is no host, network or name; a port stands after a colon")
    number = int(port) if port else None
    try:
        return Rule(ipaddress.ip_network(entry, strict=False), "", number)
    except ValueError:
        if "/" in entry:
            raise ValueError(f"{text!r} is no network") from None
        return Rule(None, entry.rstrip(".").lower(), number)


def refusal(policy: Policy, meant: NamedPlaces, host: str, port: int, address: str) -> str:
    """Why this address is not connected to; "" where it may be."""
    inner = unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if public(inner):
        return ""
    place = f"{host}:{port}" if literal(host) is not None else f"{host}:{port} ({address})"
    if not meant.names(host, port):
        return (
            f"{place} is a private address that the manifest does not mean: it names no such address, or is to say so"
        )
    if (policy.loopback and inner.is_loopback) or any(each.allows(host, inner, port) for each in policy.rules):
        return ""
    return f"{place} is a private address that the operator does not allow: add '{host}:{port}' to egress.allow"


def public(address: Address) -> bool:
    """Whether the public internet routes it."""
    if address in _PROTOCOLS or address in _TRANSLATED:
        return False
    local = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not local


def unwrapped(address: Address) -> Address:
    """The address that another form stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.teredo is not None:
        return address.teredo[1]
    for network, behind in _EMBEDDING:
        if address in network and address not in (ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")):
            return ipaddress.IPv4Address((int(address) >> behind) & 0xFFFFFFFF)
    return address


def literal(host: str) -> Address | None:
    """The address that a host is, as it is written; None for a name, and for forms that only resolvers understand."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
