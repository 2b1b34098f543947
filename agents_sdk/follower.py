"""Follows the registry's topics: reads them to their end once, and hands on each change from then on.

SHELL around a ``ReaderThread``; what the records mean: ``agents_sdk.core.catalogue``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.registry import Record
from agents_sdk.registrar import Trust, trust
from agents_sdk.topics import TOPIC_OF_REGISTRY
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.consuming import come
from agents_sdk.wire.reader_thread import POLL_S, ReaderThread, follower
from agents_sdk.wire.topic_ids import topic_ids
from agents_sdk.wire.topics_admin import TIMEOUT_S, TopicsNotApplied, mapped

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

log = logging.getLogger("backplane.registry")

BATCH: Final = 500
OPEN_WAIT_MS: Final = 10
"""The opener waits for the first fetch of each topic; held back for 500 ms each they were half of a start."""
FOLLOW_WAIT_MS: Final = 500
KIND_OF: Final = {topic: kind for kind, topic in TOPIC_OF_REGISTRY.items()}

Changed = Callable[[Iterable[tuple[type[Record], str]]], None]
"""Called with the kind and key of each record that came."""


ANYBODY: Final = Trust()


class Follower:
    """One reader of the registry. ``catalogue`` is changed on the event loop that ``follow`` was called on, and on no
    other thread; before that, by ``open``."""

    def __init__(self, settings: Settings, codec: Codec, trust: Trust = ANYBODY) -> None:
        """A record that ``trust`` does not like is passed over, with a warning."""
        self.catalogue = Catalogue()
        self.next = dict.fromkeys(KIND_OF, 0)
        """Topic → the offset it reads next."""
        self._settings = settings
        self._topics = [topic_ids(settings.kafka).watch(topic) for topic in KIND_OF]
        self._codec = codec
        self._trust = trust
        self._thread: ReaderThread[Message] | None = None
        self._consumer: Consumer | None = None

    def open(self) -> None:
        """Reads everything that is there. Blocks; a second at most where nothing is wrong.

        Raises:
            Unreachable, TopicsNotApplied: no broker, or no registry.
        """
        from confluent_kafka import KafkaException

        self._let_go()  # where it was opened before, and later records have failed
        consumer = self._consumer = self._reader(OPEN_WAIT_MS)
        try:
            known = consumer.list_topics(timeout=TIMEOUT_S).topics
            for topic in KIND_OF:
                if topic not in known:
                    raise TopicsNotApplied(f"there is no topic {topic!r}", hint=TopicsNotApplied.hint, topic=topic)
            self._go_on()
            self.catch_up()
        except KafkaException as error:
            self._let_go()
            raise mapped(error, self._settings, "the registry cannot be read") from error
        except BaseException:
            self._let_go()
            raise

    def _reader(self, wait_ms: int) -> Consumer:
        """``wait_ms``: how long the broker holds a fetch of topics in which nothing is new."""
        # a topic that was made again is read from its beginning
        ends: dict[str, Any] = {"enable_partition_eof": True, "auto_offset_reset": "earliest"}
        return follower(self._settings.kafka, "bp.registry", wait_ms, **ends)

    def _go_on(self) -> None:
        from confluent_kafka import TopicPartition

        assert self._consumer is not None
        self._consumer.assign([TopicPartition(topic, 0, offset) for topic, offset in self.next.items()])

    def follow(self, changed: Changed) -> None:
        """Goes on reading from where ``open`` ended; ``changed`` is called on the running loop, after ``catalogue`` has
        taken what came."""
        loop = asyncio.get_running_loop()
        self._thread = ReaderThread("bp-registry", loop, _read, partial(self._hand_over, changed), BATCH)
        self._thread.start(self._open_again, self._look_for_new_topics)

    def close(self) -> None:
        """Ends reading."""
        if self._thread is not None:
            self._thread.close()
        else:
            self._let_go()

    def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def catch_up(self) -> None:
        """Reads to the present end, between ``open`` and ``follow``. Blocks. Raises Unreachable."""
        from confluent_kafka import KafkaException

        try:
            self._catch_up()
        except KafkaException as error:
            raise mapped(error, self._settings, "the registry cannot be read") from error

    def _catch_up(self) -> None:
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        consumer = self._consumer
        assert consumer is not None
        ends = {
            topic: consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=TIMEOUT_S)[1] for topic in KIND_OF
        }
        deadline = time.monotonic() + TIMEOUT_S
        while any(self.next[topic] < end for topic, end in ends.items()):
            for message in come(consumer, POLL_S, BATCH):
                error = message.error()
                if error is None:
                    self._take(message)
                    deadline = time.monotonic() + TIMEOUT_S  # of silence, or a long registry could never be read
                elif error.code() == KafkaError._PARTITION_EOF:
                    # what the end was counted with may have been compacted away
                    self.next[str(message.topic())] = int(message.offset() or 0)
                elif error.fatal() or not error.retriable():
                    raise KafkaException(error)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def _open_again(self) -> Consumer:
        assert self._consumer is not None
        self._consumer.close()
        consumer = self._consumer = self._reader(FOLLOW_WAIT_MS)
        self._go_on()
        return consumer

    def _look_for_new_topics(self) -> None:
        """A topic that was deleted and made again is read from its beginning. The known state goes on to count, for as
        long as nothing newer is in it."""
        anew = [each.topic for each in self._topics if each.made_again()]
        if anew:
            log.error("%s made again: read from the beginning", ", ".join(anew))
            self.next |= dict.fromkeys(anew, 0)
            self._go_on()

    def _hand_over(self, changed: Changed, batch: list[Message]) -> None:
        changed([taken for taken in map(self._take, batch) if taken is not None])

    def _take(self, message: Any) -> tuple[type[Record], str] | None:
        try:
            return self._taken(message)
        except Exception:  # whatever a record may hold: what is known goes on to count
            log.exception("%s offset %s is passed over", message.topic(), message.offset())
            return None

    def _taken(self, message: Any) -> tuple[type[Record], str] | None:
        topic, offset, value = str(message.topic()), int(message.offset()), message.value()
        self.next[topic] = offset + 1
        kind = KIND_OF[topic]
        key = (message.key() or b"").decode(errors="replace")
        if value is None:
            believed, at = self._trust.removal(message)
            if not believed:
                log.error("%s offset %d (removal of %s) is passed over: its writer is not proven", topic, offset, key)
                return None
            self.catalogue.drop(kind, key, at)
            return kind, key
        try:
            record = self._codec.decode(value)
        except Undecodable as error:
            log.error("%s offset %d is passed over: %s", topic, offset, error)
            return None
        if not isinstance(record, kind) or not self._trust.record(message, record):
            log.error("%s offset %d (%s) is passed over: it is not signed by who may write it", topic, offset, key)
            return None
        # what was written before this process began is as old as its writer says; what comes later is new
        age = 0.0 if self._thread else max(time.time() - message.timestamp()[1] / 1000, 0.0)
        self.catalogue.take(record, offset, time.monotonic() - age)
        return kind, key


def _read(message: Message) -> Message | None:
    return message if message.error() is None else None


def read_catalogue(settings: Settings, codec: Codec) -> Catalogue:
    """The registry as it is now, as far as it is to be believed. Blocks. Raises Unreachable, TopicsNotApplied."""
    reader = Follower(settings, codec, trust(settings))
    reader.open()
    reader.close()
    return reader.catalogue
