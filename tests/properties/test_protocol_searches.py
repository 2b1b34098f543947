"""Child runs, registry and sink: every short history of their messages, late, twice and out of order; with zombies.

As in ``test_protocols``: whose turn it is, is free. Core, catalogue and the sink's batches are the real ones.
"""

from __future__ import annotations

import copy
import os
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.registry import Switch
from backplane.sink.edges import edges_of
from backplane.sink.fence import TABLES, Fence, Overtaken, Place, State, state_of
from backplane.sink.rows import month
from backplane.sink.writer import Batch, Step, Writer
from tests.support.forest import Forest
from tests.support.search import Found, search
from tests.support.stories import article, records

WHOLE: Final = bool(os.environ.get("MODEL_WHOLE"))
DEPTH: Final = 14 if WHOLE else 9
LIMIT: Final = 400_000 if WHOLE else 600
pytestmark = pytest.mark.timeout(7_200 if WHOLE else 900)


def look(made: Callable[[], Any], depth: int = DEPTH, limit: int = LIMIT) -> Found:
    """The search."""
    found = search(made, depth=depth, limit=limit)
    print(f"{found.histories} states, complete: {found.complete}")
    return found


class Family:
    """A run and two children in other partitions; what they say to each other arrives late, and twice."""

    def __init__(self, *, again: int) -> None:
        self.forest = Forest()
        self.forest.say("StartRun", "root", workflow="w", complete_when="explicit")
        self.left = {"StartChild": 2, "CompleteRun": 2, "CancelRun": 1, "FailRun": 1, "twice": again}

    def enabled(self) -> Iterator[str]:
        """A client acts on any run that lives; the first of a line arrives, or arrives and will once more."""
        for run_id in self.forest.runs():
            yield from (f"{kind} {run_id}" for kind, left in self.left.items() if left and kind != "twice")
        for number in range(len(self.forest.waiting())):
            yield f"arrive {number}"
            if self.left["twice"]:
                yield f"twice {number}"

    def act(self, action: str) -> None:
        """Lets it happen."""
        kind, _, which = action.partition(" ")
        if kind in self.left:
            self.left[kind] -= 1
        if kind in ("arrive", "twice"):
            self.forest.arrive(self.forest.waiting()[int(which)], twice=kind == "twice")
        elif kind == "StartChild":
            self.forest.say(kind, which, workflow="w", complete_when="explicit")
        else:
            self.forest.say(kind, which)

    def state(self) -> Hashable:
        """The books, what is on its way, and what is left."""
        books = tuple(msgspec.msgpack.encode(book) for book in self.forest.books)
        lines = {str(place): [one.command_id for one in line] for place, line in self.forest.lines.items() if line}
        return books, str(lines), str(self.left)

    def wrong(self) -> str:
        """Now: nothing begins, is told or ends twice. And when all has arrived: no child outlives its parent, and a
        parent that lives was told how each child ended."""
        forest = copy.deepcopy(self.forest)
        for settled in (False, True):
            if settled:
                forest.settle()
            begun = Counter(fact.run_id for fact in forest.of_kind("RunStarted"))
            ends = Counter(fact.run_id for facts in forest.facts.values() for fact in facts if fact.kind in RUN_ENDS)
            told = Counter(fact.child_run_id for fact in forest.of_kind("ChildEnded"))
            for what, counted in (("begun", begun), ("ended", ends), ("told", told)):
                if any(count > 1 for count in counted.values()):
                    return f"{what} twice: {counted}"
        live = forest.runs()
        for fact in forest.of_kind("ChildStarted"):
            if fact.child_run_id in live and fact.run_id not in live:
                return f"{fact.child_run_id} outlives its parent"
            if fact.run_id in live and fact.child_run_id not in live and not told[fact.child_run_id]:
                return f"nobody was told of the end of {fact.child_run_id}"
        return ""

    def close(self) -> None:
        """Nothing to free."""


