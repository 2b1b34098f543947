"""The sink's loop: from Kafka to the store, two threads so that decoding goes on while the store works.

The reader, for each batch:
1. commits how far the store is, as a hint, and fetches records. It is one thread for both: confluent-kafka lets only
   one into a consumer at a time, and a commit from another waits for ever,
2. has ClickHouse parse them (``backplane.sink.stage``). Where it refuses the batch, decodes them one by one and makes
   columns of them. An undecodable record goes to its dead-letter topic, which is flushed,
3. hands them over; at most one batch waits, so memory is bounded.
The writer, for each batch:
4. writes it, again and again with growing pauses until the store has taken it,
5. notes how far the store is.

A store that is down stops step 4, so the reader stops at step 3 and librdkafka at its queue's limit. Nothing else in
the platform waits for this process. A crash anywhere is repaired by starting: the store says where to go on.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from agents_sdk.core.facts import Fact
from agents_sdk.proofs import WHY, ProofChecker
from agents_sdk.wire.codec import Undecodable
from backplane.sink.fence import Overtaken, Place
from backplane.sink.frames import EncodedRecord
from backplane.sink.rows import Record, Unreadable, unmappable, unreadable
from backplane.sink.suspects import NoNotes, Notes, ranges_of, rows_of_a_part
from backplane.sink.writer import Batch

log = logging.getLogger("backplane.sink")

MAX_ROWS: Final = 50_000
"""Rows of a batch. An insert waits for 14 fsyncs (50 ms and more on a busy disk) and its part is merged again. With
20,000 rows that was a quarter of the wall clock and 16 µs of processor a fact; with 50,000 it is 10 µs. ``MAX_BYTES``
bounds the memory."""
MAX_BYTES: Final = 32 * 2**20
"""Encoded bytes of a batch."""
LINGER_S: Final = 0.4
"""How long a batch is waited for: visible within two seconds, with parts few enough for the merges."""
PATIENCE: Final = 3
"""How often a batch that the store refuses is tried as a whole: merges that are late, or memory that is short, pass."""
PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between attempts while the store or the registry is away; the last one repeats."""

APART_S: Final = 0.01
DEADLY: Final = "deadly"
"""Verdict on a record that has killed the process that touches it."""
KILLED: Final = "processes died at this record; it is not read again"

T = TypeVar("T")
Judged = tuple[Any, str]
"""A message, and why it is not believed; empty: it is."""


class Source(Protocol):
    """The operations of ``backplane.sink.source.FactSource``."""

    lost: int

    def start(self, stored: Mapping[Place, int], stamps: Mapping[Place, int]) -> None: ...
    def fetch(self, max_rows: int, max_bytes: int, linger_s: float) -> Any: ...
    def commit(self, following: Mapping[Place, int]) -> None: ...


class Store(Protocol):
    """The operations of ``backplane.sink.writer.Writer``."""

    def stored(self) -> dict[Place, int]: ...
    def stamps(self, stored: Mapping[Place, int]) -> dict[Place, int]: ...
    def stage(self, records: list[EncodedRecord]) -> Batch | None: ...
    def prepare(self, records: list[Record]) -> Batch: ...
    def write(self, batch: Batch) -> None: ...
    def resume(self) -> None: ...


class Letters(Protocol):
    """The operations of ``backplane.sink.dead.DeadLetters``."""

    written: int

    def put(self, message: Any, code: str, reason: str) -> None: ...
    def flush(self) -> None: ...


class IngestPorts(NamedTuple):
    """The outside of the loop, besides the source."""

    store: Store
    decode: Callable[[bytes | None], object]


class StoreRefuses(Exception):
    """The store answers, and does not take a batch."""


class StoreTaken(Exception):
    """Another sink writes to the store. This one waits until that one stands still."""


class PendingBatch(NamedTuple):
    """A batch on its way from the reader to the writer."""

    batch: Batch
    judged: list[Judged]
    """Its records, for the store that refuses it."""
    following: dict[Place, int]


@dataclass
class Status:
    """The process's report about itself; written by the two threads, read by any."""

    state: str = "starting"
    """starting, running, or paused: the store does not take the batch."""
    error: str = ""
    """Why it is paused."""
    rows: int = 0
    """Stored since the process began."""
    following: dict[Place, int] = field(default_factory=dict)
    """Partition → the first offset that is not in the store."""


