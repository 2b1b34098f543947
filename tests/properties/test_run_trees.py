"""A tree of runs over several partitions ends consistently, in whatever order their commands are decided.

The partitions are books of their own; what follows from the facts of one for runs of others travels in lines of its
own, one from each partition to each run, in order and now and then twice. Hypothesis chooses who goes next. The oracle
knows nothing of any of that: a run that was ended has ended so, one whose parent ended is cancelled.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger import Book, apply, issued, timers
from agents_sdk.core.ledger.evolve import ENDED
from agents_sdk.core.partition import partition_of

PARTITIONS: Final = 3
ENDS: Final = ("CompleteRun", "FailRun", "CancelRun")
MOVES: Final = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255)), max_size=60)


class Forest:
    """Runs in partitions, and the commands on their way between them."""

    def __init__(self) -> None:
        self.books = [Book() for _ in range(PARTITIONS)]
        self.offsets = [0] * PARTITIONS
        self.lines: dict[tuple[int, str], deque[Command]] = defaultdict(deque)
        self.facts: dict[str, list[Any]] = defaultdict(list)
        """Run → its facts."""
        self.said: dict[str, str] = {}
        """Run → how it was ended by somebody who was told so, a deadline included."""
        self.sent = 0

    def send(self, command: Command, at: int = 0) -> list[Fact]:
        partition = partition_of(command.run_id, PARTITIONS)
        self.offsets[partition] += 1
        facts = apply(self.books[partition], command, self.offsets[partition], at).facts
        for fact in facts:
            self.facts[fact.run_id].append(fact)
            for other in issued(fact):
                self.lines[partition, other.run_id].append(other)
        return facts

    def say(self, kind: str, run_id: str, **body: Any) -> list[Fact]:
        self.sent += 1
        command = Command(
            command_id=f"{self.sent}", kind=kind, run_id=run_id, agent="client", correlation_id="", run=RunBody(**body)
        )
        return self.send(command)

    def runs(self) -> dict[str, Any]:
        return {run_id: run for book in self.books for run_id, run in book.runs.items()}

    def move(self, kind: int, choice: int) -> None:
        """One thing happens: a run starts, has a child, is ended or late, or a command arrives."""
        live = list(self.runs())
        waiting = [line for line in self.lines.values() if line]
        if kind == 0 or not live:
            late = {"deadline_ms": 5} if choice % 2 else {}
            self.say("StartRun", f"root-{self.sent}", workflow="w", complete_when="explicit", **late)
        elif kind <= 3:
            given = {"child_run_id": live[choice // 2 % len(live)]} if choice % 16 == 15 else {}
            self.say("StartChild", live[choice % len(live)], workflow="w", complete_when="explicit", **given)
        elif kind == 4:
            run_id = live[choice % len(live)]
            how = ENDS[choice % 3]
            if self.say(how, run_id)[-1].kind in ENDED:
                self.said[run_id] = {"CompleteRun": "completed", "FailRun": "failed", "CancelRun": "cancelled"}[how]
        elif kind == 5:
            self._late(live[choice % len(live)])
        elif waiting:
            self._arrive(waiting[choice % len(waiting)], twice=kind == 6)

    def _late(self, run_id: str) -> None:
        run = self.runs()[run_id]
        for name, due in list(run.timers.items()):
            if self.send(timers.fired(run_id, "", name, due), at=due):
                self.said[run_id] = "failed"

    def _arrive(self, line: deque[Command], *, twice: bool = False) -> None:
        self.send(line[0] if twice else line.popleft())

    def settle(self) -> None:
        """All that is on its way arrives, and what follows from it too."""
        while waiting := [line for line in self.lines.values() if line]:
            self._arrive(waiting[0])

    def of_kind(self, kind: str) -> list[Any]:
        return [fact for facts in self.facts.values() for fact in facts if fact.kind == kind]


def expected(forest: Forest, run_id: str) -> str:
    """How the run stands, by the oracle."""
    started = next(fact for fact in forest.facts[run_id] if fact.kind == "RunStarted")
    if run_id in forest.said:
        return forest.said[run_id]
    if started.parent_run_id and expected(forest, started.parent_run_id) != "live":
        return "cancelled"
    return "live"


@settings(max_examples=300)
@given(MOVES)
def test_a_tree_of_runs_ends_as_its_runs_were_ended_whatever_overtakes_what(moves: list[tuple[int, int]]) -> None:
    """Each child starts once, is reported once while its parent lives, and does not outlive it."""
    forest = Forest()
    for kind, choice in moves:
        forest.move(kind, choice)
    forest.settle()

    live = forest.runs()
    finished = {run_id: end.status for book in forest.books for run_id, end in book.finished.items()}
    started = forest.of_kind("RunStarted")
    assert len({fact.run_id for fact in started}) == len(started)
    for fact in started:
        assert finished.get(fact.run_id, "live") == expected(forest, fact.run_id)
    for wanted in forest.of_kind("ChildStarted"):
        parent, child = wanted.run_id, wanted.child_run_id
        told = [f.status for f in forest.facts[parent] if f.kind == "ChildEnded" and f.child_run_id == child]
        ours = any(f.run_id == child and f.parent_run_id == parent for f in started)
        assert len(told) <= 1
        assert told in ([], [finished[child]]) if ours and child in finished else told in ([], ["failed"])
        if parent in live:
            assert bool(told) == (not ours or child in finished)
            assert (live[parent].children[child].outcome is None) == (not told)
            assert live[parent].open_children == sum(c.outcome is None for c in live[parent].children.values())
