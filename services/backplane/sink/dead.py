"""Dead letters of the sink: records of fact topics that could not be read, kept byte for byte in ``dlq.<topic>``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from agents_sdk.core.identity import SINK
from agents_sdk.topics import dead_letter
from agents_sdk.wire.consuming import UnreadableBatch, headers_of
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers
from agents_sdk.wire.instants import utc
from backplane.runtime.clients import producer

log = logging.getLogger("backplane.sink")

FLUSH_S: Final = 30.0


class DeadLetters:
    """Where unreadable records go. At least once: a crash before the record's row is stored writes it again."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._producer = producer(kafka)
        self._failed: list[str] = []
        self.written = 0
        """Since this process began."""

    def put(self, message: Message, code: str, reason: str) -> None:
        """Puts the record aside; it is not safe before ``flush``."""
        topic, partition, offset = str(message.topic()), message.partition() or 0, message.offset() or 0
        log.error("dead letter: %s[%d] offset %d: %s", topic, partition, offset, reason)
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            group=SINK,
            message=reason,
            exception_class=code,
            stage="decode",
            first_failed_at=utc(max(message.timestamp()[1], 0) * 1_000).isoformat(),
        )
        try:
            self._write(topic, message.key(), message.value(), dead_letter_headers(letter, headers_of(message)))
        except (KafkaException, ValueError, TypeError) as error:
            # the record is larger than a record may be with our headers, or has headers that cannot be written
            log.error("the dead letter has not the record with it: %s", error)
            self._write(topic, None, None, dead_letter_headers(letter))
        self.written += 1

    def passed_over(self, batch: UnreadableBatch) -> None:
        """A letter for a batch that cannot be read: it names the place where the records lie."""
        letter = DeadLetter(
            topic=batch.topic,
            partition=batch.partition,
            offset=batch.start,
            group=SINK,
            message=f"offsets {batch.start} to {batch.stop - 1} cannot be read: {batch.why}",
            exception_class="unreadable",
            stage="read",
        )
        self._write(batch.topic, None, None, dead_letter_headers(letter))
        self.written += 1

    def _write(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        given = list[tuple[str, str | bytes | None]](headers)
        try:
            self._producer.produce(dead_letter(topic), value, key, headers=given, on_delivery=self._delivered)
        except BufferError:
            self.flush()
            self._producer.produce(dead_letter(topic), value, key, headers=given, on_delivery=self._delivered)

    def flush(self) -> None:
        """Returns when all are safe, or refused for good: a topic that is gone must not stop the sink. Raises
        KafkaException when the broker does not answer."""
        left = self._producer.flush(FLUSH_S)
        failed, self._failed = self._failed, []
        if failed:
            log.error("%d dead letters cannot be written: %s; `backplane topics apply`", len(failed), failed[0])
        if left:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} dead letters are not delivered"))

    def _delivered(self, error: object, _: Message) -> None:
        if error is not None:
            self._failed.append(str(error))
