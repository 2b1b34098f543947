"""A partition's book from its facts: the output is the truth, so whoever reads it knows what was applied."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, cast

from confluent_kafka import Consumer, Message

from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger import Book, evolve
from agents_sdk.core.ledger.agents import touched
from agents_sdk.proofs import FORGED, WHY, Guard
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.proof import Place
from services.runtime.log import read_merged

log = logging.getLogger("backplane.ledger")

NUMBERS: Final = 2**63
"""Above the number of any fact of a command."""


def decided_in(fact: object) -> tuple[int, ...]:
    """The order in which facts were decided: by command, then within the command."""
    known = cast(Fact, fact)
    return known.command_offset, known.run_seq


def _believed(guard: Guard, message: Message) -> bool:
    verdict = guard.message(message)
    if verdict == FORGED:  # what a snapshot has in it already is found as a copy as well, and is none
        place = (message.topic(), message.partition(), message.offset())
        log.error("%s[%s] offset %s is passed over: %s", *place, WHY[verdict])
    return not verdict


def recover(
    consumer: Consumer,
    codec: Codec,
    partition: int,
    book: Book,
    dirty: dict[str, int],
    starts: Mapping[str, int],
    ends: Mapping[str, int],
    guard: Guard | None = None,
) -> int:
    """Folds the partition's facts from ``starts`` (where a topic is missing: from its beginning) to ``ends`` into
    ``book``, notes in ``dirty`` which runs they touched, and says how many they were. What ``guard`` does not believe
    is passed over, and told. Call it only after fencing: then no fact can come behind its back. Raises Gap where the
    snapshot below is not of one piece, and Undecodable: where one fact cannot be read, no decision may rest on the
    rest."""
    began = time.monotonic()
    offsets = dict.fromkeys(FACT_TOPICS, 0) | dict(starts)
    count = 0
    believed: Callable[[Message], bool] | None = None
    if guard is not None:
        for topic in FACT_TOPICS:
            # what the snapshot has in it comes again only as a copy, or because the snapshot ran ahead of its offsets
            guard.sequence.begin(topic, partition, Place(book.applied, NUMBERS))
        believed = partial(_believed, guard)
    for located in read_merged(consumer, partition, offsets, codec.decode, decided_in, ends, believed):
        fact = cast(Fact, located.record)
        evolve(book, fact)
        dirty[fact.run_id] = fact.command_offset
        dirty.update(dict.fromkeys(touched(book, fact), fact.command_offset))
        count += 1
    log.info(
        "partition %d: %d facts folded in %.2f s, %d live runs, commands applied up to %d",
        partition, count, time.monotonic() - began, len(book.runs), book.applied,
    )  # fmt: skip
    return count
