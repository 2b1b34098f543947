"""Laws of the ledger's core, over any history of commands: what determinism, recovery and exactly-once rest on."""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents_sdk.core import bounds
from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.facts import EXECUTE_LOCALLY, AgentEvent, Fact
from agents_sdk.core.ids import CommandId
from agents_sdk.core.ledger import PartitionState, apply, evolve, undecodable
from agents_sdk.core.ledger.decide import decide
from agents_sdk.core.ledger.evolve import copy
from agents_sdk.errors import REFUSALS
from agents_sdk.topics import TOPIC_OF_FACT
from tests.support.ledger_strategies import CHOICES, HISTORIES, LIMITS, Entry, History, arbitrary, codec, play

CODEC = codec()
LAW = settings(
    max_examples=int(os.environ.get("LEDGER_EXAMPLES", "60")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ADDRESSED_AGAIN = {"CallAwaited", "RequestAwaited", "RunAwaited", "ChildAwaited"}


def fold(facts: Iterable[Fact], book: PartitionState | None = None) -> PartitionState:
    """The book that the facts make, from an empty one unless one is given."""
    book = PartitionState(limits=LIMITS) if book is None else book
    for fact in facts:
        evolve(book, fact)
    return book


def same(folded: PartitionState, applied: PartitionState) -> bool:
    """Whether two books are equal but for ``applied``, which commands without facts advance in one of them only."""
    return folded.applied <= applied.applied and msgspec.structs.replace(folded, applied=applied.applied) == applied


def recorded(facts: Iterable[Fact]) -> list[bytes]:
    """The facts as they lie in the log."""
    return [CODEC.encode(fact) for fact in facts]


def continued(book: PartitionState, entries: Iterable[Entry]) -> list[bytes]:
    """What the book makes of the commands: facts and replies, as they lie in the log."""
    steps = [apply(book, entry.command, entry.offset, entry.at) for entry in entries]
    return [record for step in steps for record in recorded(step.facts) + [CODEC.encode(t.reply) for t in step.replies]]


@LAW
@given(HISTORIES)
def test_the_same_commands_give_the_same_facts_and_replies_byte_for_byte(history: History) -> None:
    """Deciding a log again in a fresh book writes the very same bytes."""
    first = [r for e in history.entries for r in recorded(e.facts) + [CODEC.encode(t.reply) for t in e.replies]]
    again = PartitionState(limits=LIMITS)
    assert continued(again, history.entries) == first
    assert again == history.book


def test_the_same_commands_give_the_same_bytes_in_another_process() -> None:
    """No decision depends on the order of a set or on anything else that differs between processes."""
    program = (
        "import hashlib, random\n"
        "from tests.support.ledger_strategies import codec, play\n"
        "chance, digest, encode = random.Random(7), hashlib.sha256(), codec().encode\n"
        "for _ in range(60):\n"
        "    for entry in play(chance.randbytes(241)).entries:\n"
        "        for record in [*entry.facts, *(told.reply for told in entry.replies)]:\n"
        "            digest.update(encode(record))\n"
        "print(digest.hexdigest())\n"
    )
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root, capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


@LAW
@given(CHOICES)
def test_deciding_changes_nothing(choices: bytes) -> None:
    """The book before and after ``decide`` is the same, and a second ``decide`` says the same."""

    def look(book: PartitionState, command: Command, offset: int, at: int) -> None:
        before = msgspec.msgpack.encode(book)
        facts = decide(book, command, offset, at)
        assert msgspec.msgpack.encode(book) == before
        assert decide(book, command, offset, at) == facts

    play(choices, before=look)


@LAW
@given(HISTORIES)
def test_folding_the_facts_gives_the_book_that_applying_gave(history: History) -> None:
    """Recovery is the fold of the facts, answers included."""
    assert same(fold(history.facts), history.book)


@LAW
@given(CHOICES)
def test_folding_gives_the_same_book_when_old_answers_and_versions_are_forgotten(choices: bytes) -> None:
    """What is forgotten for want of room is forgotten by the fold at the same fact."""
    module = "agents_sdk.core.ledger.evolve"
    with (
        patch(f"{module}.RECENT_LIMIT", 5),
        patch(f"{module}.LARGE_RECENT_LIMIT", 3),
        patch(f"{module}.LARGE_ANSWER", 20),
        patch(f"{module}.HISTORY_LIMIT", 3),
        patch(f"{module}.HISTORY_CHARS", 6),
        patch(f"{module}.FINISHED_LIMIT", 2),
        patch("agents_sdk.core.ledger.memory.RECENT_LIMIT", 5),
    ):
        history = play(choices)
        assert same(fold(history.facts), history.book)
        assert all(len(run.recent) <= 5 for run in history.book.runs.values())
        assert len(history.book.finished) <= 2


@LAW
@given(HISTORIES, st.floats(0, 1))
def test_a_ledger_that_recovers_anywhere_decides_the_rest_alike(history: History, where: float) -> None:
    """From the facts so far, or from a snapshot and the facts after it, the rest of the log gives the same bytes."""
    cut = int(where * len(history.entries))
    past, future = history.entries[:cut], history.entries[cut:]
    past_facts = [fact for entry in past for fact in entry.facts]
    rest = [r for e in future for r in recorded(e.facts) + [CODEC.encode(t.reply) for t in e.replies]]
    recovered = fold(past_facts)
    snapshot = copy(fold(past_facts[: len(past_facts) // 2]))
    assert continued(recovered, future) == rest
    assert continued(fold(past_facts, snapshot), future) == rest
    assert recovered == history.book or same(recovered, history.book)


@LAW
@given(HISTORIES, st.floats(0, 1))
def test_folding_facts_again_changes_nothing(history: History, where: float) -> None:
    """Each fact twice, all facts twice, or any stretch of them once more: the same book."""
    once = fold(history.facts)
    assert fold(fact for known in history.facts for fact in (known, known)) == once
    assert fold(history.facts, copy(once)) == once
    start = int(where * len(history.facts))
    assert fold(history.facts[start : start + 9], copy(once)) == once


@LAW
@given(HISTORIES)
def test_facts_read_by_topic_merge_into_the_order_they_were_decided_in(history: History) -> None:
    """(command_offset, run_seq) is that order; so recovery may read each topic by itself."""
    topics: dict[str, list[Fact]] = defaultdict(list)
    for fact in history.facts:
        topics[TOPIC_OF_FACT[type(fact)]].append(fact)
    merged = list(heapq.merge(*topics.values(), key=lambda fact: (fact.command_offset, fact.run_seq)))
    assert merged == history.facts
    assert same(fold(merged), history.book)


@LAW
@given(HISTORIES)
def test_sequences_have_no_gaps_and_ids_are_unique(history: History) -> None:
    """run_seq counts 1, 2, … in a run over all topics, versions in a key; no two facts share an id."""
    runs: Counter[str] = Counter()
    versions: Counter[tuple[str, str]] = Counter()
    for fact in history.facts:
        if fact.run_seq:
            runs[fact.run_id] += 1
            assert fact.run_seq == runs[fact.run_id]
        if fact.kind in ("StateWritten", "StateDeleted", "StateExpired"):
            written: Any = fact
            versions[fact.run_id, written.key] += 1
            assert written.version == versions[fact.run_id, written.key]
    event_ids = [fact.event_id for fact in history.facts]
    assert len(set(event_ids)) == len(event_ids)


def _said(entry: Entry) -> list[tuple[str, dict[str, Any]]]:
    return [(told.reply.command_id, {**msgspec.structs.asdict(told.reply), "reply_to": ""}) for told in entry.replies]


@LAW
@given(HISTORIES)
def test_a_repeated_command_adds_no_fact_and_is_answered_like_the_first_time(history: History) -> None:
    """While the run lives (and, in a handler, its delivery is open), however many commands later; said by its sender:
    the id in another's mouth is another command."""
    seen: set[tuple[str, ...]] = set()
    answers: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in history.entries:
        command = entry.command
        key = (command.run_id, command.command_id, command.agent)
        if bounds.envelope_excess(command) is not None:
            assert entry.kinds() == ["CommandRefused"]  # about no run, which remembers nothing of it
            continue
        if entry.lived and key in seen and not entry.in_settled_delivery:
            assert {fact.kind for fact in entry.facts} <= ADDRESSED_AGAIN
            told = entry.own_reply()
            if told is not None and key[:2] in answers:
                assert {**msgspec.structs.asdict(told), "reply_to": ""} == answers[key[:2]]
            assert key[:2] not in answers or (told is not None) == bool(command.reply_to)
        if entry.lived or entry.lives:
            for command_id, answer in _said(entry):
                if (
                    answer["code"] != EXECUTE_LOCALLY
                ):  # a local call: told to begin, as often as it asks, until it has ended
                    answers.setdefault((command.run_id, command_id), answer)
            seen.add(key)


@LAW
@given(HISTORIES)
def test_who_asked_is_told_once_and_nobody_waits_when_the_run_has_ended(history: History) -> None:
    """A reply goes to an address that asked, at most once for each time it asked, and in the end all are told."""
    for run_id in list(history.book.runs):
        history.send(Command(command_id=CommandId(f"end {run_id}"), kind="CancelRun", run_id=run_id, agent="client",
                             correlation_id="", run=RunBody()))  # fmt: skip
    asked: Counter[tuple[str, str, str, int]] = Counter()
    told: Counter[tuple[str, str, str, int]] = Counter()
    for entry in history.entries:
        command = entry.command
        if command.reply_to:
            asked[command.run_id, command.command_id, command.reply_to, command.reply_partition] += 1
        for addressed in entry.replies:
            reply = addressed.reply
            told[reply.run_id, reply.command_id, reply.reply_to, addressed.partition] += 1
    assert all(told[address] <= asked[address] for address in told)
    assert {address[:2] for address in asked} == {address[:2] for address in told}
    late = {(e.command.run_id, e.command.command_id): e.command for e in history.entries if e.command.reply_to}
    for key, command in late.items():  # whoever asked last is told, whoever asked before may have gone
        assert told[*key, command.reply_to, command.reply_partition]


@LAW
@given(HISTORIES)
def test_refusals_are_typed_and_change_nothing_else(history: History) -> None:
    """A refused command leaves one fact, whose code the SDK has an error for; and a refusal reply says the same."""
    for entry in history.entries:
        refusals: list[Any] = [fact for fact in entry.facts if fact.kind == "CommandRefused"]
        if refusals:
            assert len(entry.facts) == 1
            assert refusals[0].code in REFUSALS
            assert refusals[0].message
        for told in entry.replies:
            assert told.reply.status in ("ok", "refused", "failed", "completed", "cancelled")
            assert told.reply.status != "refused" or told.reply.code in REFUSALS
            assert told.reply.reply_to


@LAW
@given(CHOICES, st.lists(arbitrary(), min_size=1, max_size=5))
def test_no_command_however_malformed_stops_the_ledger_or_touches_another_run(
    choices: bytes, commands: list[Command]
) -> None:
    """Any command gives facts that can be encoded and folded, and leaves the other runs as they were."""
    history = play(choices)
    for command in commands:
        before = {run_id: msgspec.msgpack.encode(run) for run_id, run in history.book.runs.items()}
        entry = history.send(command)
        size = len(msgspec.msgpack.encode(command))
        for fact in entry.facts:
            assert len(CODEC.encode(fact)) < 3 * size + 6_000
        for told in entry.replies:
            CODEC.encode(told.reply)
        for run_id, run in history.book.runs.items():
            assert run_id == command.run_id or msgspec.msgpack.encode(run) == before[run_id]
    assert same(fold(history.facts), history.book)


@given(st.binary(max_size=9) | st.none(), st.integers(0, 9), st.integers(0, 9), st.text(max_size=5))
@LAW
def test_undecodable_records_give_the_same_fact_each_time(key: bytes | None, offset: int, at: int, text: str) -> None:
    """The fact depends on the record's place alone, and differs from place to place."""
    fact = undecodable(3, key, offset, at, "undecodable", text)
    assert CODEC.encode(fact) == CODEC.encode(undecodable(3, key, offset, at, "undecodable", text))
    assert fact.event_id != undecodable(2, key, offset, at, "undecodable", text).event_id
    assert fact.event_id != undecodable(3, key, offset + 1, at, "undecodable", text).event_id
    assert fact.event_id != undecodable(3, (key or b"") + b"x", offset, at, "undecodable", text).event_id
    book = PartitionState()
    evolve(book, fact)
    assert book == PartitionState(applied=offset)


@LAW
@given(HISTORIES)
def test_an_agent_is_as_it_was_registered_last(history: History) -> None:
    """The book holds the newest registration of each agent that was not removed since; one that changes nothing is no
    fact."""
    newest: dict[str, AgentEvent] = {}
    for fact in history.facts:
        if fact.kind == "AgentRemoved":
            del newest[fact.name]  # type: ignore[attr-defined]  # the kind says it is an AgentEvent
        elif isinstance(fact, AgentEvent):
            declared = {name: getattr(fact, name) for name in AgentEvent.__struct_fields__[10:]}
            known = newest.get(fact.name)
            assert known is None or declared != {name: getattr(known, name) for name in declared}
            newest[fact.name] = fact
    assert set(newest) == set(history.book.agents)
    for name, spec in history.book.agents.items():
        assert spec.writes == tuple(newest[name].writes)
        assert spec.max_deliveries == newest[name].max_deliveries
