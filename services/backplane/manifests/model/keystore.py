"""Secrets of the system's keyring, remembered for a minute: providers ask for theirs at every attempt.

The keyring's service may be slow, or wait for a person to unlock it. So it is asked in threads of its own. The first
look-up of a name waits two seconds at most; a later one answers with the known value while a thread looks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

SERVICE: Final = "backplane"
"""The service under which our secrets are filed."""
FRESH_S: Final = 60.0
"""How long a secret that was changed may still be used."""
PATIENCE_S: Final = 2.0
"""For the first look-up: a keyring that is locked must not hold the executor for longer."""


class _Entry:
    __slots__ = ("at", "done", "secret")

    def __init__(self) -> None:
        self.secret = ""
        self.at = float("-inf")
        self.done = threading.Event()
        self.done.set()


class Keystore:
    """Answers of the keyring, by name. Safe to use from threads; its repr shows no secret."""

    def __init__(self, look: Callable[[str], str], now: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def password(self, name: str) -> str:
        """The secret of this name, at most a minute old; "" when there is none, no keyring, or no answer yet."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            first = entry.at == float("-inf")
            if entry.done.is_set() and self._now() - entry.at > FRESH_S:
                entry.done.clear()
                threading.Thread(target=self._refresh, args=(name, entry), name="keyring", daemon=True).start()
        if first:
            entry.done.wait(PATIENCE_S)
        return entry.secret

    def _refresh(self, name: str, entry: _Entry) -> None:
        try:
            entry.secret = self._look(name)
        finally:
            entry.at = self._now()
            entry.done.set()


def _ask_keyring(name: str) -> str:
    """The keyring's answer; "" for every failure of it: a machine without a keyring is the normal case on a server."""
    import keyring  # 0.1 s to import, and only where a manifest names it
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, name) or ""
    except (KeyringError, OSError, RuntimeError):
        return ""


_keystore = Keystore(_ask_keyring)
password = _keystore.password
