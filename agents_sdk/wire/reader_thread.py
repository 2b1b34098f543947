"""A thread that reads places which nobody shares, and hands what comes to an event loop, in batches.

Answers and the registry are read so. A member of a group (an inbox) has a thread of its own kind: it joins, pauses and
commits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from agents_sdk.wire.consuming import come, consumer
from agents_sdk.wire.quiet import POLLED

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

log = logging.getLogger("backplane.kafka")

POLL_S: Final = 0.2
"""How long closing may take; a record wakes the thread at once."""
T = TypeVar("T")


def follower(kafka: Mapping[str, Any], group: str, wait_ms: int, **properties: Any) -> Consumer:
    """A consumer for ``assign`` that is polled for as long as its process lives. Nothing is ever committed; librdkafka
    wants a name of a group. ``wait_ms``: how long the broker holds a fetch in which nothing is new."""
    return consumer(
        {
            **POLLED,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": wait_ms,
            "fetch.queue.backoff.ms": 5,
            "topic.metadata.refresh.interval.ms": 60_000,
            **{name.replace("_", "."): value for name, value in properties.items()},
            **kafka,
        }
    )


class ReaderThread(Generic[T]):
    """Reads from ``start`` to ``close``."""

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[Message], T | None],
        arrived: Callable[[list[T]], None],
        most: int,
    ) -> None:
        """``keep`` is called in the thread with each message, and gives what is handed on; None passes it over.
        ``arrived`` is called on the loop with a batch of ``most`` of them and one."""
        self._loop = loop
        self._keep = keep
        self._arrived = arrived
        self._most = most
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._open: Callable[[], Consumer] | None = None
        self._between: Callable[[], None] | None = None

    def start(self, open_: Callable[[], Consumer], between: Callable[[], None] | None = None) -> None:
        """``open_`` gives the consumer, assigned; it is called in the thread, which closes what it gave at the end.
        ``between`` is called there before each poll."""
        self._open, self._between = open_, between
        self._thread.start()

    def close(self) -> None:
        """Ends reading, and closes the consumer. Blocks."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._open is not None
        reader = self._open()
        try:
            while not self._stop.is_set():
                if self._between is not None:
                    self._between()
                kept = [one for message in come(reader, POLL_S, self._most) if (one := self._keep(message)) is not None]
                if kept:
                    self._loop.call_soon_threadsafe(self._arrived, kept)
        except RuntimeError as error:
            # the loop was closed under us: nobody is left to hear it
            log.debug("%s stopped: %s", self._thread.name, error)
        finally:
            reader.close()
