"""Random handlers, edited and killed at random, with zombies and decisions: the result is that of one uninterrupted
attempt, or nobody is told that the delivery was handled.

The oracle runs the handler that completed once, alone, in a world of its own. Effects are compared by what they are:
the writes of each key and the messages. Named steps write keys of their own, since their order is free.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from agents_sdk.core import ids
from agents_sdk.core.facts import MessageEvent, StateEvent
from agents_sdk.core.ids import RunId
from tests.support.ledger_desk import Desk

RUN: Final = RunId("r")


class Step(NamedTuple):
    """One command of a handler."""

    kind: str
    target: str
    value: str = ""
    name: str = ""


class Turn(NamedTuple):
    """A process that handles the delivery: its code, how far it comes, and what happens before it begins."""

    code: tuple[Step, ...]
    commands: int
    """It is killed after so many; it completes where it comes further than its end."""
    decision: str
    """Where the delivery is parked: continue, restart, or nothing."""
    zombie: int
    """So many further commands of the process before are sent first."""


COUNTED: Final = st.sampled_from(
    [
        *(Step("SetState", key, value) for key in "ab" for value in "12"),
        *(Step("GetState", key) for key in ("config", "other")),
        *(Step("Publish", name, value) for name in ("told", "said") for value in "12"),
    ]
)
NAMED: Final = st.sampled_from(
    [
        *(Step("SetState", f"of.{name}", value, name) for name in "xyz" for value in "12"),
        *(Step("Publish", name, "1", name) for name in "xyz"),
    ]
)


def _each_name_once(steps: list[Step]) -> tuple[Step, ...]:
    names = [step.name for step in steps]
    return tuple(step for number, step in enumerate(steps) if not step.name or step.name not in names[:number])


CODES: Final = st.lists(st.one_of(COUNTED, NAMED), max_size=5).map(_each_name_once)


@st.composite
def turns(draw: st.DrawFn) -> list[Turn]:
    """Several processes in a row; the code of most is that of the one before, or nearly."""
    code = draw(CODES)
    found: list[Turn] = []
    for _ in range(draw(st.integers(1, 5))):
        edit = draw(st.sampled_from(["same", "same", "insert", "remove", "move", "replace", "other"]))
        place = draw(st.integers(0, max(len(code) - 1, 0)))
        if edit == "insert":
            step = draw(COUNTED)
            code = (*code[:place], step, *code[place:])
        elif edit == "remove":
            code = code[:place] + code[place + 1 :]
        elif edit == "move" and code:
            code = (code[place], *code[:place], *code[place + 1 :])
        elif edit == "replace" and code and not code[place].name:
            code = (*code[:place], draw(COUNTED), *code[place + 1 :])
        elif edit == "other":
            code = draw(CODES)
        decision = draw(st.sampled_from(["continue", "restart", ""]))
        found.append(Turn(code, draw(st.integers(0, len(code) + 1)), decision, draw(st.integers(0, 2))))
    return found


class World:
    """A desk with one delivery, and what the processes that handle it are told."""

    def __init__(self) -> None:
        self.desk = Desk()
        for name in ("one", "hears"):
            self.desk.register(name, subscriptions=["*"] if name == "hears" else [])
        self.desk.start()
        self.desk.send("SetState", key="config", value='"c"')
        self.delivery: Any = self.desk.deliver("one")
        self.before = len(self.desk.facts)
        self.restarted = False

    @property
    def open(self) -> bool:
        return self.delivery.delivery_id in self.desk.book.runs[RUN].deliveries

    @property
    def parked(self) -> bool:
        return self.open and bool(self.desk.book.runs[RUN].deliveries[self.delivery.delivery_id].parked)

    def send(self, delivery: Any, code: tuple[Step, ...], number: int) -> str:
        """Sends the command of this number; the answer's code or value."""
        step = code[number]
        counted = sum(not earlier.name for earlier in code[:number])
        place = f"@{step.name}/0" if step.name else str(counted)
        name = f"restart/{delivery.restarts}/{place}" if delivery.restarts else place
        fields = {"key": step.target, "value": step.value} if "State" in step.kind else {
            "name": step.target, "data": step.value
        }  # fmt: skip
        sent = self.desk.within(
            delivery, step.kind, step=place, command_id=ids.derive(delivery.delivery_id, name), **fields
        )
        (told,) = (one.reply for one in sent.replies)
        return told.code or f"{told.value}{told.version}"

    def complete(self, delivery: Any, code: tuple[Step, ...]) -> bool:
        fields = {"attempt": delivery.attempt, "counted": True, "commands": len(code)}
        return self.desk.within(delivery, "CompleteHandler", **fields).facts[0].kind == "HandlerCompleted"

    def decide(self, decision: str) -> None:
        if not (self.parked and decision):
            return
        redrive = {"name": "", "dead_delivery_id": self.delivery.delivery_id, "restart": decision == "restart"}
        step = self.desk.send("Redrive", **redrive)
        if step.facts[0].kind != "CommandRefused":
            self.delivery = step.facts[-1]
            self.restarted |= decision == "restart"

    def messages(self) -> Counter[tuple[str, str]]:
        facts = self.desk.facts[self.before :]
        return Counter(
            (fact.name, fact.data)
            for fact in facts
            if isinstance(fact, MessageEvent) and fact.kind == "MessagePublished"
        )

    def writes(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for fact in self.desk.facts[self.before :]:
            if isinstance(fact, StateEvent) and fact.kind == "StateWritten":
                found.setdefault(fact.key, []).append(fact.value)
        return found


def alone(code: tuple[Step, ...]) -> tuple[World, list[str]]:
    """The oracle: one uninterrupted attempt."""
    world = World()
    told = [world.send(world.delivery, code, number) for number in range(len(code))]
    assert world.complete(world.delivery, code)
    return world, told


@settings(deadline=None, max_examples=200)
@given(turns())
def test_the_result_is_that_of_one_attempt_or_a_divergence(processes: list[Turn]) -> None:
    """Whatever was edited and killed: who completes has had its own answers, and nothing else was done."""
    world = World()
    zombie: tuple[Any, tuple[Step, ...], int] | None = None
    for turn in processes:
        if not world.open:
            break
        world.decide(turn.decision)
        if zombie is not None:
            delivery, code, at = zombie
            for number in range(at, min(at + turn.zombie, len(code))):
                if world.send(delivery, code, number) == "diverged":
                    break
        delivery, told = world.delivery, list[str]()
        for number in range(min(turn.commands, len(turn.code))):
            told.append(world.send(delivery, turn.code, number))
            if told[-1] == "diverged":
                break
        zombie = (delivery, turn.code, len(told))
        if told and told[-1] == "diverged":
            assert world.parked
            assert not world.complete(delivery, turn.code), "nothing else of it has an effect"
        elif turn.commands > len(turn.code) and world.complete(delivery, turn.code):
            oracle, answers = alone(turn.code)
            event("completed after a restart" if world.restarted else "completed")
            assert world.messages() == oracle.messages(), "also after a restart: no effect is repeated"
            if not world.restarted:
                assert told == answers
                assert world.writes() == oracle.writes()
    event("parked at the end" if world.parked else "open" if world.open else "handled")
    assert world.desk.book.runs[RUN].pending["one"] == world.open


@settings(deadline=None, max_examples=200)
@given(turns())
def test_a_recovered_ledger_decides_the_same(processes: list[Turn]) -> None:
    """All of it follows from the facts: a book that is folded from them refuses and answers as the first one."""
    from agents_sdk.core.ledger import PartitionState, evolve

    world = World()
    for turn in processes:
        world.decide(turn.decision)
        for number in range(min(turn.commands, len(turn.code))):
            world.send(world.delivery, turn.code, number)
    folded = PartitionState()
    for fact in world.desk.facts:
        evolve(folded, fact)
    assert folded.runs == world.desk.book.runs


@given(turns())
def test_named_steps_keep_their_answers_whatever_moves(processes: list[Turn]) -> None:
    """A code of named steps alone goes on in any order, with steps inserted, and never diverges."""
    code = tuple(step for step in processes[0].code if step.name)
    world = World()
    first = [world.send(world.delivery, code, number) for number in range(len(code))]
    moved = (*reversed(code), Step("SetState", "of.new", "1", "new"))
    again = [world.send(world.delivery, moved, number) for number in range(len(moved))]
    assert list(reversed(first)) == again[:-1]
    assert world.complete(world.delivery, moved)
