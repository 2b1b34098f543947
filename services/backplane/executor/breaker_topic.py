"""Follows bp.breakers: reads it to its end once, then hands on each change. SHELL; what they mean: ``breakers``."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents_sdk.core.facts import BreakerEvent
from agents_sdk.proofs import WHY, ProofChecker
from agents_sdk.topics import BREAKERS
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.topic_ids import topic_ids
from backplane.runtime import clients
from backplane.runtime.partitions import count_of

log = logging.getLogger("backplane.executor")

AGAIN_S: Final = 5.0
"""Between two attempts to read while Kafka is away."""
POLL_S: Final = 0.2
"""How long closing may take; a record wakes the thread at once."""
FOLLOW_WAIT_MS: Final = 500
"""How long the broker holds a fetch while nothing is new: a record ends the wait."""


class BreakerTopic:
    """One reader of all breakers; ``take`` is called on the loop that ``follow`` was called on."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        codec: Codec,
        take: Callable[[BreakerEvent], None],
        guard: ProofChecker | None = None,
    ) -> None:
        """A record that ``guard`` does not believe is passed over."""
        self._guard = guard
        self._topic = topic_ids(kafka).watch(BREAKERS)
        self._kafka = kafka
        self._codec = codec
        self._take = take
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.known = asyncio.Event()
        """Records that were there at the beginning are taken."""

    def follow(self) -> None:
        """Begins to read; twice does no harm."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, args=(loop,), name="bp-breakers", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Ends reading."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        said = False
        try:
            while not self._stop.is_set():
                try:
                    self._read_on(loop)
                except KafkaException as error:
                    # breakers are a help: without them providers are asked that do not answer, and calls fall back
                    if not said:
                        log.warning("the breakers of other executors are not seen until Kafka is back: %s", error)
                    said = True
                    loop.call_soon_threadsafe(self.known.set)
                    self._stop.wait(AGAIN_S)
        except RuntimeError as error:
            log.debug("follower of the breakers stopped: %s", error)  # the loop was closed under us

    def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads from the beginning, as often as it is called: a fact that comes again changes nothing. The reader of
        what is there asks often, since an empty partition answers late. The one after it waits for news."""
        consumer = clients.reader(self._kafka, fetch_wait_max_ms=clients.QUICK_MS)
        try:
            partitions = range(count_of(consumer, BREAKERS))
            places = dict.fromkeys(partitions, 0)
            left = set(partitions)
            self._follow(loop, consumer, places, left, lambda: bool(left))
        finally:
            consumer.close()
        if left:  # it is to stop, or the topic was made again
            return
        loop.call_soon_threadsafe(self.known.set)
        consumer = clients.reader(self._kafka, fetch_wait_max_ms=FOLLOW_WAIT_MS)
        try:
            self._follow(loop, consumer, places, set(), lambda: True)
        finally:
            consumer.close()

    def _follow(
        self,
        loop: asyncio.AbstractEventLoop,
        consumer: Consumer,
        places: dict[int, int],
        left: set[int],
        wanted: Callable[[], bool],
    ) -> None:
        """Reads from ``places`` and moves them while it is ``wanted``; ``left`` loses each that is read to its end."""
        consumer.assign([TopicPartition(BREAKERS, *place) for place in places.items()])
        while wanted() and not self._stop.is_set() and not self._topic.made_again():
            message = consumer.poll(POLL_S)
            if message is not None:
                self._read(loop, message, left)
                if message.error() is None:
                    places[message.partition() or 0] = (message.offset() or 0) + 1

    def _read(self, loop: asyncio.AbstractEventLoop, message: Message, left: set[int]) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
            elif error.fatal():
                raise KafkaException(error)
            return
        verdict = self._guard.message(message) if self._guard is not None else ""
        if verdict:
            place = (BREAKERS, message.partition(), message.offset())
            log.error("%s[%s] offset %s is passed over: %s", *place, WHY[verdict])
            return
        try:
            fact = self._codec.decode(message.value())
        except Undecodable as undecodable:
            log.error("%s[%s] offset %s is skipped: %s", BREAKERS, message.partition(), message.offset(), undecodable)
            return
        if isinstance(fact, BreakerEvent):
            loop.call_soon_threadsafe(self._took, fact)

    def _took(self, fact: BreakerEvent) -> None:
        try:
            self._take(fact)
        except Exception:  # a breaker that no ledger decided: the others count
            log.exception("breaker %s is passed over", fact.run_id)
