"""The sink's loop over a source and a store in memory: order, pauses, dead letters, ends."""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from agents_sdk.core.facts import DecisionEvent, Fact, Reply
from agents_sdk.core.ids import CommandId
from agents_sdk.wire.codec import Undecodable
from backplane.sink import ingest as module
from backplane.sink.fence import Overtaken, Place
from backplane.sink.ingest import Ingest, IngestPorts, StoreTaken
from backplane.sink.rows import Record, Unreadable
from backplane.sink.source import FetchResult
from backplane.sink.writer import Batch, Writer
from tests.support.eventually import assert_eventually
from tests.support.stories import NOON


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.01,))


class Message:
    def __init__(self, offset: int, value: object) -> None:
        self._offset, self._value = offset, value

    def topic(self) -> str:
        return "bp.decisions"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, NOON // 1000

    def value(self) -> object:
        return self._value


class MemorySource:
    lost = 0

    def __init__(self) -> None:
        self.fetches: queue.Queue[FetchResult | Exception] = queue.Queue()
        self.started: list[dict[Place, int]] = []
        self.committed: dict[Place, int] = {}

    def start(self, stored: Mapping[Place, int], stamps: Mapping[Place, int]) -> None:
        assert stored.keys() == stamps.keys()
        self.started.append(dict(stored))

    def fetch(self, max_rows: int, max_bytes: int, linger_s: float) -> FetchResult:
        try:
            found = self.fetches.get(timeout=0.02)
        except queue.Empty:
            return FetchResult([], {})
        if isinstance(found, Exception):
            raise found
        return found

    def commit(self, following: Mapping[Place, int]) -> None:
        self.committed = dict(following)

    def bring(self, first: int, *values: object, end: int | None = None) -> None:
        messages: list[Any] = [Message(first + number, value) for number, value in enumerate(values)]
        self.fetches.put(FetchResult(messages, {} if end is None else {("bp.decisions", 0): end}))


class MemoryStore:
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.written: list[Record] = []
        self.attempts = 0
        self._batches: dict[str, list[Record]] = {}
        self.refuses: set[int] = set()
        """Offsets of facts that it does not take."""
        self.unpreparable: set[int] = set()
        self.staging: Exception | None = None
        self.resumed = 0

    def stored(self) -> dict[Place, int]:
        return {("bp.decisions", 0): max([4, *(record.offset for record in self.written)])}

    def stamps(self, stored: Mapping[Place, int]) -> dict[Place, int]:
        return dict.fromkeys(stored, 1)

    def resume(self) -> None:
        self.resumed += 1

    def stage(self, records: Any) -> Batch | None:
        if self.staging is not None:
            raise self.staging
        return None

    def prepare(self, records: list[Record]) -> Batch:
        if any(record.offset in self.unpreparable and isinstance(record.row, Fact) for record in records):
            raise OverflowError("a number that no column has")
        token = str(len(self._batches))
        self._batches[token] = records
        return Batch(token, [])

    def write(self, batch: Batch) -> None:
        self.attempts += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError("the store is down")
        records = self._batches[batch.token]
        if any(record.offset in self.refuses and isinstance(record.row, Fact) for record in records):
            raise TypeError("the store does not take it")
        self.written += self._batches[batch.token]


class MemoryLetters:
    def __init__(self) -> None:
        self.written = 0
        self.put_aside: list[tuple[int, str]] = []
        self.flushed = 0

    def put(self, message: Any, code: str, reason: str) -> None:
        self.written += 1
        self.put_aside.append((message.offset(), code))

    def flush(self) -> None:
        self.flushed = self.written


class Running:
    def __init__(self, store: MemoryStore) -> None:
        self.source, self.store, self.letters = MemorySource(), store, MemoryLetters()
        self.stop = threading.Event()
        self.ingest = Ingest(self.source, self.letters, lambda: IngestPorts(store, self.decode), self.stop)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @staticmethod
    def decode(value: Any) -> object:
        if isinstance(value, Exception):
            raise value
        return value

    def _run(self) -> None:
        try:
            self.ingest.run()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running(MemoryStore())
    yield made
    made.end()


