"""A topic that was deleted and made again is told by its id, once to each reader, and by nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from agents_sdk.wire.topic_ids import EVERY_S, TopicIds


class Broker:
    """Gives each topic an id; answers when it is told to."""

    def __init__(self) -> None:
        self.ids = {"a": "1", "b": "2"}
        self.now = 0.0
        self.asked = 0
        self.late: list[tuple[str, Future[Any]]] = []

    def ask(self, topics: Collection[str]) -> Mapping[str, Future[Any]]:
        self.asked += 1
        made: dict[str, Future[Any]] = {topic: Future() for topic in topics}
        self.late += made.items()
        return made

    def answer(self) -> None:
        for topic, future in self.late:
            if topic in self.ids:
                future.set_result(SimpleNamespace(topic_id=self.ids[topic]))
            else:
                future.set_exception(KeyError(topic))
        self.late = []

    def turn(self) -> None:
        """What was asked is answered, and it is time to ask again."""
        self.answer()
        self.now += EVERY_S


def test_each_reader_is_told_once() -> None:
    broker = Broker()
    ids = TopicIds(broker.ask, lambda: broker.now)
    first, second, other = ids.watch("a"), ids.watch("a"), ids.watch("b")
    for _ in range(3):
        assert not first.made_again()
        broker.turn()
    assert not second.made_again()
    assert not other.made_again()
    broker.ids["a"] = "3"
    for _ in range(3):
        ids.made("a")
        broker.turn()
    assert first.made_again()
    assert second.made_again()
    assert not first.made_again()
    assert not other.made_again()


def test_a_topic_that_is_away_for_a_while_is_the_same_one() -> None:
    """And so is every topic while the broker does not answer: nothing is asked meanwhile."""
    broker = Broker()
    ids = TopicIds(broker.ask, lambda: broker.now)
    reader = ids.watch("a")
    reader.made_again()
    broker.turn()
    assert not reader.made_again()
    gone = broker.ids.pop("a")
    broker.turn()
    assert not reader.made_again()
    broker.turn()
    broker.ids["a"] = gone
    asked = broker.asked
    for _ in range(5):
        assert not reader.made_again()
        broker.now += EVERY_S
    assert broker.asked == asked + 1, "the one under way is waited for"
    broker.turn()
    assert not reader.made_again()