def test_a_family_of_runs_ends_as_one_whatever_is_late_or_comes_twice() -> None:
    found = look(lambda: Family(again=2))
    assert not found.wrong, " → ".join(found.history)
    assert found.complete or found.histories >= LIMIT // 2


def test_the_search_finds_a_child_that_begins_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger did not know a run that has ended, its start would begin it once more."""
    step = sys.modules["agents_sdk.core.ledger.evolve"]
    monkeypatch.setattr(step, "_remember", lambda *_: None)
    monkeypatch.setattr(Forest, "arrive", _forgetful(Forest.arrive))
    assert "begun twice" in look(lambda: Family(again=1)).wrong


def _forgetful(arrive: Callable[..., None]) -> Callable[..., None]:
    def forgets(forest: Forest, line: Any, *, twice: bool = False) -> None:
        if line[0].kind == "StartRun":
            for book in forest.books:
                book.finished.clear()
        arrive(forest, line, twice=twice)

    return forgets


class Switches:
    """Two operators that switch one capability, a reader that follows, and one that reads the topic later."""

    def __init__(self, *, again: bool = True) -> None:
        """``again``: who follows says again what counts, where something older lies behind it."""
        self.again = again
        self.log: list[tuple[int, Switch]] = []
        self.next = 0
        self.follower = Catalogue()
        self.read = 0
        self.ready: dict[str, Switch] = {}
        """Operator → what it is about to write, decided by what it had read."""
        self.left = dict.fromkeys("AB", 2)

    def enabled(self) -> Iterator[str]:
        """An operator reads and decides; writes, perhaps much later; the follower reads on, and says again what counts;
        the topic is compacted."""
        for name in "AB":
            if name in self.ready:
                yield f"write {name}"
            elif self.left[name]:
                yield f"decide {name}"
        if self.read < self.next:
            yield "follow"
        if self.follower.outlived and self.again:
            yield "say"
        if len(self.log) > 1:
            yield "compact"

    def act(self, action: str) -> None:
        """Lets it happen."""
        kind, _, name = action.partition(" ")
        if kind == "decide":
            self.left[name] -= 1
            at = self._whole().following(Switch, "c", 0)
            self.ready[name] = Switch(
                target="c", state="disabled" if name == "A" else "enabled", set_by=name, set_at=at
            )
        elif kind in ("write", "say"):
            self.follower.outlived -= {(Switch, "c")} if kind == "say" else set()
            self.log.append((self.next, self.ready.pop(name) if kind == "write" else self.follower.switch("c")))
            self.next += 1
        elif kind == "follow":
            for offset, record in self.log:
                if offset >= self.read:
                    self.follower.take(record, offset, 0.0)
            self.read = self.next
        else:
            self.log = self.log[-1:]

    def _whole(self) -> Catalogue:
        made = Catalogue()
        for offset, record in self.log:
            made.take(record, offset, 0.0)
        return made

    def state(self) -> Hashable:
        """The log, the readers and the operators."""
        known = (str(self.follower.switches), str(self.follower.said), bool(self.follower.outlived))
        return str(self.log), self.next, self.read, known, str(self.ready), str(self.left)

    def wrong(self) -> str:
        """Whoever has read to the end knows the same, whenever it began; once what counts was said again."""
        quiet = self.read == self.next and not (self.again and self.follower.outlived)
        if quiet and self.follower.switch("c") != self._whole().switch("c"):
            return f"{self.follower.switch('c')} to one that followed, {self._whole().switch('c')} to a new reader"
        return ""

    def close(self) -> None:
        """Nothing to free."""


def test_all_readers_of_the_registry_agree_whoever_writes_late() -> None:
    """A zombie operator's word, which says that it is older, counts for nobody, also when the topic was compacted."""
    found = look(Switches)
    assert not found.wrong, " → ".join(found.history)
    assert found.complete or found.histories >= LIMIT // 2