def fact(number: int, at: int = NOON) -> DecisionEvent:
    blank: dict[str, Any] = dict.fromkeys(Fact.__struct_fields__, "")
    return DecisionEvent(**{**blank, "run_seq": number, "command_offset": 0, "at": at}, action=str(number))


def offsets(store: MemoryStore, count: int) -> list[int]:
    def there() -> list[int]:
        assert len(store.written) >= count
        return [record.offset for record in store.written]

    return assert_eventually(there, 5)


def test_it_starts_after_what_the_store_has(running: Running) -> None:
    """The store, not the group's offsets, says where to go on."""
    assert_eventually(lambda: _equal(running.source.started, [{("bp.decisions", 0): 4}]))


def _equal(found: object, expected: object) -> None:
    assert found == expected


def test_batches_are_written_in_order_and_then_committed(running: Running) -> None:
    """The hint follows the store, never leads it."""
    running.source.bring(5, fact(1), fact(2))
    running.source.bring(7, fact(3), end=9)

    assert offsets(running.store, 3) == [5, 6, 7]
    assert_eventually(lambda: _equal(running.source.committed, {("bp.decisions", 0): 9}))
    assert running.ingest.status.rows == 3


def test_a_store_that_is_down_pauses_and_loses_nothing() -> None:
    """The same batch is tried until the store takes it; the status says why nothing moves."""
    running = Running(MemoryStore(failures=30))
    running.source.bring(5, fact(1))
    running.source.bring(6, fact(2))
    try:
        assert_eventually(lambda: _equal(running.ingest.status.state, "paused"))
        assert "the store is down" in running.ingest.status.error
        assert offsets(running.store, 2) == [5, 6]
        assert running.store.attempts == 32
        assert running.ingest.status.state == "running"
    finally:
        running.end()


def test_while_the_store_is_down_at_most_three_batches_are_held() -> None:
    """One being written, one waiting, one just read: memory stays bounded."""
    running = Running(MemoryStore(failures=10**9))
    try:
        for number in range(20):
            running.source.bring(5 + number, fact(number))
        assert_eventually(lambda: _equal(running.source.fetches.qsize(), 17))
        running.stop.wait(0.2)
        assert running.source.fetches.qsize() == 17
    finally:
        running.end()
    assert running.store.written == []


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (Undecodable("undecodable", "first byte is 9"), "undecodable"),
        (Undecodable("unknown_schema", "no schema has the id 7"), "unknown_schema"),
        (Reply(command_id=CommandId("c"), reply_to="r", status="ok"), "undecodable"),
        (fact(1, at=-5), "unmappable"),
    ],
)
def test_what_cannot_be_read_is_put_aside_and_has_a_row(running: Running, value: object, code: str) -> None:
    """A poisonous record does not stop the sink, is safe before its row is stored, and keeps rows equal to offsets."""
    running.source.bring(5, fact(1), value, fact(2))

    assert offsets(running.store, 3) == [5, 6, 7]
    assert running.letters.put_aside == [(6, code)]
    assert running.letters.flushed == 1
    row = running.store.written[1].row
    assert isinstance(row, Unreadable)
    assert row.error_code == code


def test_an_error_that_does_not_pass_ends_the_loop() -> None:
    """The process ends and is started anew; it never goes on with a hole."""
    running = Running(MemoryStore())
    running.source.fetches.put(ValueError("broken"))
    running._thread.join(5)

    assert isinstance(running.error, ValueError)
    assert running.stop.is_set()


