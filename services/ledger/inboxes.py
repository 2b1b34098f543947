"""Which topics besides the fact topics take a record now, as the broker says: asked before a record is sent.

A record for a topic that is not there would hold its whole transaction back until it times out, and the partition with
it. SHELL around a producer's metadata.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException, Producer

FRESH_S: Final = 2.0
"""How old an answer may be. A topic that is deleted in between costs one transaction that is written twice."""
NEW_S: Final = 0.1
"""How old it may be where it says no."""
GRACE_S: Final = 3.0
"""How long a topic that is missed for the first time is looked for: an agent makes its inbox a moment before its first
delivery, and the broker that is asked may hear of it later than the one that made it."""
TIMEOUT_S: Final = 5.0


class Topics:
    """Topic → how many partitions it has. For one thread."""

    def __init__(
        self,
        producer: Producer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._producer = producer
        self._clock = clock
        self._sleep = sleep
        self._missed: dict[str, int] = {}
        """Topics that were looked for in vain → the partition that they lack, for as long as they lack it."""
        self._known: dict[str, int] = {}
        self._asked = -FRESH_S

    def problem(self, topic: str, partition: int) -> str:
        """Why the partition cannot be written to; empty where it can, or where the broker does not say so now: one that
        is away or busy says nothing about a topic."""
        answered = self._clock() - self._asked < FRESH_S or self._ask()
        if self._lacks(topic, partition) and self._clock() - self._asked >= NEW_S:
            answered = self._ask()
        if answered and self._known and self._lacks(topic, partition) and topic not in self._missed:
            answered = self._look_for(topic, partition)
        count = self._known.get(topic)
        if not answered or not self._known or not self._lacks(topic, partition):
            return ""
        if count is None:
            return "there is no such topic"
        return f"it has {count} partitions, and partition {partition} is written to"

    def _lacks(self, topic: str, partition: int) -> bool:
        return self._known.get(topic, 0) <= partition

    def _look_for(self, topic: str, partition: int) -> bool:
        """Asks until the topic is there, or the broker says at the end of its time of grace that it is not. Whether the
        broker answered the last question."""
        until = self._clock() + GRACE_S
        answered = True
        while answered and self._lacks(topic, partition) and self._clock() < until:
            self._sleep(NEW_S)
            answered = self._ask()
        if answered and self._lacks(topic, partition):
            self._missed[topic] = partition
        return answered

    def forget(self) -> None:
        """The next question is asked of the broker."""
        self._asked = -FRESH_S

    def _ask(self) -> bool:
        try:
            found = self._producer.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException:
            return False  # the broker is away: the transaction will say so
        self._asked = self._clock()
        self._known = {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}
        self._missed = {name: number for name, number in self._missed.items() if self._known.get(name, 0) <= number}
        return True
