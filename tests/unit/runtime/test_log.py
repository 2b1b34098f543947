"""Merged reading: the order of decision over several topics, in bounded memory."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from backplane.runtime import log
from backplane.runtime.again import passes


class FakeMessage:
    """As much of a confluent Message as the reader looks at."""

    def __init__(self, topic: str, offset: int, value: bytes | None, error: KafkaError | None = None) -> None:
        self._topic, self._offset, self._value, self._error = topic, offset, value, error

    def topic(self) -> str:
        return self._topic

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def error(self) -> KafkaError | None:
        return self._error


class Slices:
    """A reader whose records come in slices: ``poll`` gives the first of one, ``consume`` the others."""

    _others: list[FakeMessage]

    def poll(self, timeout: float) -> FakeMessage | None:
        come = self.come(log.CHUNK)
        self._others = come[1:]
        return come[0] if come else None

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        assert timeout == 0, "what has come is handed on at once"
        assert len(self._others) <= count
        return self._others

    def come(self, count: int) -> list[FakeMessage]:
        raise NotImplementedError


class FakeConsumer(Slices):
    """Serves topics in arbitrary slices, honours pause, and signals the end of each partition once."""

    def __init__(self, topics: dict[str, list[int]], seed: int) -> None:
        self._left = {topic: list(enumerate(values)) for topic, values in topics.items()}
        self._paused: set[str] = set()
        self._random = random.Random(seed)
        self.most_buffered = 0

    def assign(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._left[partition.topic] = self._left[partition.topic][partition.offset :]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._paused |= {partition.topic for partition in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._paused -= {partition.topic for partition in partitions}

    def come(self, count: int) -> list[FakeMessage]:
        ready = [topic for topic in self._left if topic not in self._paused]
        if not ready:
            pytest.fail("the reader waits for topics that it has paused")
        topic = self._random.choice(ready)
        taken = self._left[topic][: self._random.randint(1, count)]
        self._left[topic] = self._left[topic][len(taken) :]
        out = [FakeMessage(topic, offset, str(value).encode()) for offset, value in taken]
        if not self._left[topic]:
            del self._left[topic]
            out.append(FakeMessage(topic, -1, None, KafkaError(KafkaError._PARTITION_EOF)))
        return out


def merged(topics: dict[str, list[int]], seed: int, starts: dict[str, int] | None = None) -> list[int]:
    consumer: Any = FakeConsumer(topics, seed)
    accept: log.Accept = lambda message: int(message.value() or b"0")  # noqa: E731  # a name would say no more
    located = log.read_merged(
        consumer, 0, starts or dict.fromkeys(topics, 0), accept, lambda record: (int(str(record)),)
    )
    return [int(str(one.record)) for one in located]


@given(
    st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(0, 1000), max_size=60), min_size=1),
    st.integers(0, 2**32),
)
def test_any_slicing_gives_the_sorted_union(topics: dict[str, list[int]], seed: int) -> None:
    """However the broker slices and interleaves topics, the merge is the sorted union of all their records."""
    ordered = {topic: sorted(values) for topic, values in topics.items()}

    assert merged(ordered, seed) == sorted(value for values in topics.values() for value in values)


def test_starts_leave_out_what_lies_before() -> None:
    """A topic is read from its start offset on."""
    assert merged({"a": [1, 3, 5], "b": [2, 4]}, 7, {"a": 2, "b": 1}) == [4, 5]


def test_a_topic_that_runs_ahead_is_paused_and_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pausing bounds the buffers and loses nothing."""
    monkeypatch.setattr(log, "PAUSE_ABOVE", 10)
    monkeypatch.setattr(log, "RESUME_BELOW", 5)
    monkeypatch.setattr(log, "CHUNK", 7)
    topics = {"long": list(range(500)), "late": [400, 450, 600]}

    assert merged(topics, 3) == sorted([*range(500), 400, 450, 600])


def test_an_error_of_the_broker_is_raised() -> None:
    """Only the end of a partition is no error."""

    class Broken(FakeConsumer):
        def come(self, count: int) -> list[FakeMessage]:
            return [FakeMessage("a", 0, None, KafkaError(KafkaError._ALL_BROKERS_DOWN))]

    consumer: Any = Broken({"a": [1]}, 0)
    with pytest.raises(KafkaException):
        list(log.read_merged(consumer, 0, {"a": 0}, lambda value: value, lambda record: (0,)))


class Hesitant(Slices):
    """A reader that is told of an end before the record that lies behind it becomes visible."""

    def __init__(self, topic: str) -> None:
        end = KafkaError(KafkaError._PARTITION_EOF)
        self._said = [
            [FakeMessage(topic, 0, None, end)],
            [],
            [FakeMessage(topic, 0, b"7")],
            [FakeMessage(topic, 1, None, end)],
        ]

    def assign(self, _: Any) -> None:
        return

    def come(self, count: int) -> list[FakeMessage]:
        return self._said.pop(0) if self._said else []


def test_what_is_there_and_not_visible_yet_is_waited_for() -> None:
    """After a broker was killed in the middle of a commit, one topic shows it later than another."""
    consumer: Any = Hesitant("a")
    located = log.read_merged(
        consumer, 0, {"a": 0}, lambda one: int(one.value() or b"0"), lambda record: (0,), {"a": 1}
    )
    assert [one.record for one in located] == [7]

    ranged: Any = Hesitant("a")
    assert [message.offset() for message in log.read_range(ranged, "a", 0, 0, 1, whole=True)] == [0]
    assert list(log.read_range(cast("Any", Hesitant("a")), "a", 0, 0, 1)) == []


def test_what_never_becomes_visible_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No decision may rest on half of the facts."""
    monkeypatch.setattr(log, "LATE_S", 0.0)
    consumer: Any = Hesitant("a")
    with pytest.raises(TimeoutError, match="end 9"):
        list(log.read_merged(consumer, 0, {"a": 0}, lambda value: 1, lambda record: (0,), {"a": 9}))


def test_a_reader_that_gets_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a record nor an end: the caller may try again by another reader, and does not wait for ever."""
    monkeypatch.setattr(log, "SILENT_S", 0.0)
    monkeypatch.setattr(log, "POLL_S", 0.0)
    for read in (
        lambda one: log.read_merged(one, 0, {"a": 0}, lambda value: 1, lambda record: (0,)),
        lambda one: log.read_range(one, "a", 0, 0, 1),
    ):
        with pytest.raises(KafkaException, match="neither a record nor an end of a") as raised:
            list(read(cast("Any", Silent())))
        assert passes(raised.value)


class Silent(Slices):
    """A reader of a broker that gives nothing."""

    def assign(self, _: Any) -> None:
        return

    def come(self, count: int) -> list[FakeMessage]:
        return []


def test_what_is_no_record_of_ours_is_passed_over() -> None:
    """``accept`` says None: the merge goes on, and the order of the others is kept."""
    consumer: Any = FakeConsumer({"a": [1, 2, 3], "b": [2, 4]}, 1)
    accept: log.Accept = lambda message: None if message.value() == b"2" else int(message.value() or b"0")  # noqa: E731
    located = log.read_merged(consumer, 0, {"a": 0, "b": 0}, accept, lambda record: (int(str(record)),))
    assert [one.record for one in located] == [1, 3, 4]
