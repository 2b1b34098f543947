"""Ids and hashes as functions of values: UUIDv5 (RFC 9562 §5.5), SHA-256 and canonical JSON.

Not here: anything that makes an id from a clock or from chance.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NewType

import msgspec
import uuid_utils

NAMESPACE = uuid_utils.UUID("6f1d1c1e-6e0b-5a57-9d3e-0c1f5f0b7a10")
"""Namespace of ids derived from something that is not a UUID itself."""

if TYPE_CHECKING:
    RunId = NewType("RunId", str)
    CommandId = NewType("CommandId", str)
    DeliveryId = NewType("DeliveryId", str)
    CallId = NewType("CallId", str)
    """A call has the id of the command that asked for it."""
else:
    # Names for the type checker only: a reader of a record's types sees text, and no call is made for an id.
    RunId = CommandId = DeliveryId = CallId = str

_encoder = msgspec.json.Encoder(order="sorted")


def derive(parent: str, name: str) -> str:
    """The UUIDv5 of ``name`` in the namespace ``parent``; the same arguments always give the same id. ``parent`` may
    be any string: one that is not a UUID is first put into Backplane's namespace."""
    try:
        namespace = uuid_utils.UUID(parent)
    except ValueError:
        namespace = uuid_utils.uuid5(NAMESPACE, parent)
    return str(uuid_utils.uuid5(namespace, name))


def keyed(secret: bytes, parent: str, name: str) -> str:
    """As ``derive``, for the holder of the secret: nobody else can know the id before it is used. Without a secret it
    is ``derive``'s own."""
    if not secret:
        return derive(parent, name)
    said = f"{len(parent)}/{parent}/{name}".encode()
    return derive(parent, hashlib.blake2b(said, key=secret, digest_size=16).hexdigest())


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no white space, UTF-8; equal values give equal bytes. NaN and infinities, which JSON
    does not know, become null as in JavaScript. Raises TypeError for what JSON cannot say."""
    return _encoder.encode(value).decode()


@lru_cache(maxsize=1)
def sha256(text: str) -> str:
    """SHA-256 of the UTF-8 bytes, hex. The last one is kept: a write is hashed for its fingerprint and for its fact."""
    return hashlib.sha256(text.encode()).hexdigest()
