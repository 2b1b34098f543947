"""One partition's shell: whatever is raised about one record costs that record, and the next one is decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.commands import Command, RunBody, SkipBody, StateBody
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.settings import load_settings
from agents_sdk.topics import COMMANDS, REFUSALS, STATE, dead_letter
from agents_sdk.wire.codec import RECORDS, Codec
from agents_sdk.wire.dead_letters import read_dead_letter
from backplane.ledger import partition as module
from backplane.ledger.accept import accepted
from backplane.ledger.committer import Group
from backplane.ledger.marks import Marks
from backplane.ledger.notices import Notices
from backplane.ledger.outgoing import Outbox, OutgoingRecord, TooLarge, size_of
from backplane.ledger.partition import PartitionLedger
from backplane.metrics.exposition import Metrics
from backplane.runtime.batch import Batch, Record
from backplane.runtime.records import PROBLEM

LIMIT = 100_000
NOW_MS = 1_790_000_000_000


def unknown(schema_id: int) -> Any:
    raise LookupError(schema_id)


CODEC = Codec({name: number for number, name in enumerate(RECORDS)}, unknown)


class Written:
    """A committer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def put(self, group: Group) -> None:
        self.records += group.encode()

    async def drained(self) -> None:
        return


class Sent:
    """A producer of answers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        if self.error is not None:
            raise self.error
        self.messages += messages
        return len(messages)

    def poll(self, _: float) -> int:
        return 0


class Bench:
    """A ledger's partition without Kafka."""

    def __init__(self, path: Path) -> None:
        settings = load_settings(kafka={"bootstrap.servers": "localhost:1"}, data_dir=path, topics={"partitions": 1})
        self.replies = Sent()
        self.log: dict[int, Record] = {}
        self.marks = Marks(path / "marks")
        snapshots: Any = None
        self.ledger = PartitionLedger(
            0, settings, CODEC, cast("Any", self.replies), cast("Any", None), snapshots, lambda _: None,
            Metrics("ledger"), self.reread, self.marks, Notices(), LIMIT,
        )  # fmt: skip
        self.written = Written()
        self.ledger.committer = cast("Any", self.written)
        self.end = 0

    async def reread(self, _: int, start: int, stop: int) -> list[Record]:
        return [record for offset, record in sorted(self.log.items()) if start <= offset < stop]

    async def send(self, *values: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Appends records, and has them applied as one batch."""
        start = self.end
        for value in values:
            self.log[self.end] = Record(self.end, NOW_MS, b"k", value, headers)
            self.end += 1
        records = [self.log[offset] for offset in range(start, self.end)]
        await self.ledger.process(Batch(COMMANDS, 0, records, start, self.end))

    def letters(self) -> list[tuple[int, str, str]]:
        """Offset, stage and exception of each dead letter."""
        found = [read_dead_letter(list(one.headers)) for one in self.written.records if one.topic == DEAD]
        return [(one.offset, one.stage, one.exception_class) for one in found if one is not None]

    def refusals(self) -> list[tuple[int, str]]:
        facts = [CODEC.decode(one.value) for one in self.written.records if one.topic == REFUSALS]
        return [(fact.command_offset, fact.code) for fact in facts if isinstance(fact, RefusalEvent)]

    def states(self) -> int:
        return len([one for one in self.written.records if one.topic == STATE])


DEAD = dead_letter(COMMANDS)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.marks.close()


def command(number: int, kind: str = "SetState", **fields: Any) -> bytes:
    given: dict[str, Any] = {"run_id": "r", "agent": "a", "correlation_id": "r", "reply_to": "me"}
    given |= {"state": StateBody(key=f"k{number}", value="1")} if kind == "SetState" else {}
    return CODEC.encode(Command(command_id=CommandId(f"c{number}"), kind=kind, **{**given, **fields}))


START = command(0, "StartRun", run=RunBody(workflow="w", complete_when="explicit"))


class Odd(Exception):
    """What nobody thought of."""


def fails_at(offsets: set[int], then: Any) -> Any:
    def failing(codec: Codec, record: Record) -> Any:
        if record.offset in offsets:
            raise Odd("in the middle")
        return then(codec, record)

    return failing


async def test_what_reading_a_record_raises_costs_that_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no reader should raise is a refusal and a letter with its type and stage."""
    monkeypatch.setattr(module, "accepted", fails_at({1}, accepted))
    await bench.send(START, command(1), command(2))
    assert bench.letters() == [(1, "decode", "Odd")]
    assert bench.refusals() == [(1, "internal_error")]
    assert bench.states() == 1


async def test_what_checking_a_signature_raises_costs_that_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above: the proof is part of accepting."""
    proof = bench.ledger._proof
    monkeypatch.setattr(
        bench.ledger, "_proof", lambda record, told: 1 / 0 if record.offset == 2 else proof(record, told)
    )
    await bench.send(START, command(1), command(2), command(3))
    assert bench.letters() == [(2, "decode", "ZeroDivisionError")]
    assert bench.states() == 2


async def test_what_encoding_raises_leaves_the_book_as_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts that cannot be written are not folded: the version that the next write gets tells."""
    records = Outbox.records
    spoilt = iter([False, True, False, False])

    def failing(self: Outbox, facts: Any) -> Any:
        made = records(self, facts)
        if next(spoilt):
            raise Odd("cannot be written")
        return made

    monkeypatch.setattr(Outbox, "records", failing)
    await bench.send(START, command(1))
    monkeypatch.setattr(Outbox, "records", records)
    assert bench.letters() == [(1, "encode", "Odd")]
    assert "k1" not in bench.ledger.book.runs[RunId("r")].state
    await bench.send(command(3))
    assert bench.states() == 1


@pytest.mark.parametrize("part", ["answers", "alarms", "metrics"])
async def test_what_follows_from_facts_may_fail_and_the_facts_stand(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """An answer that cannot be encoded, a timer, a figure: the fact is written, and so is the next one."""

    def broken(*_: Any, **__: Any) -> Any:
        raise Odd("part")

    if part == "answers":
        monkeypatch.setattr(bench.ledger._answers, "add", broken)
    elif part == "alarms":
        monkeypatch.setattr(bench.ledger.alarms, "set_all", broken)
        monkeypatch.setattr(bench.ledger.alarms, "set", broken)
    else:
        monkeypatch.setattr(module, "count_facts", broken)
    await bench.send(START, command(1), command(2))
    assert bench.states() == 2


async def test_answers_that_cannot_be_sent_are_left_out(bench: Bench) -> None:
    """Whoever asks again is answered from the book."""
    bench.replies.error = Odd("no such partition")
    await bench.send(START, command(1))
    bench.replies.error = None
    await bench.send(command(1))
    assert len(bench.replies.messages) == 1
    assert bench.states() == 1


async def test_answer_larger_than_a_record_is_a_refusal_that_says_so(bench: Bench) -> None:
    """Many values read together, each of them small enough."""
    large = [command(n, state=StateBody(key=f"k{n}", value='"' + "x" * 30_000 + '"')) for n in range(1, 6)]
    await bench.send(START, *large)
    keys = StateBody(key="", keys=[f"k{n}" for n in range(1, 6)])
    await bench.send(command(9, "GetStates", state=keys))
    assert all(len(message["value"]) < LIMIT for message in bench.replies.messages)
    last: Any = CODEC.decode(bench.replies.messages[-1]["value"])
    assert (last.status, last.code) == ("refused", "oversize")


async def test_batch_that_could_not_be_read_is_told_as_such(bench: Bench) -> None:
    """The reader's own words are in the refusal."""
    await bench.send(None, headers=((PROBLEM, b"offsets 3 to 9, one batch: it inflates to more than 9 bytes"),))
    assert bench.refusals() == [(0, "undecodable")]
    (letter,) = [one for one in bench.written.records if one.topic == DEAD]
    found = read_dead_letter(list(letter.headers))
    assert found is not None
    assert "inflates" in found.message
    assert PROBLEM not in dict(letter.headers)


async def test_deadly_record_stops_its_partition_until_somebody_skips_it(bench: Bench) -> None:
    """What is behind it waits, is applied in order afterwards, and nothing is applied twice."""
    ledger: Any = bench.ledger
    bench.marks.died[0] = (2, 2)
    await bench.send(START, command(1), command(2), command(3))
    assert ledger.aside is not None
    assert ledger.aside.record.offset == 2
    assert bench.states() == 1
    assert bench.refusals() == [(1, "put_aside")]
    await bench.send(command(4))
    assert bench.states() == 1
    assert bench.ledger.next == 2
    skip = SkipBody(partition=0, offset=2, reason="it kills")
    await bench.send(command(5, "SkipRecord", skip=skip, run_id="", agent="a"))
    assert ledger.aside is not None, "only the operator says so"
    await bench.send(command(6, "SkipRecord", skip=skip, run_id="", agent="bp.operator"))
    assert ledger.aside is None
    assert (2, "skipped") in bench.refusals()
    assert bench.letters()[0] == (2, "skip", "skipped")
    assert bench.states() == 3
    assert bench.ledger.next == bench.end
    assert bench.marks.died == {}


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=3_000)), max_size=200),
    st.sampled_from([10, 1_000, 3_000, 90_000, 5_000_000]),
)
def test_letter_can_always_be_written(key: bytes, headers: list[tuple[str, bytes | None]], size: int) -> None:
    """Whatever the record holds: the letter is within the limit, and says where the record lies."""
    outbox = Outbox(3, CODEC, cast("Any", None), LIMIT)
    record = Record(17, NOW_MS, key, b"x" * size, cast("Any", tuple(headers)))
    letter = outbox.letter(record, "decode", Odd("e" * 20_000))
    assert size_of(letter) <= LIMIT
    found = read_dead_letter(list(letter.headers))
    assert found is not None
    assert (found.topic, found.partition, found.offset, found.stage) == (COMMANDS, 3, 17, "decode")
    assert letter.value is not None or f"at offset {17}" in found.message


def test_facts_larger_than_a_record_are_refused_before_they_are_folded() -> None:
    """The limit is the broker's."""
    outbox = Outbox(0, CODEC, cast("Any", None), 300)
    fact = CODEC.decode(next(iter(_refusal())))
    with pytest.raises(TooLarge, match="300"):
        outbox.records([cast("Any", fact)])


def _refusal() -> Iterator[bytes]:
    fields: dict[str, Any] = dict.fromkeys(RefusalEvent.__struct_fields__, "")
    fields |= {"run_seq": 0, "at": 0, "command_offset": 0, "kind": "CommandRefused", "event_id": "e" * 36}
    yield CODEC.encode(RefusalEvent(**{**fields, "message": "m" * 1_000}))
