"""Names that are the platform's own, and what the signature of a command and its place prove. Values only: what follows
from them is decided in ``agents_sdk.core.ledger.identity``; signatures are made in ``agents_sdk.wire.signature``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

RESERVED: Final = "bp."
OPERATOR: Final = "bp.operator"
"""The holder of the platform's master key: issues and revokes keys."""
LEDGER: Final = "bp.ledger"
"""The only sender of timers; it speaks for itself when a deadline has come. Its Kafka user and consumer group too."""
EXECUTOR: Final = "bp.executor"
"""The only sender of attempts and outcomes; its key signs the registry. Its Kafka user and consumer group too."""
SINK: Final = "bp.sink"
"""The Kafka user and the consumer group of what fills the store."""
BROKER: Final = "bp.broker"
"""The Kafka user of Kafka itself."""

CODES: Final = frozenset(
    {"unauthenticated", "forged", "revoked", "stale", "replayed", "misplaced", "not_granted", "id_taken"}
)
"""Codes of refusals for want of identity. Such a refusal is about no run: a stranger to a run must not advance it, nor
be remembered by it."""


class Proof(IntEnum):
    """Proof by the signature of a command, and the partition it lies in."""

    UNSIGNED = 0
    FORGED = 1
    """It is not what the key of this name and generation gives."""
    GOOD = 2
    MISPLACED = 3
    """With any signer: it is about a run of another partition."""


def reserved(name: str) -> bool:
    """Whether the name is one of the platform's own: no agent or client has it."""
    return name.startswith(RESERVED)


def first_generation(name: str) -> int:
    """That of a key nobody issued by command: 0 for the platform's own names, which have no other."""
    return 0 if reserved(name) else 1
