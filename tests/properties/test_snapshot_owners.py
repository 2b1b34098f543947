"""Snapshots of one partition by several owners, some of which write late: a model with real books and the real keys.

An owner that was killed leaves the first part of a snapshot. One that stood still while others took over writes the
rest when it wakes, between any two steps of the others. Whoever takes over then has the book that the facts make.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.facts import Fact
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits, PartitionState, evolve
from agents_sdk.core.ledger.agents import touched
from backplane.ledger.pieces import Changes
from backplane.ledger.snapshots import Snapshots
from tests.support.ledger_desk import Desk

RUNS = ("a", "b", "c")
TOPIC = "facts"

command = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(RUNS)),
    st.tuples(st.just("end"), st.sampled_from(RUNS)),
    st.tuples(st.just("remember"), st.just("memory/m")),
)
step = st.one_of(
    st.tuples(st.just("work"), st.lists(command, min_size=1, max_size=4)),
    st.tuples(st.just("snapshot"), st.integers(0, 12)),
    st.tuples(st.just("takeover"), st.just(0)),
    st.tuples(st.just("wake"), st.integers(0, 12)),
)


@dataclass
class World:
    """The table, the facts, who owns the partition now, and what others have still to write."""

    table: dict[bytes, bytes] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    late: list[Changes] = field(default_factory=list)
    desk: Desk = field(default_factory=Desk)
    kept: Snapshots = field(init=False)
    dirty: dict[RunId, int] = field(default_factory=dict)
    commands: int = 0

    def __post_init__(self) -> None:
        self.takeover()

    def takeover(self) -> None:
        """A new owner, by the snapshot and the facts behind it."""
        self.kept = _snapshots(self.table)
        book, offsets = asyncio.run(self.kept.load(0, Limits()))
        self.dirty = {}
        for fact in self.facts[offsets.get(TOPIC, 0) :]:
            evolve(book, fact)
            self._touch(book, fact)
        self.desk.book = book
        assert msgspec.to_builtins(book) == msgspec.to_builtins(_folded(self.facts))

    def work(self, commands: list[tuple[str, str]]) -> None:
        for what, run_id in commands:
            self.commands += 1
            before = len(self.desk.facts)
            if what == "end":
                self.desk.send("CompleteRun", run_id=run_id)
            else:
                self.desk.send("StartRun", complete_when="explicit", workflow="w", run_id=run_id)
                self.desk.send("SetState", key=f"k{self.commands % 3}", value=str(self.commands), run_id=run_id)
            for fact in self.desk.facts[before:]:
                self.facts.append(fact)
                self._touch(self.desk.book, fact)

    def snapshot(self, cut: int) -> None:
        """Begins one, of which so many records are written now."""
        changes = self.kept.capture(0, self.desk.book, self.dirty, {TOPIC: len(self.facts)})
        self.dirty = {}
        _write(self.table, changes[:cut])
        self.late.append(changes[cut:])
        if cut < len(changes):
            self.takeover()  # its owner stands still: another one has the partition

    def wake(self, count: int) -> None:
        """One of those that stood still writes so many of its records."""
        if self.late:
            rest = self.late.pop(0)
            _write(self.table, rest[:count])
            if rest[count:]:
                self.late.append(rest[count:])

    def _touch(self, book: PartitionState, fact: Fact) -> None:
        self.dirty[fact.run_id] = fact.command_offset
        self.dirty.update(dict.fromkeys(touched(book, fact), fact.command_offset))


def _snapshots(table: dict[bytes, bytes]) -> Snapshots:
    async def recovered() -> None:
        return

    stand = SimpleNamespace(Table=lambda *_, **__: table)
    stand.tables = SimpleNamespace(wait_until_recovery_completed=recovered)
    return Snapshots(cast("Any", stand), 1, {})


def _write(table: dict[bytes, bytes], changes: Changes) -> None:
    for key, value in changes:
        if value is None:
            table.pop(key.encode(), None)
        else:
            table[key.encode()] = value


def _folded(facts: list[Fact]) -> PartitionState:
    book = PartitionState(limits=Limits())
    for fact in facts:
        evolve(book, fact)
    return book


@settings(max_examples=150, deadline=None)
@given(st.lists(step, max_size=14))
def test_whoever_takes_over_has_the_book_that_the_facts_make(steps: list[tuple[str, Any]]) -> None:
    world = World()
    for name, argument in steps:
        if name == "takeover":
            world.takeover()
        else:
            getattr(world, name)(argument)
    world.takeover()
    while world.late:
        world.wake(1)
        world.takeover()


@settings(max_examples=60, deadline=None)
@given(st.lists(step, max_size=10))
def test_nothing_superfluous_stays_in_the_table(steps: list[tuple[str, Any]]) -> None:
    """Once nobody writes late, a takeover and two snapshots later: a record for each run that is remembered, one
    meta record, the spent commands."""
    world = World()
    for name, argument in steps:
        if name == "takeover":
            world.takeover()
        else:
            getattr(world, name)(argument)
    while world.late:
        world.wake(12)
    world.takeover()
    for _ in range(2):
        world.work([("set", "a")])
        world.snapshot(1_000)
    book = world.desk.book
    kinds = [key.decode().split("/")[1].split(".")[0] for key in world.table]
    assert kinds.count("run") == len(book.runs)
    assert kinds.count("end") == len(book.finished)
    assert kinds.count("meta") == 1
    assert kinds.count("spent") == len(book.spent)
