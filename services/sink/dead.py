"""Dead letters of the sink: records of fact topics that could not be read, kept byte for byte in ``dlq.<topic>``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import KafkaException, Message

from agents_sdk.topics import dead_letter
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers
from services.runtime.clients import producer

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
            group="bp.sink",
            message=reason,
            exception_class=code,
            stage="decode",
            first_failed_at=datetime.fromtimestamp(max(message.timestamp()[1], 0) / 1000, UTC).isoformat(),
        )
        self._producer.produce(
            dead_letter(topic),
            key=message.key(),
            value=message.value(),
            headers=list[tuple[str, str | bytes | None]](dead_letter_headers(letter, message.headers())),
            on_delivery=self._delivered,
        )
        self.written += 1

    def flush(self) -> None:
        """Returns when all are safe. Raises KafkaException when they are not."""
        left = self._producer.flush(FLUSH_S)
        failed, self._failed = self._failed, []
        if left or failed:
            raise KafkaException(f"{left + len(failed)} dead letters not delivered: {failed[:1] or 'no answer'}")

    def _delivered(self, error: object, _: Message) -> None:
        if error is not None:
            self._failed.append(str(error))
