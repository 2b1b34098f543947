"""Commands to signed bytes: what every sender of commands does last. A shell: it reads the clock and keys in files."""

from __future__ import annotations

import time
from collections.abc import Callable

from agents_sdk.core.commands import Command
from agents_sdk.keys import Key, Keys
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.signature import sign


class Signer:
    """Encodes commands, stamped with the time and signed by the key of their sender where there is one."""

    def __init__(self, codec: Codec, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._codec = codec
        self.keys = keys
        self._now = now

    def key_of(self, name: str) -> Key | None:
        """The key to sign with as ``name``; None: there is none. Raises KeyUnusable."""
        return self.keys.get(name)

    def encode(self, command: Command) -> bytes:
        """The command's bytes, as of now: what is sent again later is encoded again, or it would be refused for its
        age. Raises ValueError, TypeError for a field that cannot be written, KeyUnusable."""
        return self.said(command)[0]

    def said(self, command: Command) -> tuple[bytes, int, Key | None]:
        """The command's bytes, and what is checked of the answer: when it was issued, and by which key it is signed.
        Raises as ``encode``."""
        key = self.keys.get(command.agent)
        issued_at = int(self._now() * 1_000_000)
        if key is None:
            return self._codec.encode(command, issued_at=issued_at), issued_at, None
        encoded = self._codec.encode(command, issued_at=issued_at, key_generation=key.generation)
        return sign(encoded, key.secret), issued_at, key
