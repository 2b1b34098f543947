"""A command is applied as a whole or not at all: whatever raises in the middle, the book is as it was before, the
command ends as a short refusal, and what comes after is decided as if it had never been there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.ledger import PartitionState, Step, apply, evolve
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.decide import decide
from agents_sdk.core.ledger.evolve import copy
from agents_sdk.core.ledger.state import Answer, Run
from agents_sdk.core.replay import LoggedCommand, replay
from tests.properties.test_ledger_laws import CODEC, LAW, fold, same
from tests.support.ledger_desk import Desk
from tests.support.ledger_strategies import CHOICES, LIMITS, Entry, History, play

ORDERED: Final = ("deliveries", "requests", "children", "child_waits", "waiting", "dead", "failed_calls")
"""Mappings of a run whose order decides something: what is oldest, or what is told first."""


class Injected(Exception):
    """A fault of ours."""


def order(book: PartitionState) -> dict[str, Any]:
    """Of all whose order decides something."""
    kept: dict[str, Any] = {run_id: [list(getattr(run, name)) for name in ORDERED] for run_id, run in book.runs.items()}
    return kept | {
        "finished": list(book.finished),
        "calls": {run_id: _open_calls(run) for run_id, run in book.runs.items()},
    }


def _open_calls(run: Run) -> list[str]:
    return [call_id for call_id, call in run.calls.items() if not call.settled]


def unchanged(book: PartitionState, before: bytes, ordered: dict[str, Any], offset: int) -> bool:
    """Whether the book is as it was, but for the offset of what was passed over."""
    known = msgspec.msgpack.decode(before, type=PartitionState)
    return msgspec.structs.replace(known, applied=offset) == book and order(book) == ordered


@LAW
@given(CHOICES)
def test_every_change_of_a_fold_is_taken_back(choices: bytes) -> None:
    """Fold all that a command causes, take it back: the book is the same, so nothing is changed beside ``Changes``."""

    def look(book: PartitionState, command: Command, offset: int, at: int) -> None:
        before, ordered = msgspec.msgpack.encode(book), order(book)
        changes = Changes()
        for fact in decide(book, command, offset, at):
            evolve(book, fact, changes)
        changes.take_back()
        assert unchanged(book, before, ordered, book.applied)

    play(choices, before=look)


class Fuse(Changes):
    """Changes that break at the one of this number."""

    left = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("assign", "put", "drop", "take", "take_oldest", "add", "append", "insert", "cut"):
            Fuse.left -= 1
            if Fuse.left < 0:
                raise Injected("the fuse has blown")
        return super().__getattribute__(name)


@LAW
@given(CHOICES, st.integers(0, 12))
def test_a_fold_that_breaks_at_any_change_leaves_the_book_as_it_was(choices: bytes, at_change: int) -> None:
    """The step is a refusal, which folds like any other fact."""

    def look(book: PartitionState, command: Command, offset: int, at: int) -> None:
        before, ordered = msgspec.msgpack.encode(book), order(book)
        Fuse.left = at_change
        with patch("agents_sdk.core.ledger.step.Changes", Fuse):
            step = apply(book, command, offset, at)
        if Fuse.left < 0:
            assert refused_in(step, "evolve")
            assert unchanged(
                book, before, ordered, max(offset, msgspec.msgpack.decode(before, type=PartitionState).applied)
            )
        restored = msgspec.msgpack.decode(before, type=PartitionState)
        for field in PartitionState.__struct_fields__:
            setattr(book, field, getattr(restored, field))

    play(choices, before=look)


def refused_in(step: Step, stage: str) -> bool:
    """Whether the command was refused for a fault in this stage, shortly, and its sender is told."""
    (fact,) = step.facts
    assert isinstance(fact, RefusalEvent)
    assert len(CODEC.encode(fact)) < 8_000
    assert step.failure is not None
    assert step.failure.trace
    assert msgspec.json.decode(fact.detail)["stage"] == stage
    assert msgspec.json.decode(fact.detail)["exception"] == step.failure.exception
    return (fact.code, fact.run_seq, step.failure.stage) == ("internal_error", 0, stage)


STAGES: Final = {
    "decide": "decide",
    "sizes.check": "measure",
    "_outcomes": "outcomes",
    "evolve": "evolve",
    "_replies": "answers",
    "issued": "issued",
    "set_by": "timers",
}
"""What ``apply`` calls, and the stage that a fault in it is told of."""


def broken(exception: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def raises(*_: Any, **__: Any) -> Any:
        raise exception

    return raises


class Unspeakable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise Injected("not even that")


class Panic(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize("function", STAGES)
@pytest.mark.parametrize(
    "exception", [Injected("é" * 9_000), RecursionError(), MemoryError(), KeyError("x"), Unspeakable(), Panic("\ud800")]
)
def test_a_fault_in_any_stage_is_a_refusal(function: str, exception: BaseException) -> None:
    """Every stage, whatever is raised there, in the middle of a history that goes on."""
    choices = bytes(range(1, 242))
    broke = 0

    def look(book: PartitionState, command: Command, offset: int, at: int) -> None:
        nonlocal broke
        probe = copy(book)
        before, ordered = msgspec.msgpack.encode(probe), order(probe)
        with patch(f"agents_sdk.core.ledger.step.{function}", broken(exception)):
            step = apply(probe, command, offset, at)
        if step.failure is not None:
            broke += 1
            assert refused_in(step, STAGES[function])
            assert unchanged(probe, before, ordered, offset)

    play(choices, before=look)
    assert broke > 10


def test_a_check_that_fails_refuses_the_command() -> None:
    """What the shell cannot encode is not folded."""
    history = play(b"\x01" * 41)
    for entry in history.entries:
        if entry.facts:
            book = fold([])
            step = apply(book, entry.command, entry.offset, entry.at, check=broken(ValueError("no such field")))
            assert refused_in(step, "encode")
            assert book == PartitionState(limits=LIMITS, applied=entry.offset)


@LAW
@given(CHOICES, st.integers(0, 40))
def test_replay_and_recovery_come_to_the_same_end(choices: bytes, number: int) -> None:
    """A history in which the ledger failed at one command: its record folds to the same book, decides again to the same
    facts, on the code of then and on a code that was mended."""
    history = Failing(number)
    play_into(history, choices)
    assert same(fold(history.facts), history.book)
    for run_id in history.book.runs:
        facts = [fact for fact in history.facts if fact.run_id == run_id]
        commands = [LoggedCommand(e.offset, e.at, e.command) for e in history.entries if e.command.run_id == run_id]
        declared: list[Any] = [fact for fact in history.facts if type(fact).__name__ in ("AgentEvent", "ContractEvent")]
        verdict = replay(run_id, commands, declared, facts, LIMITS)
        assert verdict.identical, verdict.difference


class Failing(History):
    """A history in which deciding the command of this number fails in the middle of the fold."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def send(self, command: Command, step: int = 1) -> Entry:
        """As any history, but for one command."""
        if len(self.entries) != self.number:
            return super().send(command, step)
        Fuse.left = 2
        with patch("agents_sdk.core.ledger.step.Changes", Fuse):
            return super().send(command, step)


