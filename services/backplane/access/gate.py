"""The sender of a request, looked up in the file of principals, which is read again when it has changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backplane.access.oidc import LoginFailed, Provider
from backplane.access.principals import ANYBODY, AccessFileUnusable, Directory, Principal, load, path_of, token_of

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.access")

NOBODY: Final = Directory()
SIGNED_PARTS: Final = 2
"""Dots in a signed token: header, claims, signature."""


class Gate:
    """The principals of one platform, as a process of it sees them. May be asked from any thread, but not from an event
    loop: a provider's keys may have to be fetched."""

    def __init__(self, settings: Settings) -> None:
        self._data_dir = Path(settings.data_dir)
        self.provider = Provider(settings.access.oidc) if settings.access.oidc.issuer else None
        """Where people log in; None: by token only."""
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._directory: Directory | None = None

    @property
    def asks(self) -> bool:
        """Whether a request has to say who sent it."""
        return self.directory() is not None or self.provider is not None

    def directory(self) -> Directory | None:
        """The principals now; None: everybody is let in. A file that cannot be used lets nobody in."""
        with self._lock:
            mark = self._mark()
            if mark != self._seen:
                self._seen = mark
                try:
                    self._directory = load(self._data_dir)
                except AccessFileUnusable as error:
                    log.error("nobody is let in: %s (%s)", error.message, error.hint)
                    self._directory = NOBODY
            return self._directory

    def principal(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Principal | None:
        """The sender of a request with these headers (by lower-case name) and parameters; None: nobody we know."""
        if not self.asks:
            return ANYBODY
        token = token_of(headers, query)
        found = (self.directory() or NOBODY).of_token(token) if token else None
        if found is None and self.provider is not None and token.count(".") == SIGNED_PARTS:
            try:
                found = self.provider.bearer(token)
            except LoginFailed as error:
                log.info("a bearer token was refused: %s", error.message)
        return found

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = path_of(self._data_dir).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
