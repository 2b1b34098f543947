"""Whether a topic is still the one that a reader began with.

A topic that is deleted and made again has the same name, and offsets that begin again. A reader whose place is beyond
the new end hears of it from Kafka. One whose place exists in the new topic as well hears nothing and reads on in the
middle. The broker gives each topic an id, which tells the two apart.

SHELL around an AdminClient. Nothing here blocks or raises: a reader asks whenever it likes, the answer comes later.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Final

from agents_sdk.wire.quiet import CLIENT_LOGGING

EVERY_S: Final = 3.0
"""Between two questions to the broker."""
TIMEOUT_S: Final = 10.0
Ask = Callable[[Collection[str]], Mapping[str, "Future[Any]"]]
"""Topics → what will be their descriptions, each with a ``topic_id``."""


class TopicIds:
    """The ids of some topics as the broker gave them last. For any thread."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: dict[str, str] = {}
        self._made: Counter[str] = Counter()
        self._watched: set[str] = set()
        self._asked: Mapping[str, Future[Any]] = {}
        self._next = 0.0

    def watch(self, topic: str) -> TopicWatch:
        """The sign for one reader of a topic that it was made again."""
        with self._lock:
            if topic not in self._watched:
                self._watched.add(topic)
                self._next = 0.0  # at once: what it is now has to be known before it can change
                self._look()
            return TopicWatch(self, topic, self._made[topic])

    def made(self, topic: str) -> int:
        """How often the topic was made again since it was watched first."""
        with self._lock:
            self._look()
            return self._made[topic]

    def _look(self) -> None:
        if any(not future.done() for future in self._asked.values()):
            return
        for topic, future in self._asked.items():
            if not future.cancelled() and future.exception() is None:  # else the broker is away, or the topic is
                topic_id = str(future.result().topic_id)
                self._made[topic] += self._ids.setdefault(topic, topic_id) != topic_id
                self._ids[topic] = topic_id
        self._asked = {}
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY_S
            self._asked = self._ask(self._watched)


class TopicWatch:
    """One reader's view of a topic. For one thread."""

    def __init__(self, ids: TopicIds, topic: str, made: int) -> None:
        self._ids = ids
        self.topic = topic
        self._known = made

    def made_again(self) -> bool:
        """Whether the topic is another one than at the question before. Ask often: it costs next to nothing."""
        before, self._known = self._known, self._ids.made(self.topic)
        return self._known != before


_lock: Final = threading.Lock()
_of_cluster: Final[dict[tuple[tuple[str, str], ...], TopicIds]] = {}


def topic_ids(kafka: Mapping[str, str]) -> TopicIds:
    """Those of a cluster; one client asks for all readers of this process."""
    name = tuple(sorted((key, str(value)) for key, value in kafka.items()))
    with _lock:
        if name not in _of_cluster:
            _of_cluster[name] = TopicIds(_asker(dict(kafka)))
        return _of_cluster[name]


def _asker(kafka: Mapping[str, str]) -> Ask:
    client: list[Any] = []

    def ask(topics: Collection[str]) -> Mapping[str, Future[Any]]:
        from confluent_kafka import KafkaException, TopicCollection
        from confluent_kafka.admin import AdminClient

        try:
            if not client:
                client.append(AdminClient({**CLIENT_LOGGING, **kafka}))
            return client[0].describe_topics(TopicCollection(sorted(topics)), request_timeout=TIMEOUT_S)  # type: ignore[no-any-return]  # ships few types
        except (KafkaException, ValueError):
            return {}  # asked again in a while

    return ask