def play_into(history: History, choices: bytes) -> None:
    """Plays the choices into this history."""
    with patch("tests.support.ledger_strategies.History", lambda before: history):
        play(choices)


def test_what_is_told_in_order_keeps_its_order() -> None:
    """A delivery in the middle is settled, and that is taken back: the end of the run tells of all in their order."""
    desk = Desk()
    desk.register("alpha")
    desk.start()
    deliveries = [desk.deliver("alpha") for _ in range(3)]
    ordered = order(desk.book)
    with patch("agents_sdk.core.ledger.step._replies", broken(Injected("late"))):
        assert refused_in(desk.complete(deliveries[1]), "answers")
    assert order(desk.book) == ordered


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_changes_of_any_kind_are_taken_back(moves: list[tuple[int, int, int]]) -> None:
    """Against copies, the order of the mapping included."""
    mapping: dict[int, int] = dict.fromkeys(range(4), 0)
    loose, items, members, answer = dict(mapping), [1, 2], {1}, Answer(version=1)
    lists: dict[int, list[int]] = {1: [1]}
    before = (list(mapping.items()), dict(loose), list(items), set(members), copied(answer), {1: [1]})
    changes = Changes()
    for move, key, value in moves:
        match move:
            case 0:
                changes.put(mapping, key, value)
            case 1 if key in mapping:
                changes.take(mapping, key)
            case 2 if mapping:
                changes.take_oldest(mapping)
            case 3:
                changes.drop(loose, key)
            case 4:
                changes.append(items, value)
            case 5:
                changes.insert(items, min(key, len(items)), value)
            case 6 if items:
                changes.cut(items, key % len(items))
            case 7:
                changes.add(members, key)
            case 8:
                changes.assign(answer, "version", value)
            case 9:
                changes.append_to(lists, key, value)
            case 10:
                changes.grow(answer, "version", value)
            case 11:
                changes.cut_oldest(items, min(key, len(items)))
    changes.take_back()
    assert (list(mapping.items()), loose, items, members, answer, lists) == before


def copied(answer: Answer) -> Answer:
    """The same, another object."""
    return msgspec.structs.replace(answer)
