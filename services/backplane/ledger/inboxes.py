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
"""How long a topic that is missed for the first time is looked for. An agent makes its inbox a moment before its first
delivery. The broker that is asked may hear of it later than the one that made it."""
TIMEOUT_S: Final = 5.0


class LookAgain(Exception):
    """A topic is missed for the first time: it may be new. The caller asks again after ``NEW_S``; a waiter must not
    hold a thread that others need."""


class Topics:
    """Topic → how many partitions it has. For one thread at a time."""

    def __init__(self, producer: Producer, clock: Callable[[], float] = time.monotonic) -> None:
        self._producer = producer
        self._clock = clock
        self._sought: dict[str, float] = {}
        """Topics that are missed for the first time → when their time of grace is over."""
        self._missed: dict[str, int] = {}
        """Topics that were looked for in vain → the partition that they lack, for as long as they lack it."""
        self._known: dict[str, int] = {}
        self._asked = -FRESH_S

    def problem(self, topic: str, partition: int) -> str:
        """Why the partition cannot be written to. Empty where it can, or where the broker does not say so now: one that
        is away or busy says nothing about a topic. Raises LookAgain while a topic that may be new is looked for."""
        answered = self._clock() - self._asked < FRESH_S or self._ask()
        if self._lacks(topic, partition) and self._clock() - self._asked >= NEW_S:
            answered = self._ask()
        if answered and self._known and self._lacks(topic, partition) and topic not in self._missed:
            self._look_for(topic, partition)
        count = self._known.get(topic)
        if not answered or not self._known or not self._lacks(topic, partition):
            return ""
        if count is None:
            return "there is no such topic"
        return f"it has {count} partitions, and partition {partition} is written to"

    def _lacks(self, topic: str, partition: int) -> bool:
        return self._known.get(topic, 0) <= partition

    def _look_for(self, topic: str, partition: int) -> None:
        """The broker says that the topic is not there; at the end of its time of grace it counts as missing. Raises
        LookAgain before."""
        if self._clock() < self._sought.setdefault(topic, self._clock() + GRACE_S):
            raise LookAgain(topic)
        del self._sought[topic]
        self._missed[topic] = partition

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
        self._sought = {name: until for name, until in self._sought.items() if until + GRACE_S > self._asked}
        return True
