"""A tree of runs over several partitions ends consistently, in whatever order their commands are decided.

What the runs say to each other arrives in order and now and then twice; hypothesis chooses who goes next. The oracle
knows nothing of any of that: a run that was ended has ended so, one whose parent ended is cancelled.
"""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.ids import RunId
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.ledger import timers
from tests.support.forest import Forest

ENDS: Final = ("CompleteRun", "FailRun", "CancelRun")
MOVES: Final = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255)), max_size=60)


class Ending(Forest):
    """Runs that start, have children and are ended."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}
        """Run → how it was ended by somebody who was told so, a deadline included."""

    def move(self, kind: int, choice: int) -> None:
        """One thing happens: a run starts, has a child, is ended or late, or a command arrives."""
        live = list(self.runs())
        waiting = self.waiting()
        if kind == 0 or not live:
            late = {"deadline_ms": 5} if choice % 2 else {}
            self.say("StartRun", f"root-{self.sent}", workflow="w", complete_when="explicit", **late)
        elif kind <= 3:
            given = {"child_run_id": live[choice // 2 % len(live)]} if choice % 16 == 15 else {}
            self.say("StartChild", live[choice % len(live)], workflow="w", complete_when="explicit", **given)
        elif kind == 4:
            run_id = live[choice % len(live)]
            how = ENDS[choice % 3]
            if self.say(how, run_id)[-1].kind in RUN_ENDS:
                self.said[run_id] = {"CompleteRun": "completed", "FailRun": "failed", "CancelRun": "cancelled"}[how]
        elif kind == 5:
            self._late(live[choice % len(live)])
        elif waiting:
            self.arrive(waiting[choice % len(waiting)], twice=kind == 6)

    def _late(self, run_id: str) -> None:
        run = self.runs()[run_id]
        for name, due in list(run.timers.items()):
            if self.send(timers.fired(RunId(run_id), "", name, due), at=due):
                self.said[run_id] = "failed"


def expected(forest: Ending, run_id: str) -> str:
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
    forest = Ending()
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
