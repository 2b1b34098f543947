"""What Kafka says of partitions: an answer that is none is a failure, and a client that failed is not asked again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from backplane.runtime import partitions
from backplane.runtime.again import passes
from backplane.runtime.partitions import EndOffsets, count_of, first_since

PLACE = ("bp.runs", 3)
NO_OFFSET = -1001


class Broker:
    """A broker at whose events each client that knows it breaks, for good; and clients of it."""

    def __init__(self) -> None:
        self.end = 0
        self.events = 0
        self.away = False
        self.made = 0

    def client(self, _: Any) -> Any:
        """As ``AdminClient``."""
        self.made += 1
        knows = self.events

        def list_offsets(asked: Any, **_: Any) -> Any:
            def result() -> Any:
                if self.away:
                    raise KafkaException(KafkaError(KafkaError._TRANSPORT))
                if knows != self.events and self.events % 2:
                    raise KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH))
                return SimpleNamespace(offset=self.end if knows == self.events else NO_OFFSET)

            return {place: SimpleNamespace(result=result) for place in asked}

        return SimpleNamespace(list_offsets=list_offsets)


@pytest.fixture
def leader(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """One that is there."""
    made = Broker()
    monkeypatch.setattr(partitions, "AdminClient", made.client)
    return made


@given(events=st.lists(st.sampled_from(["grows", "elects", "goes", "comes"])))
def test_an_end_is_the_brokers_or_an_error(events: list[str]) -> None:
    """Whatever happened to the broker before: while it is there, the first question is answered, and truly."""
    with pytest.MonkeyPatch.context() as patched:
        broker = Broker()
        patched.setattr(partitions, "AdminClient", broker.client)
        ends = EndOffsets({})
        for event in events:
            broker.end += event == "grows"
            broker.events += event == "elects"
            broker.away = event == "goes" or (broker.away and event != "comes")
            if broker.away:
                with pytest.raises(KafkaException) as raised:
                    ends.of([PLACE])
                assert passes(raised.value)
            else:
                assert ends.of([PLACE]) == {PLACE: broker.end}


def test_a_client_that_answers_is_kept(leader: Broker) -> None:
    """A connection for each question would cost a login each."""
    ends = EndOffsets({})
    ends.connect()
    for _ in range(3):
        ends.of([PLACE])
    assert leader.made == 1


@pytest.mark.parametrize("found", [{}, {"bp.runs": SimpleNamespace(partitions={}, error=None)}])
def test_a_topic_without_partitions_is_none_yet(found: dict[str, Any]) -> None:
    """A broker that has just started knows no topic; zero partitions would be taken for an answer."""
    consumer: Any = SimpleNamespace(list_topics=lambda *_, **__: SimpleNamespace(topics=found))
    with pytest.raises(KafkaException) as raised:
        count_of(consumer, "bp.runs")
    assert passes(raised.value)


def test_partitions_are_counted() -> None:
    """By what the broker says."""
    found = {"bp.runs": SimpleNamespace(partitions={0: 1, 1: 1}, error=None)}
    consumer: Any = SimpleNamespace(list_topics=lambda *_, **__: SimpleNamespace(topics=found))
    assert count_of(consumer, "bp.runs") == 2


@pytest.mark.parametrize(("offset", "expected"), [(-1, None), (0, 0), (7, 7)])
def test_the_first_record_since_a_time(offset: int, expected: int | None) -> None:
    """-1 is the end: no record is that young."""
    assert first_since(_timed(offset), *PLACE, 1) == expected


@pytest.mark.parametrize(
    ("offset", "error"), [(NO_OFFSET, None), (NO_OFFSET, KafkaError(KafkaError.FENCED_LEADER_EPOCH))]
)
def test_no_time_is_no_answer(offset: int, error: KafkaError | None) -> None:
    """Taken for the end, it would hide what was tried before."""
    with pytest.raises(KafkaException) as raised:
        first_since(_timed(offset, error), *PLACE, 1)
    assert passes(raised.value)


def _timed(offset: int, error: KafkaError | None = None) -> Any:
    place = SimpleNamespace(topic=PLACE[0], partition=PLACE[1], offset=offset, error=error)

    def offsets_for_times(asked: list[TopicPartition], timeout: float) -> list[Any]:
        assert [(one.topic, one.partition, one.offset) for one in asked] == [(*PLACE, 1)]
        return [place]

    return SimpleNamespace(offsets_for_times=offsets_for_times)
