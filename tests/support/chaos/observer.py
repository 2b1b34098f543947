"""Sees outcomes of calls as they are committed, with the time: what begins later, began after the outcome."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from agents_sdk.core.facts import CallEvent
from agents_sdk.settings import Settings
from agents_sdk.topics import CALLS
from agents_sdk.wire.codec import Codec
from backplane.runtime import clients
from tests.support.chaos.laws import OUTCOMES


class Observer:
    """Reads bp.calls in a thread of its own, from the present end on."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._codec = codec
        self._consumer = clients.reader(settings.kafka)
        self._places = []
        for number in range(settings.topics.partitions):
            end = self._consumer.get_watermark_offsets(TopicPartition(CALLS, number), timeout=10)[1]
            self._places.append(TopicPartition(CALLS, number, end))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self.seen_ns: dict[str, int] = {}
        """Call → when its outcome was in hand."""

    def __enter__(self) -> Self:
        self._consumer.assign(self._places)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            fact = self._codec.decode(message.value())
            if isinstance(fact, CallEvent) and fact.kind in OUTCOMES:
                self.seen_ns.setdefault(fact.call_id, time.time_ns())
