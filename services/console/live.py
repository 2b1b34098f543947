"""The facts as they come, for a browser: server-sent events whose id is where in the log their reader stands.

A page is made from the store and begins its stream at the offsets that the store had then; a stream that broke goes on
at the offsets of its last event, which the browser sends by itself. Both are read from Kafka, so nothing is missed in
between, however long that was. Each stream has a consumer of its own, assigned to the partitions it is about and
closed with it; nothing is read while nobody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents_sdk.core.facts import Fact
from agents_sdk.core.partition import partition_of
from agents_sdk.errors import Unreachable
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Codec, Undecodable
from services.console.positions import Place, written
from services.runtime.clients import reader
from services.sink.rows import Record

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

CHUNK: Final = 500
"""Facts of one event at most: what a browser lays out without a pause that can be felt."""
LOOK_S: Final = 0.1
"""How often an idle stream looks for facts; librdkafka fetches ahead by itself meanwhile."""
BEAT_S: Final = 10.0
"""A comment where nothing happens, so that a dead connection is noticed at both ends."""
TIMEOUT_S: Final = 5.0
STREAMS: Final = 32
"""At a time; each has a consumer with its threads and buffers."""
Rows = Callable[[list[Record]], str]
"""Facts to HTML; empty: nothing to show."""


class Pace:
    """When panels are told to ask the store again: at most once a ``every_s`` while facts come, and once more
    ``after_s`` behind the last one, when the store has it too. Values only; the caller has the clock."""

    def __init__(self, every_s: float = 1.0, after_s: float = 2.5) -> None:
        self._every_s = every_s
        self._after_s = after_s
        self._told_at = float("-inf")
        self._last_at = float("-inf")
        self._settled = True

    def due(self, now: float, came: bool) -> bool:
        """Whether to tell now; ``came``: there was a fact since the last call."""
        if came:
            self._last_at, self._settled = now, False
        if self._settled:
            return False
        if now - self._last_at >= self._after_s:
            self._settled = True
        elif not came or now - self._told_at < self._every_s:
            return False
        self._told_at = now
        return True


class Tail:
    """A consumer of the fact topics from given places on. One at a time may use it."""

    def __init__(self, settings: Settings, codec: Codec, following: Mapping[Place, int], run: str = "") -> None:
        """``run``: only that run's facts, which lie in one partition number. Raises Unreachable."""
        self._codec = codec
        self._run = run
        self._consumer = reader(
            settings.kafka,
            group_id="bp.console",
            auto_offset_reset="error",
            enable_partition_eof="false",
            fetch_wait_max_ms=250,
            queued_max_messages_kbytes=2_048,
        )
        try:
            self.following = self._places(following)
        except KafkaException as error:
            self._consumer.close()
            raise Unreachable(
                f"Kafka does not answer: {error}", hint="see `backplane status`", server="kafka"
            ) from error
        self._consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in self.following.items()])

    def _places(self, following: Mapping[Place, int]) -> dict[Place, int]:
        known = self._consumer.list_topics(timeout=TIMEOUT_S).topics
        found: dict[Place, int] = {}
        for topic in FACT_TOPICS:
            count = len(known[topic].partitions) if topic in known else 0
            numbers: Iterable[int] = range(count)
            if self._run and count:
                numbers = (partition_of(self._run, count),)
            for number in numbers:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_S)
                found[topic, number] = min(max(following.get((topic, number), high), low), high)
        return found

    def take(self) -> list[Record]:
        """What has come, at most CHUNK facts, without waiting. Raises KafkaException."""
        taken: list[Record] = []
        for message in self._consumer.consume(CHUNK, timeout=0):
            if (error := message.error()) is not None:
                if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise KafkaException(error)
                continue
            topic, number, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
            self.following[topic, number] = offset + 1
            if self._run and message.key() != self._run.encode():
                continue
            try:
                fact = self._codec.decode(message.value())
            except Undecodable:
                continue
            if isinstance(fact, Fact) and (not self._run or fact.run_id == self._run):
                taken.append(Record(topic, number, offset, message.timestamp()[1], fact))
        return taken

    @property
    def id(self) -> str:
        """Where this stands."""
        return written(self.following)

    def close(self) -> None:
        """Leaves Kafka."""
        self._consumer.close()


async def events(tail: Tail, rows: Rows) -> AsyncIterator[bytes]:
    """The stream: facts as HTML to be swapped in, ``changed`` when panels should ask again, beats in between."""
    pace, loop = Pace(), asyncio.get_running_loop()
    said_at = loop.time()
    yield encoded(id=tail.id, event="hello")
    while True:
        try:
            taken = tail.take()
        except KafkaException:
            # What the browser asks for is not there any more, or Kafka is away for good: the page begins anew.
            yield encoded(event="reload")
            return
        if taken and (html := rows(taken)):
            yield encoded(html, id=tail.id)
            said_at = loop.time()
        if pace.due(loop.time(), bool(taken)):
            yield encoded(id=tail.id, event="changed")
            said_at = loop.time()
        if loop.time() - said_at > BEAT_S:
            yield b": still here\n\n"
            said_at = loop.time()
        if not taken:
            await asyncio.sleep(LOOK_S)


def encoded(data: str = "", **fields: Any) -> bytes:
    """One event as it is sent: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"data: {line}" for line in (data.splitlines() if data else ("-",) if "event" in fields else ())]
    return ("\n".join(lines) + "\n\n").encode()
