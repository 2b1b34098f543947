"""Reads the answers for one client, in a thread of its own, and hands them to the event loop in batches."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.facts import Reply
from agents_sdk.topics import OWN_REPLIES, REPLIES, replies_of
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.reader_thread import ReaderThread, follower
from agents_sdk.wire.topics_admin import TIMEOUT_S, TopicsNotApplied, listed, mapped

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.sdk")

BATCH: Final = 1_000
WAIT_MS: Final = 500


class ReplyReader:
    """Assigned to one partition of bp.replies, at its end. Nobody but this client needs its records, so there is no
    group and nothing to commit. Clients share partitions; what is not ours is dropped by its key, undecoded."""

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        loop: asyncio.AbstractEventLoop,
        arrived: Callable[[list[bytes]], None],
    ) -> None:
        """``arrived`` is called on ``loop`` with the values of the answers that came."""
        self._settings = settings
        self._key = client_id.encode()
        self._thread = ReaderThread("bp-replies", loop, self._ours, arrived, BATCH)
        self.partition = 0

    def open(self) -> None:
        """Finds the partition and its end, and begins to read. Blocks for a round trip or two.

        Raises:
            Unreachable, TopicsNotApplied: no broker, or no topic for answers.
        """
        from confluent_kafka import KafkaException, TopicPartition

        consumer = follower(self._settings.kafka, "bp.replies", WAIT_MS)
        try:
            topic, partition, self.partition = self._place(listed(consumer, self._settings).topics)
            # the end as a number, now: OFFSET_END is looked up later, when the first answer may have come
            end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)[1]
            consumer.assign([TopicPartition(topic, partition, end)])
        except KafkaException as error:
            consumer.close()
            raise mapped(error, self._settings, "answers cannot be read") from error
        except BaseException:
            consumer.close()
            raise
        self._thread.start(lambda: consumer)

    def _place(self, known: Mapping[str, Any]) -> tuple[str, int, int]:
        """Topic and partition to read, and their form for the ledger. A user with a topic of its own name may read no
        other."""
        own = replies_of(self._settings.kafka.get("sasl.username", ""))
        if own in known:
            return own, 0, OWN_REPLIES
        count = len(known[REPLIES].partitions) if REPLIES in known else 0
        if not count:
            raise TopicsNotApplied(f"there is no topic {REPLIES!r}", hint=TopicsNotApplied.hint, topic=REPLIES)
        partition = zlib.crc32(self._key) % count
        return REPLIES, partition, partition

    def close(self) -> None:
        """Stops the thread and closes the consumer."""
        self._thread.close()

    def _ours(self, message: Any) -> bytes | None:
        if message.error() is not None:
            # librdkafka goes on by itself; commands that stay unanswered are asked again
            log.warning("reading answers: %s", message.error())
            return None
        if message.key() != self._key:
            return None
        value: bytes | None = message.value()
        return value


def accepted(codec: Codec, value: bytes) -> Reply:
    """The answer that a record of bp.replies is. Raises Undecodable."""
    reply = codec.decode(value)
    if not isinstance(reply, Reply):
        raise Undecodable("undecodable", f"a {type(reply).__name__} is no answer")
    return reply
