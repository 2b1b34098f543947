"""How a browser that has logged in is known again: a cookie that we signed, never the token itself.

A session names its principal and is signed with a key that depends on the principal's token. So a token that is taken
back ends its sessions. Sessions of people from an OpenID Connect provider hold their role and end after some hours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from backplane.access.gate import Gate
from backplane.access.oidc import Login
from backplane.access.principals import SERVICE, Principal, digest, service_token, token_of

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

S = TypeVar("S")

SESSION: Final = "backplane_session"
OIDC_S: Final = 8 * 3_600
"""A working day: what the provider said this morning may not hold tomorrow."""


class Session(msgspec.Struct, frozen=True):
    """The cookie's content, before its signature."""

    name: str
    """Of the principal."""
    until: float = 0.0
    """Seconds UTC; 0: as long as its token counts."""
    principal: Principal | None = None
    """Of a person whom the provider named; None: the directory says who it is."""


class Sessions:
    """Visitors that the console lets in. May be asked from any thread, but not from an event loop."""

    def __init__(self, settings: Settings, token: str = "") -> None:
        """``token``: the console's own, whose owner may do all; empty: it has none."""
        self.gate = Gate(settings)
        self._token = token
        self._secret = service_token(settings.data_dir) or secrets.token_urlsafe(24)

    @property
    def asks(self) -> bool:
        """Whether anybody has to say who it is."""
        return bool(self._token) or self.gate.asks

    def principal(self, headers: Mapping[str, str], cookie: str = "") -> Principal | None:
        """The sender of a request with these headers (by lower-case name) and this session; None: nobody we know."""
        if not self.asks:
            return self.gate.principal(headers, {})
        if token := token_of(headers, {}):
            return self.of_token(token) or (self.gate.principal(headers, {}) if self.gate.asks else None)
        return self._of_session(cookie) if cookie else None

    def of_token(self, token: str) -> Principal | None:
        """The owner of this token; None: nobody."""
        if self._token and hmac.compare_digest(digest(token), digest(self._token)):
            return Principal("console", "admin")
        directory = self.gate.directory()
        return directory.of_token(token) if directory is not None and token else None

    def open(self, principal: Principal, now: float) -> str:
        """The cookie of a session; ``now`` in seconds UTC."""
        if principal.name.startswith("oidc:"):
            return self.sealed(Session(principal.name, now + OIDC_S, principal), "")
        return self.sealed(Session(principal.name), self._token_hash(principal.name))

    def sealed(self, value: Session | Login, key: str) -> str:
        """A value as text that only we can have made; ``key``: what else it depends on."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(value)).decode()
        return f"{body}.{self._mac(body, key)}"

    def opened(self, text: str, kind: type[S], key: str = "") -> S | None:
        """The value given to ``sealed``; None where it did not make the cookie."""
        body, _, mac = text.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body, key).encode()):
            return None
        return _decoded(body, kind)

    def _of_session(self, cookie: str) -> Principal | None:
        said = _decoded(cookie.partition(".")[0], Session)
        if said is None:
            return None
        if said.principal is not None:
            sure = self.opened(cookie, Session)
            return sure.principal if sure and sure.until > time.time() and self.gate.provider else None
        key = self._token_hash(said.name)
        if not key or self.opened(cookie, Session, key) is None:
            return None
        return self._named(said.name)

    def _named(self, name: str) -> Principal | None:
        if name in ("console", SERVICE):
            return Principal(name, "admin")
        directory = self.gate.directory()
        found = next((one for one in directory.entries if one.name == name), None) if directory else None
        return Principal(found.name, found.role, found.workflows) if found else None

    def _token_hash(self, name: str) -> str:
        """The hash of the token that the principal has now; empty: it has none."""
        if name == "console" and self._token:
            return digest(self._token)
        directory = self.gate.directory()
        if directory is None:
            return ""
        if name == SERVICE:
            return directory.service_sha256
        return next((one.token_sha256 for one in directory.entries if one.name == name), "")

    def _mac(self, body: str, key: str) -> str:
        return hmac.new(
            f"{self._secret}|{key}".encode(), f"backplane console|{body}".encode(), hashlib.sha256
        ).hexdigest()


def _decoded(body: str, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(body.encode()), type=kind)
    except (ValueError, msgspec.MsgspecError):
        return None
