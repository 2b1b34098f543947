"""Where an HTTP request says it comes from and goes to: decisions over values, for every port of ours.

A port on loopback is reached by this machine only, but also by each page that a browser on this machine shows. Such a
page can give its own name our address (DNS rebinding), or send a request whose answer it cannot read. So a request is
answered only if its ``Host`` is a name of the address we listen at. The page that sent it must be one of ours. See
https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

MISDIRECTED: Final = 421
"""HTTP status of a request for another host."""
FORBIDDEN: Final = 403
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HOST: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
"""RFC 9110 §7.2: a name or address and a port, and nothing else."""
OWN_PAGES: Final = frozenset({"same-origin", "none"})
"""``Sec-Fetch-Site`` of a page of ours, and of an address that a person typed."""
SHOWN: Final = 100
"""Characters of a header in a message."""


class Refusal(NamedTuple):
    """Why a request is not answered, and the HTTP status that says so."""

    status: int
    reason: str


def loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def name_of(header: str) -> str:
    """The name or address in a ``Host`` header, in lower case; empty where the header is malformed."""
    found = HOST.fullmatch(header)
    if found is None:
        return ""
    return (found["six"] or found["name"]).lower()


def refusal(hosts: Iterable[str], origins: Iterable[str], site: str, listening: str) -> Refusal | None:
    """Why a request is refused; None where it is answered.

    Args:
        hosts: all ``Host`` headers of the request.
        origins: all its ``Origin`` headers.
        site: its ``Sec-Fetch-Site`` header; empty where it has none, as requests of programs have not.
        listening: the address that the server listens at. Elsewhere than on loopback it may have any name, which its
        operator knows and we do not. There a token is asked for, which a page of another name does not have.
    """
    given = list(hosts)
    host = name_of(given[0]) if len(given) == 1 else ""
    if not host:
        return Refusal(MISDIRECTED, f"a request names one host, not {_shown(', '.join(given))}")
    if loopback(listening) and host not in {*LOOPBACK_NAMES, listening}:
        there = ", ".join(sorted({*LOOPBACK_NAMES, listening}))
        return Refusal(MISDIRECTED, f"this server answers at {there}, not at {_shown(given[0])}")
    for origin in origins:
        if _host_of(origin) != given[0].lower():
            return Refusal(FORBIDDEN, f"the request was sent by a page of {_shown(origin)}")
    if site and site not in OWN_PAGES:
        return Refusal(FORBIDDEN, f"the request was sent by a page of another site ({_shown(site)})")
    return None


def _host_of(origin: str) -> str:
    """Host and port of an ``Origin``, in lower case; empty for ``null`` and for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _shown(header: str) -> str:
    return repr(header[:SHOWN])