def test_the_search_finds_that_compaction_keeps_a_zombies_word() -> None:
    """Compaction goes by the place in the log, readers go by what was said last. Who followed passes over the late word
    of a zombie, and a new reader would find nothing else."""
    found = look(lambda: Switches(again=False))
    assert "to a new reader" in found.wrong
    assert found.history[-1] == "compact"


class Sinks:
    """Sinks that die and come back over one store. Inserts land late, and are said again where an answer is lost."""

    def __init__(self, *, waits: bool = True, both: bool = False, fenced: bool = False) -> None:
        """``waits``: a successor begins when no insert is under way. ``both``: two live at once. ``fenced``: an insert
        is named after the state that it starts from."""
        self.waits = waits
        self.fenced = fenced
        self.log = records(article().facts)[:4]
        self.log = [one._replace(topic="t", partition=0, offset=number) for number, one in enumerate(self.log)]
        self.events: list[int] = []
        self.edges: list[tuple[int, Any]] = []
        self.tokens: set[str] = set()
        self.under_way: list[tuple[str, str, Step]] = []
        """Who sent it, under which name."""
        self.answered: dict[str, Step] = {}
        """Sink → its insert that has landed, of which it has not heard."""
        self.alive: dict[str, tuple[Writer, list[tuple[str, Step]], int]] = {}
        """Sink → its writer, its steps still to be said, and where it goes on."""
        self.fences: dict[str, Fence] = {}
        self.born = 0
        self.left = {"kill": 2, "again": 1}
        self.most = 2 if both else 1

    def enabled(self) -> Iterator[str]:
        """A sink begins, takes a batch, says its next insert; an insert lands; an answer is lost; a sink is killed."""
        if len(self.alive) < self.most and not (self.waits and self.under_way) and self.born < 3:
            yield "begin"
        for name, (_, steps, following) in self.alive.items():
            ours = name in self.answered or any(sender == name for sender, _, _ in self.under_way)
            if steps and not ours:
                yield f"insert {name}"
            if not steps and not ours and following < len(self.log):
                yield from (f"take {name} {count}" for count in (1, 3))
            if self.left.get("kill"):
                yield f"kill {name}"
        yield from (f"hear {name}" for name in self.answered)
        for number in range(len(self.under_way)):
            yield f"land {number}"
            if self.left.get("again"):
                yield f"again {number}"

    def act(self, action: str) -> None:
        """Lets it happen."""
        kind, _, rest = action.partition(" ")
        name, _, count = rest.partition(" ")
        if kind in self.left:
            self.left[kind] -= 1
        if kind == "begin":
            self.born += 1
            name = f"s{self.born}"
            self.alive[name] = (self._writer(name), [], max([-1, *self.events]) + 1)
            self.fences[name] = Fence({table: self._state(table) for table in TABLES})
        elif kind == "take":
            writer, _, following = self.alive[name]
            taken = self.log[following : following + int(count)]
            batch: Batch = writer.prepare(taken)
            steps = [(f"{batch.token}/{one.token}", one) for one in batch.steps]
            self.alive[name] = (writer, steps, following + len(taken))
        elif kind == "insert":
            token, step = self.alive[name][1].pop(0)
            if self.fenced:
                token = self.fences[name].begin(step.table, step.month, step.tops)
            self.under_way.append((name, token, step))
        elif kind == "kill":
            self._end(name)
        elif kind == "hear":
            self._hear(name, self.answered.pop(name))
        else:  # an insert whose answer is lost is said again, under its token
            sender, token, step = self.under_way[int(rest)] if kind == "again" else self.under_way.pop(int(rest))
            if token not in self.tokens:
                self.tokens.add(token)
                self._store(step)
            if kind == "land" and self.fenced and sender in self.alive:
                self.answered[sender] = step

    def _hear(self, name: str, step: Step) -> None:
        """The sink looks at the table, and ends where another one has written."""
        try:
            self.fences[name].end(step.table, self._state(step.table))
        except Overtaken:
            self._end(name)

    def _end(self, name: str) -> None:
        del self.alive[name]
        self.answered.pop(name, None)

    def _state(self, table: str) -> State:
        offsets = self.events if table == "events" else [offset for offset, _ in self.edges]
        return state_of([(str(month(self.log[0].row.at)), "t", 0, max(offsets))] if offsets else [])

    def _writer(self, name: str) -> Writer:
        """As one that has just looked at the store."""
        made = Writer.__new__(Writer)
        made._tokens, made._batches, made._half_done, made._stages, made._fence = name, 0, True, None, None
        place: Place = ("t", 0)
        made._edges_stored = {place: max(offset for offset, _ in self.edges)} if self.edges else {}
        return made

    def _store(self, step: Step) -> None:
        columns: Any = step.block
        offsets = columns.columns[columns.names.index("offset")]
        if step.table == "events":
            self.events += offsets
        else:
            kinds = columns.columns[columns.names.index("relation")]
            self.edges += list(zip(offsets, kinds, strict=True))

    def state(self) -> Hashable:
        """The store, what is under way, and where each sink is."""
        sinks = {name: ([token for token, _ in steps], at) for name, (_, steps, at) in self.alive.items()}
        way = [(sender, token, len(step.tops), max(step.tops.values())) for sender, token, step in self.under_way]
        known = {name: str(vars(fence)) for name, fence in self.fences.items() if name in self.alive}
        return (
            str(self.events),
            str(self.edges),
            str(sorted(self.tokens)),
            str(way),
            str(sinks),
            str(known) if self.fenced else "",
            str(sorted(self.answered)),
            str(self.left),
            self.born,
        )

    def wrong(self) -> str:
        """Each fact and each edge once, without a gap; the edges of what is stored are there."""
        if sorted(self.events) != list(range(len(self.events))):
            return f"facts {self.events}"
        made = Counter((one.offset, edge[0]) for one in self.log for edge in edges_of(one.row))
        many = Counter(self.edges) - made
        stored = set(self.events)
        few = Counter({edge: count for edge, count in made.items() if edge[0] in stored}) - Counter(self.edges)
        return f"edges too many: {many}, too few: {few}" if many or few else ""

    def close(self) -> None:
        """Nothing to free."""


