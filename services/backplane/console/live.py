"""The facts as they come, for a browser: server-sent events whose id is where in the log their reader stands.

A page is made from the store and begins its stream at the offsets that the store had then. A stream that broke goes on
at the offsets of its last event, which the browser sends by itself. Both are read from Kafka, so nothing is missed in
between, however long that was. Each stream has a consumer of its own, assigned to the partitions it is about and
closed with it; nothing is read while nobody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

from confluent_kafka import KafkaException

from backplane.console.positions import written
from backplane.insight.tail import Tail
from backplane.sink.fence import Place
from backplane.sink.rows import Record

LOOK_S: Final = 0.1
"""How often an idle stream looks for facts; librdkafka fetches ahead by itself meanwhile."""
BEAT_S: Final = 10.0
"""A comment where nothing happens, so that a dead connection is noticed at both ends."""
STREAMS: Final = 32
"""At a time; each has a consumer with its threads and buffers."""


class Rows(Protocol):
    """The part of the facts that a stream shows."""

    def html(self, records: list[Record], now: float) -> str:
        """To be swapped in; empty: nothing to show. Also called where nothing came."""

    def mark(self, following: Mapping[Place, int]) -> str:
        """The id of an event: by it the stream goes on where it was cut."""


class NoRows:
    """Of a page whose panels ask the store again."""

    def html(self, records: list[Record], now: float) -> str:
        """Nothing."""
        return ""

    def mark(self, following: Mapping[Place, int]) -> str:
        """Where the reader is."""
        return written(following)


class Pace:
    """The times at which panels ask the store again. It is at most once in ``every_s`` while facts come, and once more
    ``after_s`` after the last one, when the store has it too. Values only; the caller has the clock."""

    def __init__(self, every_s: float = 1.0, after_s: float = 2.5) -> None:
        self._every_s = every_s
        self._after_s = after_s
        self._sent_at = float("-inf")
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
        elif not came or now - self._sent_at < self._every_s:
            return False
        self._sent_at = now
        return True


async def events(tail: Tail, rows: Rows) -> AsyncIterator[bytes]:
    """The stream: facts as HTML to be swapped in, ``changed`` when panels should ask again, beats in between."""
    pace, loop = Pace(), asyncio.get_running_loop()
    said_at = loop.time()
    yield encoded(id=rows.mark(tail.following), event="hello")
    while True:
        try:
            taken = tail.take()
        except KafkaException:
            # What the browser asks for is not there any more, or Kafka is away for good: the page begins again.
            yield encoded(event="reload")
            return
        if html := rows.html(taken, loop.time()):
            yield encoded(html, id=rows.mark(tail.following))
            said_at = loop.time()
        if pace.due(loop.time(), bool(taken)):
            yield encoded(id=rows.mark(tail.following), event="changed")
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
