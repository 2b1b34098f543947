"""Whether a record of Kafka is believed. A shell: it finds the keys; what a proof covers is in ``wire.proof``.

A process that has the key of a topic's readers acts only on what is proven. Without that key nothing can be checked. So
a platform without identity works as before, and a client without a key knows only its answers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Ends
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.identity import EXECUTOR
from agents_sdk.keys import Keys, KeyUnusable
from agents_sdk.topics import inbox
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.proof import (
    BEFORE_ALL,
    DISPATCH,
    FACT,
    FOR_EXECUTORS,
    PROOF,
    Place,
    Prover,
    Sequence,
    generation_of,
    proofs,
    subkey,
)

if TYPE_CHECKING:
    from agents_sdk.inbox import InboxRecord
    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.proofs")

FACTS: Final = "bp.facts"
"""The owner of the key that proves facts: the ledger has it, and so have all who read facts and act on them."""

FORGED: Final = "forged"
COPIED: Final = "copied"
WHY: Final = {
    FORGED: "the record has no valid proof of who wrote it, or was moved from another topic, partition or key",
    COPIED: "the record is a copy of an older one",
}
"""Verdict → what it means, for people."""

Unproven = Mapping[str, Ends[int]]
"""Topic → by partition, the offset below which records carry no proof."""


def unproven(path: Path | None) -> Unproven:
    """The offsets that the file notes; nothing where there is no file. Raises KeyUnusable for a file that cannot be
    read: without it old records would be refused."""
    if path is None:
        return {}
    try:
        noted = json.loads(path.read_text())
        return {str(topic): [int(end) for end in ends] for topic, ends in noted.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise KeyUnusable(
            f"file {str(path)!r} of offsets without proof cannot be read: {error}",
            hint="restore it from a backup of the data directory",
            path=str(path),
        ) from error


class ProofChecker:
    """Judges records, each partition's in the order of the log and each record once. One reader has one guard."""

    def __init__(self, provers: Callable[[int], Prover | None], header: str = PROOF, before: Unproven | None = None):
        """``provers`` gives what checks proofs made with a generation of the key; None: that key is not known."""
        self._provers = provers
        self._header = header
        self._before = before or {}
        self.sequence = Sequence()
        self.refused: dict[str, int] = {}
        """Verdict → records that were not believed."""

    def judge(
        self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, headers: Any
    ) -> str:
        """Empty for a record that is believed; else ``FORGED`` or ``COPIED``, which are counted."""
        place = self.place(topic, partition, key, value, headers)
        if place is None:
            if self.is_before(topic, partition, offset):
                return ""
            return self._refuse(FORGED)
        return "" if self.sequence.take(topic, partition, place) else self._refuse(COPIED)

    def place(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> Place | None:
        """The place that a record is proven for, whatever was read before; None: it is not proven."""
        for proof in proofs(headers, self._header):
            prover = self._provers(generation_of(proof))
            place = prover.check(topic, partition, key, value, proof) if prover is not None else None
            if place is not None:
                return place
        return None

    def message(self, message: Any) -> str:
        """``judge`` for a record of confluent-kafka."""
        where = (message.topic(), message.partition(), message.offset())
        return self.judge(*where, message.key(), message.value(), headers_of(message))

    def is_before(self, topic: str, partition: int, offset: int) -> bool:
        """Whether the record was written before this platform proved any."""
        ends = self._before.get(topic, ())
        return partition < len(ends) and offset < ends[partition]

    def _refuse(self, verdict: str) -> str:
        self.refused[verdict] = self.refused.get(verdict, 0) + 1
        return verdict


def _one(secret: bytes, purpose: str) -> Callable[[int], Prover | None]:
    prover = Prover(subkey(secret, purpose))
    return lambda generation: prover if generation == 0 else None


def fact_guard(settings: Settings) -> ProofChecker | None:
    """The judge of facts; None where there is no key to judge them with. Raises KeyUnusable."""
    key = Keys.of(settings).get(FACTS)
    if key is None:
        return None
    return ProofChecker(_one(key.secret, FACT), before=unproven(settings.identity.unproven_file))


def dispatch_guard(settings: Settings) -> ProofChecker | None:
    """The judge of facts that executors act on; None where there is no key to judge them with. Raises KeyUnusable."""
    key = Keys.of(settings).get(EXECUTOR)
    if key is None:
        return None
    return ProofChecker(_one(key.secret, DISPATCH), FOR_EXECUTORS, unproven(settings.identity.unproven_file))


class InboxGuard(ProofChecker):
    """Judges what lies in an agent's inbox, by the agent's key, which may change meanwhile."""

    def __init__(self, settings: Settings, keys: Keys, agent: str) -> None:
        """Raises KeyUnusable."""
        super().__init__(self._prover, before=unproven(settings.identity.unproven_file))
        self._keys = keys
        self._agent = agent
        self._made: dict[bytes, Prover] = {}
        self._epochs: dict[int, int] = {}
        """Partition → since when it is ours."""

    @property
    def possible(self) -> bool:
        """Whether there is a key to judge with."""
        return self._keys.get(self._agent) is not None

    def judge_arrived(self, record: InboxRecord) -> tuple[str, InboxRecord]:
        """``judge`` for a record of the inbox. One may be a copy for all that is known here. It is the first since its
        partition became ours, or was proven by a key that was replaced since. It is marked as ``earlier``, so that the
        ledger is asked about it before anything is done."""
        topic, partition = inbox(self._agent), record.partition
        if self._epochs.get(partition) != record.epoch:
            self._epochs[partition] = record.epoch
            self.sequence.begin(topic, partition, BEFORE_ALL)
        first = self.sequence.last(topic, partition) == BEFORE_ALL
        verdict = self.judge(topic, partition, record.offset, record.key, record.value, record.headers)
        key = self._keys.get(self._agent)
        present = key is not None and any(generation_of(each) == key.generation for each in proofs(record.headers))
        return verdict, record._replace(earlier=record.earlier or first or not present)

    def _prover(self, generation: int) -> Prover | None:
        key = self._keys.get(self._agent)
        secret = key.deliveries(generation) if key is not None else None
        if secret is None:
            return None
        prover = self._made.get(secret)
        if prover is None:
            prover = self._made[secret] = Prover(secret)
        return prover