def test_facts_are_stored_once_however_sinks_die_and_answers_are_lost() -> None:
    """One sink at a time, whose successor begins when nothing is under way."""
    found = look(Sinks, depth=DEPTH + 3)
    assert not found.wrong, " → ".join(found.history)
    assert found.complete or found.histories >= LIMIT // 2


def test_the_search_finds_what_a_successor_that_does_not_wait_does() -> None:
    """An insert of its predecessor lands after it has looked where to go on."""
    assert look(lambda: Sinks(waits=False), depth=DEPTH + 3).wrong


def test_the_search_finds_what_two_sinks_without_a_fence_do() -> None:
    """As it was: each names its inserts for itself."""
    assert look(lambda: Sinks(waits=False, both=True), depth=DEPTH + 3).wrong


def test_two_sinks_on_one_server_store_each_fact_once() -> None:
    """Nobody waits for anybody, and inserts of the dead land late."""
    found = look(lambda: Sinks(waits=False, both=True, fenced=True), depth=DEPTH + 5)
    assert not found.wrong, " → ".join(found.history)
    assert found.complete or found.histories >= LIMIT // 2


def test_the_search_finds_a_sink_that_does_not_look_after_its_insert(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take a dropped insert for a stored one, and name its next one after a state that never was."""
    monkeypatch.setattr(Fence, "end", lambda fence, table, now: fence._states.update({table: fence._expected[table]}))

    def lively() -> Sinks:
        made = Sinks(waits=False, both=True, fenced=True)
        made.left = {}
        return made

    assert look(lively, depth=DEPTH + 5, limit=20_000).wrong
