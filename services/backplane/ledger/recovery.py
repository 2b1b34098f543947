"""A partition's book from its facts: the output is the truth, so its reader knows what was applied.

A record that is no fact is passed over, loudly. A foreign record in a fact topic must not keep the partition from being
taken over, now or at any later start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

import msgspec
from confluent_kafka import Consumer, TopicPartition

from agents_sdk.core.facts import Fact, RefusalEvent
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, evolve
from agents_sdk.core.ledger.agents import touched
from agents_sdk.core.ledger.evolve import Gap
from agents_sdk.errors import BackplaneError
from agents_sdk.proofs import FORGED, WHY, ProofChecker
from agents_sdk.topics import FACT_TOPICS, REFUSALS, TOPIC_OF_FACT
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.proof import Place
from backplane.ledger.accept import appended_at
from backplane.ledger.aside import PUT_ASIDE
from backplane.runtime.batch import Record
from backplane.runtime.log import LocatedRecord, read_merged, read_range

log = logging.getLogger("backplane.ledger")

LAST_REFUSALS: Final = 50
"""Records and markers at the end of a partition's refusals among which its being put aside is looked for."""
NUMBERS: Final = 2**63
"""Above the number of any fact of a command."""
Passed = Callable[[str, int, str], None]
"""Called with topic, offset and reason of a record that is passed over."""


class FactsUnproven(BackplaneError):
    """All facts of a partition are from before this platform proved any, and nothing says so. To pass over them would
    be to decide all commands again."""

    code: ClassVar[str] = "auth"
    hint = "note where the topics end in a file, as SECURITY.md says, and name it in identity.unproven_file"

    def __init__(self, partition: int) -> None:
        super().__init__(f"no fact of partition {partition} carries a proof", hint=self.hint, partition=partition)


def decided_in(fact: object) -> tuple[int, ...]:
    """The order in which facts were decided: by command, then within the command."""
    known = cast(Fact, fact)
    return known.command_offset, known.run_seq


def accepted(codec: Codec, message: Any, commands_end: int, guard: ProofChecker | None) -> Fact | None:
    """The fact that a record of a fact topic is; None: one that was met before. Raises Undecodable where it is none:
    not proven, other bytes, another topic's record, or, where nothing is proven, about a command that is not there.
    Raises Unreachable where its version is not known, and the registry is away."""
    verdict = guard.message(message) if guard is not None else ""
    if verdict == FORGED:
        raise Undecodable(verdict, WHY[verdict])
    if verdict:  # what a snapshot has in it already is found as a copy as well, and is none
        return None
    fact = codec.decode_own(message.value())
    if not isinstance(fact, Fact) or TOPIC_OF_FACT[type(fact)] != message.topic():
        raise Undecodable("undecodable", f"a {type(fact).__name__} is no fact of {message.topic()}")
    if guard is None and not -1 <= fact.command_offset < commands_end:
        why = f"it names the command of offset {fact.command_offset}, and the log of commands ends at {commands_end}"
        raise Undecodable("undecodable", why)
    return fact


def recover(
    consumer: Consumer,
    codec: Codec,
    partition: int,
    book: PartitionState,
    dirty: dict[RunId, int],
    starts: Mapping[str, int],
    ends: Mapping[str, int],
    commands_end: int,
    passed: Passed,
    guard: ProofChecker | None = None,
) -> tuple[int, Fact | None]:
    """Folds the partition's facts from ``starts`` (where a topic is missing: from its beginning) to ``ends`` into
    ``book``. It notes in ``dirty`` which runs they touched. ``commands_end``: where the partition of bp.commands ends.
    A fact that ``guard`` does not believe is passed over. Call it only after fencing: then no later fact can come.
    Raises Gap where a snapshot is not of one piece; without one a fact that does not fit is passed over. How many were
    folded, and the last of them."""
    began = time.monotonic()
    offsets = dict.fromkeys(FACT_TOPICS, 0) | dict(starts)
    count, last = 0, None
    if guard is not None:
        _begin(guard, partition, book)

    def accept(message: Any) -> Fact | None:
        try:
            return accepted(codec, message, commands_end, guard)
        except Undecodable as error:
            passed(str(message.topic()), int(message.offset()), str(error))
            return None

    for located in read_merged(consumer, partition, offsets, accept, decided_in, ends):
        if _fold(book, located, whole=not starts, passed=passed):
            fact = cast(Fact, located.record)
            if getattr(fact, "code", "") != PUT_ASIDE:  # that one is about the next command
                last = fact
            dirty[fact.run_id] = fact.command_offset
            dirty.update(dict.fromkeys(touched(book, fact), fact.command_offset))
            count += 1
    if guard is not None and guard.refused.get(FORGED) and book.applied < 0:
        raise FactsUnproven(partition)
    log.info(
        "partition %d: %d facts folded in %.2f s, %d live runs, commands applied up to %d",
        partition, count, time.monotonic() - began, len(book.runs), book.applied,
    )  # fmt: skip
    return count, last


def _begin(guard: ProofChecker, partition: int, book: PartitionState) -> None:
    """A fact that is in the snapshot comes again as a copy, or because the snapshot ran ahead of its offsets."""
    for topic in FACT_TOPICS:
        guard.sequence.begin(topic, partition, Place(book.applied, NUMBERS))


def _fold(book: PartitionState, located: LocatedRecord, *, whole: bool, passed: Passed) -> bool:
    try:
        evolve(book, cast(Fact, located.record))
        return True
    except Gap as gap:
        if not whole:
            raise
        passed(located.topic, located.offset, str(gap))
    except Exception as error:  # noqa: BLE001 — a fact that no ledger decided may lack whatever its fold looks up
        passed(located.topic, located.offset, f"it does not fit what is before it: {type(error).__name__}: {error}")
    return False


def put_aside_at(
    consumer: Consumer, codec: Codec, partition: int, applied: int, guard: ProofChecker | None = None
) -> tuple[int, int] | None:
    """Before which record the partition stands aside, and how many workers died there; None: before none. A worker says
    so in the log, so that it holds for every later owner of the partition. After it nothing was refused."""
    _, end = consumer.get_watermark_offsets(TopicPartition(REFUSALS, partition), timeout=10)
    found = None
    for message in read_range(consumer, REFUSALS, partition, max(end - LAST_REFUSALS, 0), end):
        if guard is not None and guard.message(message) == FORGED:
            continue
        try:
            fact = codec.decode_own(message.value())
            if isinstance(fact, RefusalEvent) and fact.code == PUT_ASIDE:
                detail = msgspec.json.decode(fact.detail)
                found = int(detail["offset"]), int(detail["deaths"])
        except (Undecodable, ValueError, KeyError, TypeError) as error:
            log.error("%s[%d] offset %s is passed over: %s", REFUSALS, partition, message.offset(), error)
    return found if found is not None and found[0] > applied else None


def stands(records: Sequence[Record], fact: Fact) -> bool:
    """Whether the command of a fact lies in the log where the fact says; it has the fact's time. ``records`` are what
    lies there: nothing where it was deleted by age."""
    return not records or appended_at(records[0]) == fact.at