class Ingest:
    """The two threads. ``connect`` opens the store and the codec, and is called again until it does not raise."""

    def __init__(
        self,
        source: Source,
        letters: Letters,
        connect: Callable[[], IngestPorts],
        stop: threading.Event,
        guard: ProofChecker | None = None,
        notes: Notes | None = None,
    ) -> None:
        """A record that ``guard`` does not believe becomes a dead letter. ``notes``: at which records sinks died
        before."""
        self._notes = notes or NoNotes()
        self._guard = guard
        self._source = source
        self._letters = letters
        self._connect = connect
        self._stop = stop
        self._handed: queue.Queue[PendingBatch] = queue.Queue(maxsize=1)
        self._failure: BaseException | None = None
        self._committed: dict[Place, int] = {}
        self._refused = 0
        """How often the store has refused the batch that is being written."""
        self.status = Status()

    def run(self) -> None:
        """Works until ``stop`` is set; raises what ended the reader or the writer for good."""
        opened = self._until_done(self._connect, "the store cannot be opened")
        if opened is None:
            return
        stored = opened.store.stored()
        self.status.following = {place: offset + 1 for place, offset in stored.items()}
        stamps = opened.store.stamps(stored)
        if self._until_done(lambda: self._started(stored, stamps), "Kafka cannot be read") is None:
            return
        self.status.state = "running"
        reading = threading.Thread(target=self._read_on, args=opened, name="sink-reader", daemon=True)
        reading.start()
        try:
            self._write_on(*opened)
        finally:
            self._stop.set()
            reading.join()
            self._notes.ending()
        if self._failure is not None:
            raise self._failure

    def _started(self, stored: Mapping[Place, int], stamps: Mapping[Place, int]) -> bool:
        self._source.start(stored, stamps)
        return True

    def _read_on(self, store: Store, decode: Callable[[bytes | None], object]) -> None:
        try:
            while not self._stop.is_set():
                handed = self._next(store, decode)
                while handed is not None and not self._stop.is_set():
                    try:
                        self._handed.put(handed, timeout=0.5)
                        break
                    except queue.Full:
                        continue
        except Exception as error:  # noqa: BLE001 — reported by run(), which ends the process
            self._failure = error
        finally:
            self._stop.set()

    def _next(self, store: Store, decode: Callable[[bytes | None], object]) -> PendingBatch | None:
        following = self.status.following
        if following is not self._committed:
            self._source.commit(following)
            self._committed = following
        part = rows_of_a_part(self._notes.known)
        while part and self._handed.unfinished_tasks and not self._stop.is_set():
            self._stop.wait(APART_S)  # one batch at a time: what the process dies at is in it
        fetched = self._source.fetch(part or MAX_ROWS, MAX_BYTES, LINGER_S)
        if not fetched.messages and not fetched.ends:
            return None
        lying = [
            EncodedRecord(
                message.topic(), message.partition(), message.offset(), message.timestamp()[1], message.value()
            )
            for message in fetched.messages
        ]
        verdicts = [self._guard.message(message) for message in fetched.messages] if self._guard is not None else []
        judged = list(zip(fetched.messages, verdicts or [""] * len(lying), strict=True))
        deadly = self._notes.known.deadly
        if deadly:
            judged = [(one, DEADLY if place(one) in deadly else verdict) for one, verdict in judged]
        with self._noted(judged):
            batch = self._until_done(partial(self._made, lying, judged, store, decode), "the facts cannot be read")
        if batch is None:
            return None
        after = {(record.topic, record.partition): record.offset + 1 for record in lying}
        return PendingBatch(batch, judged, {**after, **fetched.ends})

    @contextmanager
    def _noted(self, judged: list[Judged]) -> Iterator[None]:
        """Within it the process dies at these records, if it does."""
        number = self._notes.begin(ranges_of(place(one) for one, verdict in judged if verdict != DEADLY))
        try:
            yield
        finally:
            self._notes.end(number)

    def _made(
        self, lying: list[EncodedRecord], judged: list[Judged], store: Store, decode: Callable[[bytes | None], object]
    ) -> Batch:
        try:
            staged = store.stage(lying) if not any(verdict for _, verdict in judged) else None
        except _waited_for():
            raise
        except Exception:  # whatever the parser meets: the records are looked at one by one
            log.exception("a batch of %d records cannot be staged", len(lying))
            staged = None
        return staged or self._looked_through(judged, store, decode)

    def _looked_through(self, judged: list[Judged], store: Store, decode: Callable[[bytes | None], object]) -> Batch:
        """A batch with something unusual in it, record by record."""
        before = self._letters.written
        records = [self._record(message, verdict, decode) for message, verdict in judged]
        try:
            batch = store.prepare(records)
        except Exception:  # one of them has no row, though it is a fact by its schema
            log.exception("a batch of %d records is looked through", len(records))
            pairs = zip((message for message, _ in judged), records, strict=True)
            batch = store.prepare([self._preparable(store, message, record) for message, record in pairs])
        if self._letters.written != before:
            self._letters.flush()
        return batch

    def _preparable(self, store: Store, message: Any, record: Record) -> Record:
        try:
            store.prepare([record])
        except Exception as error:  # noqa: BLE001 — the letter says it
            return self._buried(message, record, f"it has no row: {type(error).__name__}: {error}")
        return record

    def _buried(self, message: Any, record: Record, reason: str) -> Record:
        self._letters.put(message, "unmappable", reason)
        return unreadable(*record[:4], "unmappable", reason)

    def _record(self, message: Any, verdict: str, decode: Callable[[bytes | None], object]) -> Record:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        stamp = message.timestamp()[1]
        try:
            if verdict:
                raise Undecodable(verdict, KILLED if verdict == DEADLY else WHY[verdict])
            fact = decode(message.value())
        except Undecodable as error:
            code, reason = error.code, str(error)
        else:
            if not isinstance(fact, Fact):
                code, reason = "undecodable", f"a {type(fact).__name__} is no fact"
            elif reason := unmappable(fact):
                code = "unmappable"
            else:
                return Record(topic, partition, offset, stamp, fact)
        self._letters.put(message, code, reason)
        return unreadable(topic, partition, offset, stamp, code, reason)

    def _write_on(self, store: Store, decode: Callable[[bytes | None], object]) -> None:
        while not self._stop.is_set():
            try:
                handed = self._handed.get(timeout=0.2)
            except queue.Empty:
                continue
            self._refused = 0
            with self._noted(handed.judged):
                self._until_done(partial(self._write, store, handed, decode), "the store does not take the batch")
            self._handed.task_done()
            if self._stop.is_set() and self.status.state == "paused":
                return
            self.status.rows += len(handed.judged)
            self.status.following = {**self.status.following, **handed.following}
            self._notes.stored(self.status.following)

    def _write(self, store: Store, handed: PendingBatch, decode: Callable[[bytes | None], object]) -> None:
        """Writes the batch; one that the store refuses again and again is written in parts, until it is known which
        record it refuses. Raises what passes."""
        if self._refused < PATIENCE:
            try:
                store.write(handed.batch)
            except _not_refusals():
                raise
            except Exception as error:
                self._refused += 1
                raise StoreRefuses(f"{type(error).__name__}: {error}") from error
            return
        store.resume()
        stored = store.stored()
        pairs = [(message, self._record(message, verdict, decode)) for message, verdict in handed.judged]
        left = [(m, one) for m, one in pairs if one.offset > stored.get((one.topic, one.partition), -1)]
        if left:
            self._write_apart(store, left)

    def _write_apart(self, store: Store, pairs: list[tuple[Any, Record]]) -> None:
        try:
            store.write(store.prepare([record for _, record in pairs]))
        except _not_refusals():
            raise
        except Exception as error:
            if len(pairs) > 1:
                half = len(pairs) // 2
                self._write_apart(store, pairs[:half])
                self._write_apart(store, pairs[half:])
                return
            message, record = pairs[0]
            if isinstance(record.row, Unreadable):  # plainer rows there are none: it takes nothing at all now
                raise StoreRefuses(f"{type(error).__name__}: {error}") from error
            buried = self._buried(message, record, f"the store refuses it: {type(error).__name__}: {error}"[:2_000])
            self._letters.flush()
            self._write_apart(store, [(message, buried)])

    def _until_done(self, action: Callable[[], T], what: str) -> T | None:
        """The action's result, however often it takes; None when the process is to end first."""
        for pause in _pauses():
            try:
                result = action()
            except _waited_for() as error:
                self.status.state, self.status.error = "paused", f"{what}: {error}"
                log.warning("%s; next attempt in %.1f s: %s", what, pause, error)
                if self._stop.wait(pause):
                    return None
            else:
                if self.status.state == "paused":
                    log.warning("going on after: %s", what)
                    self.status.state, self.status.error = "running", ""
                return result
        return None


