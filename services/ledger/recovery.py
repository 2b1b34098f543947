"""A partition's book from its facts: the output is the truth, so whoever reads it knows what was applied."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import cast

from confluent_kafka import Consumer

from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger import Book, evolve
from agents_sdk.core.ledger.agents import touched
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Codec
from services.runtime.log import read_merged

log = logging.getLogger("backplane.ledger")


def decided_in(fact: object) -> tuple[int, ...]:
    """The order in which facts were decided: by command, then within the command."""
    known = cast(Fact, fact)
    return known.command_offset, known.run_seq


def recover(
    consumer: Consumer,
    codec: Codec,
    partition: int,
    book: Book,
    dirty: dict[str, int],
    starts: Mapping[str, int],
    ends: Mapping[str, int],
) -> int:
    """Folds the partition's facts from ``starts`` (where a topic is missing: from its beginning) to ``ends`` into
    ``book``, notes in ``dirty`` which runs they touched, and says how many they were. Call it only after fencing: then
    no fact can come behind its back. Raises Gap where the snapshot below is not of one piece, and Undecodable: a fact
    that cannot be read is a broken log, and no decision may rest on the rest of it."""
    began = time.monotonic()
    offsets = dict.fromkeys(FACT_TOPICS, 0) | dict(starts)
    count = 0
    for located in read_merged(consumer, partition, offsets, codec.decode, decided_in, ends):
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