def test_a_sink_that_was_overtaken_ends() -> None:
    """Another one writes to the store: this one does not know what is stored, and says nothing against the batch."""

    class Shared(MemoryStore):
        def write(self, batch: Batch) -> None:
            self.attempts += 1
            raise Overtaken("another sink writes to table events")

    store = Shared()
    running = Running(store)
    running.source.bring(5, fact(1))
    running._thread.join(5)

    assert isinstance(running.error, Overtaken)
    assert store.attempts == 1
    assert not running.letters.put_aside


def test_a_sink_waits_while_another_one_writes() -> None:
    """It says why, and begins when the other one stands still."""
    stop, taken = threading.Event(), threading.Event()

    def connect() -> IngestPorts:
        if not taken.is_set():
            raise StoreTaken("another sink writes to it")
        return IngestPorts(MemoryStore(), Running.decode)

    ingest = Ingest(MemorySource(), MemoryLetters(), connect, stop)
    thread = threading.Thread(target=ingest.run)
    thread.start()
    assert_eventually(lambda: _equal(ingest.status.state, "paused"))
    assert "another sink writes" in ingest.status.error
    taken.set()
    assert_eventually(lambda: _equal(ingest.status.state, "running"))
    stop.set()
    thread.join(5)


def test_the_store_has_to_stand_still_before_a_sink_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the positions move, somebody writes."""
    process = importlib.import_module("backplane.sink.__main__")
    monkeypatch.setattr(process, "TAKEN_S", 0.0)

    class Looks:
        def __init__(self, *offsets: int) -> None:
            self._offsets = iter(offsets)

        def stored(self) -> dict[Place, int]:
            return {("bp.runs", 0): next(self._offsets)}

    process._wait_for_others(Looks(3, 3))
    with pytest.raises(StoreTaken):
        process._wait_for_others(Looks(3, 4))


def test_a_stop_during_a_pause_ends_without_the_batch() -> None:
    """What was not stored is read again by the next process."""
    running = Running(MemoryStore(failures=10**9))
    running.source.bring(5, fact(1))
    assert_eventually(lambda: _equal(running.ingest.status.state, "paused"))

    running.end()

    assert running.ingest.status.following == {("bp.decisions", 0): 5}
    assert running.source.committed.get(("bp.decisions", 0), 5) == 5


@pytest.mark.parametrize("bad", [[5], [8], [5, 6, 9], list(range(5, 10))])
def test_record_that_the_store_refuses_costs_itself_alone(running: Running, bad: list[int]) -> None:
    """Every other record of the batch is stored once and in order; the refused one is a dead letter and a row."""
    running.store.refuses = set(bad)
    running.source.bring(5, *(fact(number) for number in range(5)))
    running.source.bring(10, fact(9))

    assert offsets(running.store, 6) == [5, 6, 7, 8, 9, 10]
    assert running.letters.put_aside == [(offset, "unmappable") for offset in bad]
    assert [record.offset for record in running.store.written if isinstance(record.row, Unreadable)] == bad
    assert running.store.resumed >= 1
    assert running.ingest.status.state == "running"


@pytest.mark.parametrize("bad", [[5], [5, 7]])
def test_record_that_has_no_row_costs_itself_alone(running: Running, bad: list[int]) -> None:
    """What raises while rows are made of a batch is found by looking at each record."""
    running.store.unpreparable = set(bad)
    running.source.bring(5, *(fact(number) for number in range(3)))

    assert offsets(running.store, 3) == [5, 6, 7]
    assert running.letters.put_aside == [(offset, "unmappable") for offset in bad]


def test_batch_that_cannot_be_staged_is_looked_through(running: Running) -> None:
    """Whatever the engine's parser raises: the records are decoded one by one."""
    running.store.staging = MemoryError("2 GB")
    running.source.bring(5, fact(1), fact(2))

    assert offsets(running.store, 2) == [5, 6]
    assert running.error is None


def test_the_real_writer_has_the_shape_that_the_loop_needs() -> None:
    """The store in memory stands for this class."""
    for name in ("stored", "stage", "prepare", "write", "resume"):
        assert callable(getattr(Writer, name))
