"""Whether a topic takes a record: a new one is looked for, one that is missing is missed once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from backplane.ledger.inboxes import GRACE_S, NEW_S, LookAgain, Topics


class Broker:
    """Its topics, from a time on."""

    def __init__(self, **made_at: float) -> None:
        self.made_at = made_at
        self.now = 0.0
        self.asked = 0
        self.away = False

    def list_topics(self, timeout: float) -> Any:
        self.asked += 1
        if self.away:
            self.now += timeout
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        there = {
            name: SimpleNamespace(error=None, partitions=range(4))
            for name, at in self.made_at.items()
            if at <= self.now
        }
        return SimpleNamespace(topics=there)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Patient:
    """Asks again as the committer does."""

    def __init__(self, broker: Broker) -> None:
        self.topics = Topics(broker, lambda: broker.now)  # type: ignore[arg-type]  # what is asked of a producer
        self.broker = broker

    def problem(self, topic: str, partition: int) -> str:
        while True:
            try:
                return self.topics.problem(topic, partition)
            except LookAgain:
                self.broker.sleep(NEW_S)


def topics(broker: Broker) -> Patient:
    return Patient(broker)


def test_an_inbox_made_a_moment_ago_is_waited_for() -> None:
    """However shortly before the broker was asked for another one."""
    broker = Broker(other=0.0, new=0.04)
    asked = topics(broker)
    assert asked.problem("other", 0) == ""

    broker.now = 0.05
    assert asked.problem("new", 3) == ""
    late = topics(Broker(other=0.0, late=GRACE_S - 0.2))
    assert late.problem("late", 0) == ""


def test_one_that_is_missing_is_waited_for_once() -> None:
    """And found when somebody makes it, by whatever partition is asked for."""
    broker = Broker(other=0.0, later=60.0)
    asked = topics(broker)
    assert asked.problem("later", 0) == "there is no such topic"
    waited = broker.now
    assert waited >= GRACE_S

    for _ in range(100):
        assert asked.problem("later", 1) != ""
    assert broker.now == waited
    broker.now = 61.0
    assert asked.problem("later", 1) == ""
    assert asked.problem("other", 9).startswith("it has 4 partitions")


def test_a_broker_that_does_not_answer_says_nothing_of_a_topic() -> None:
    """Away when it is asked first, or in the time of grace: the topic may have been made since it last answered."""
    broker = Broker(other=0.0, new=0.5)
    asked = topics(broker)
    assert asked.problem("other", 0) == ""
    broker.away = True
    for _ in range(5):
        assert asked.problem("new", 0) == ""
    broker.away = False
    assert asked.problem("new", 0) == ""
    assert asked.problem("none", 0) == "there is no such topic"
    broker.away = True
    broker.now += 60
    assert asked.problem("none", 0) == ""
