"""Signatures of commands: HMAC-SHA256 (RFC 2104) over the encoded record, and the keys they are made with. Pure.

The signature is the last field of the record, Avro bytes. So an encoded signed command is its content, ``0x40`` (the
length 32, zigzag) and 32 bytes. It covers every byte before that, Confluent's header included. It is checked on the
bytes as they came: no second encoding has to give the same ones. Laws: a signed command decodes to what was signed; one
changed, missing or added byte, another key or another name is found.

An agent's key is HKDF-Expand (RFC 5869 §2.3, one block) of the platform's master key with the agent's name and the
key's generation. The holder of the master key can check all, and a key says nothing about another.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from agents_sdk.core.commands import Command
from agents_sdk.core.identity import Proof, reserved

LENGTH: Final = 32
"""Bytes of a key and of a signature."""
_HEAD: Final = bytes((2 * LENGTH,))
_UNSIGNED: Final = b"\0"
_TAIL: Final = LENGTH + len(_HEAD)
_KEYS: Final = 10_000
"""Keys a verifier holds, so that names nobody has ever heard of do not fill its memory."""


def derive(master: bytes, name: str, generation: int) -> bytes:
    """The key of this generation of a name."""
    return hmac.digest(master, f"bp-agent/{name}/{generation}\x01".encode(), "sha256")


def sign(encoded: bytes, key: bytes) -> bytes:
    """An encoded command, or another record whose last field is its signature, which is empty, with its signature.
    Raises ValueError for bytes that cannot be that."""
    if not encoded.endswith(_UNSIGNED):
        raise ValueError("the record has a signature already")
    said = encoded[:-1]
    return said + _HEAD + hmac.digest(key, said, "sha256")


def genuine(data: bytes, key: bytes) -> bool:
    """Whether an encoded record whose last field is a signature has that of the key."""
    if len(data) <= _TAIL or data[-_TAIL:-LENGTH] != _HEAD:
        return False
    return hmac.compare_digest(hmac.digest(key, data[:-_TAIL], "sha256"), data[-LENGTH:])


class Verifier:
    """Says what a signature proves; holds the master key."""

    def __init__(self, master: bytes) -> None:
        self._key: Callable[[str, int], bytes] = lru_cache(_KEYS)(lambda name, number: derive(master, name, number))

    def proof(self, data: bytes, command: Command) -> Proof:
        """The proof by the signature in ``data``, which ``command`` was decoded from."""
        signature = command.signature
        if not signature:
            return Proof.UNSIGNED
        generation = command.key_generation
        if len(signature) != LENGTH:
            return Proof.FORGED
        if (generation != 0) if reserved(command.agent) else (generation < 1):
            return Proof.FORGED
        made = hmac.digest(self._key(command.agent, generation), data[:-_TAIL], "sha256")
        return Proof.GOOD if hmac.compare_digest(made, signature) else Proof.FORGED
