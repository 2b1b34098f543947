"""The proofs that one partition's ledger puts on what it writes, and checks on what it recovers from. See
``agents_sdk.wire.proof``; which keys of an agent count is the book's to say."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from agents_sdk.core.facts import AttemptEvent, BreakerEvent, CallEvent, Fact, MessageEvent
from agents_sdk.core.identity import EXECUTOR, first_generation, reserved
from agents_sdk.core.ledger import PartitionState
from agents_sdk.core.ledger.state import KeyState
from agents_sdk.core.ledger.step import AddressedReply
from agents_sdk.keys import read_master
from agents_sdk.proofs import FACTS
from agents_sdk.topics import OWN_REPLIES, REPLIES, TOPIC_OF_FACT, inbox, replies_of
from agents_sdk.wire.proof import (
    ANSWER,
    DELIVERY,
    DISPATCH,
    FACT,
    FOR_EXECUTORS,
    PROOF,
    SNAPSHOT,
    Place,
    Prover,
    Sealer,
    Spot,
    subkey,
)
from agents_sdk.wire.signature import derive

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

FOR_EXECUTORS_TOO: Final = (CallEvent, AttemptEvent, BreakerEvent)
"""Facts that executors act on; they do not have the key of the facts."""
KEPT_KEYS: Final = 10_000

Header = tuple[str, bytes]


class Proofs:
    """Makes the proofs of one partition."""

    def __init__(self, master: bytes, partition: int) -> None:
        self._partition = partition
        facts = Prover(subkey(derive(master, FACTS, 0), FACT))
        dispatches = Prover(subkey(derive(master, EXECUTOR, 0), DISPATCH))
        self._facts = {record: facts.at(topic, partition) for record, topic in TOPIC_OF_FACT.items()}
        self._dispatches: dict[type[Fact], Spot] = {
            record: dispatches.at(TOPIC_OF_FACT[record], partition) for record in FOR_EXECUTORS_TOO
        }

        @lru_cache(KEPT_KEYS)
        def delivery(name: str, generation: int) -> Prover:
            return Prover(subkey(derive(master, name, generation), DELIVERY), generation)

        @lru_cache(KEPT_KEYS)
        def answer(name: str, generation: int) -> Sealer:
            return Sealer(subkey(derive(master, name, generation), ANSWER))

        self._delivery = delivery
        self._answer = answer

    def fact(self, fact: Fact, key: bytes | None, value: bytes, place: Place) -> list[Header]:
        """Headers that prove a fact in its topic."""
        record = type(fact)
        proven = [(PROOF, self._facts[record].prove(key, value, *place))]
        dispatch = self._dispatches.get(record)
        if dispatch is not None:
            proven.append((FOR_EXECUTORS, dispatch.prove(key, value, *place)))
        return proven

    def delivery(
        self, fact: MessageEvent, key: bytes | None, value: bytes, place: Place, generations: tuple[int, ...]
    ) -> list[Header]:
        """Headers that prove a delivery to its recipient, by each of the generations of its key."""
        topic, name = inbox(fact.recipient), fact.recipient
        return [
            (PROOF, self._delivery(name, generation).prove(topic, self._partition, key, value, place))
            for generation in generations
        ]

    def answers(self, book: PartitionState, addressed: AddressedReply, encoded: bytes, at: int) -> list[bytes]:
        """The records of an answer, each proven to the asker by one of the keys that it may have. Unproven where nobody
        proved to have asked."""
        agent = addressed.agent
        if not agent:
            return [encoded]
        if addressed.generation >= 0:
            return [self._answer(agent, addressed.generation).sign(encoded)]
        numbers = valid(book, agent, at)
        return [self._answer(agent, number).sign(encoded) for number in numbers]


def place_of(addressed: AddressedReply) -> tuple[str, int]:
    """Topic and partition of an answer: who may read no others has a topic of its own."""
    if addressed.partition == OWN_REPLIES and addressed.agent:
        return replies_of(addressed.agent), 0
    return REPLIES, addressed.partition


def valid(book: PartitionState, name: str, at: int) -> tuple[int, ...]:
    """The generations of a name's key that may be in use at this time. The newest one is always among them, revoked or
    not: a proof by it is for its holder alone."""
    if reserved(name):
        return (first_generation(name),)
    known = book.keys.get(name, KeyState())
    return (known.generation, known.generation - 1) if at < known.previous_ends_at else (known.generation,)


def seal_key(settings: Settings) -> bytes | None:
    """The key that proves snapshots; None where there is no master key. Raises KeyUnusable."""
    path = settings.identity.master_file
    master = read_master(path) if path is not None else None
    return subkey(derive(master, FACTS, 0), SNAPSHOT) if master is not None else None


def proofs_of(settings: Settings, partition: int) -> Proofs | None:
    """The proofs of a partition; None where there is no master key. Raises KeyUnusable."""
    path = settings.identity.master_file
    master = read_master(path) if path is not None else None
    return Proofs(master, partition) if master is not None else None