def place(message: Any) -> tuple[str, int, int]:
    """Where a message lies."""
    return message.topic(), message.partition(), message.offset()


def _pauses() -> Iterable[float]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]


def _away() -> tuple[type[BaseException], ...]:
    """Errors that say that the store, or Kafka, is not there."""
    from clickhouse_connect.driver.exceptions import OperationalError
    from confluent_kafka import KafkaException

    from agents_sdk.errors import Unreachable

    return (OperationalError, KafkaException, Unreachable, OSError)


def _not_refusals() -> tuple[type[BaseException], ...]:
    """Errors of a batch that say nothing of the batch."""
    return (*_away(), Overtaken)


def _waited_for() -> tuple[type[BaseException], ...]:
    """Errors that pass: the store's own, Kafka's, and anything unreachable."""
    from clickhouse_connect.driver.exceptions import Error
    from confluent_kafka import KafkaException

    from agents_sdk.errors import Unreachable
    from agents_sdk.wire.registry import SchemasNotApplied
    from agents_sdk.wire.topics_admin import TopicsNotApplied

    # topics and schemas are applied by `backplane up`, or by an operator, who is shown what is missing
    return (Error, KafkaException, Unreachable, OSError, StoreRefuses, StoreTaken, TopicsNotApplied, SchemasNotApplied)
