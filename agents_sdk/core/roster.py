"""Senders and their rights, as the facts of all partitions say it: for operators. Pure.

Each partition hears of a key by a command of its own. For a moment, or after an operator was cut off, they may say
different things. Then the older one is shown, and the name counts as ``differs``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from agents_sdk.core.facts import AgentEvent, Fact, RefusalEvent
from agents_sdk.core.identity import CODES
from agents_sdk.core.ledger import PartitionState, evolve, identity, rights
from agents_sdk.core.ledger.state import AgentSpec, Grant, KeyState


class IdentityStatus(msgspec.Struct, frozen=True):
    """Knowledge of one name."""

    name: str
    registered: bool
    """It is an agent's; else a client's."""
    key: KeyState
    differs: bool
    refused: dict[str, int]
    """Code → commands refused for want of identity that said they were from it."""
    declared: AgentSpec | None = None
    """Its wishes; None: it is not registered."""
    grant: Grant | None = None
    """Its grant; None: nothing was granted."""
    missing: tuple[str, ...] = ()
    """Its wishes without a grant, as right and glob."""

    def state(self, now: int) -> str:
        """valid, rotating (the generation before is valid too), revoked or differs; ``now`` in microseconds UTC."""
        if self.differs:
            return "differs"
        if self.key.revoked:
            return "revoked"
        return "rotating" if self.key.previous_ends_at > now else "valid"


def roster(agents: Mapping[int, Iterable[Fact]], refusals: Iterable[Fact], partitions: int) -> list[IdentityStatus]:
    """Everybody who was registered, was issued a key or was refused, by name. ``agents`` are the facts of bp.agents by
    partition, each in order."""
    books = [_folded(agents.get(number, ())) for number in range(partitions)]
    refused: dict[str, Counter[str]] = {}
    for fact in refusals:
        if isinstance(fact, RefusalEvent) and fact.code in CODES:
            refused.setdefault(fact.agent, Counter())[fact.code] += 1
    registered = {name for book in books for name in book.agents}
    names = registered.union(refused, *(book.keys for book in books), *(book.grants for book in books))
    return [_standing(name, books, name in registered, refused.get(name, Counter())) for name in sorted(names)]


def _folded(facts: Iterable[Fact]) -> PartitionState:
    book = PartitionState()
    for fact in facts:
        if isinstance(fact, AgentEvent):
            evolve(book, fact)
    return book


def _standing(name: str, books: list[PartitionState], registered: bool, refused: Counter[str]) -> IdentityStatus:
    keys = [book.keys.get(name, identity.FIRST) for book in books] or [identity.FIRST]
    said = {(key.generation, key.revoked) for key in keys}
    # a grant that has not reached every partition yet is shown as the least of them
    least = max(books, key=lambda book: len(rights.withheld(book, name)), default=PartitionState())
    grants = {_rights(book.grants.get(name)) for book in books}
    return IdentityStatus(
        name,
        registered,
        min(keys, key=lambda key: key.generation),
        len(said) > 1 or len(grants) > 1,
        dict(refused),
        next((book.agents[name] for book in books if name in book.agents), None),
        least.grants.get(name),
        tuple(rights.withheld(least, name)),
    )


def _rights(grant: Grant | None) -> tuple[object, ...]:
    return () if grant is None else tuple(getattr(grant, field) for field in rights.GRANTED)
