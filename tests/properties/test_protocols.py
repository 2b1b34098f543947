"""Messages between processes come late, twice and out of order, from owners of before as well: every short history.

Each actor says what it has to say in its order, as one producer does. Whose turn it is, is free: a zombie is an actor
whose turn comes late. What was said may be said again at any time. The core decides; the facts are held against laws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.commands import BreakerBody, Command, HandlerBody, StateBody
from agents_sdk.core.facts import BreakerEvent, Reply
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import breakers, timers
from agents_sdk.core.ledger.scribe import FactBuilder
from agents_sdk.core.ledger.state import Breaker
from tests.support.ledger_desk import EXECUTOR, Desk
from tests.support.message_ends import unended
from tests.support.search import Found, search

WHOLE: Final = bool(os.environ.get("MODEL_WHOLE"))
DEPTH: Final = 14 if WHOLE else 9
LIMIT: Final = 400_000 if WHOLE else 500
pytestmark = pytest.mark.timeout(7_200 if WHOLE else 900)
LEAP_US: Final = 20_000_000
"""How far time passes in one step: every deadline of a history is over after it."""


class Late:
    """A ledger's core and the lines of those who speak to it."""

    def __init__(self, *, leaps: int, again: int) -> None:
        self.desk = Desk()
        self.lines: dict[str, list[Command]] = {}
        self.said: list[Command] = []
        self.left = {"leap": leaps, "again": again}
        self.now = 0
        self.heard: dict[str, Callable[[Command, Reply], None]] = {}
        """Actor → what it does when it is answered."""

    def enabled(self) -> Iterator[str]:
        """Who may speak; time may pass; something may be said again."""
        yield from (f"say {name}" for name, line in self.lines.items() if line)
        if self.left["leap"]:
            yield "leap"
        if self.left["again"]:
            yield from (f"again {index}" for index in range(len(self.said)))

    def act(self, action: str) -> None:
        """Lets it happen."""
        kind, _, which = action.partition(" ")
        if kind in self.left:
            self.left[kind] -= 1
        if kind == "leap":
            self.now += LEAP_US
        elif kind == "again":
            self._decide(self.said[int(which)])
        elif kind == "say":
            command = self.lines[which].pop(0)
            self.said.append(command)
            for reply in self._decide(command):
                if which in self.heard and reply.command_id == command.command_id:
                    self.heard[which](command, reply)

    def _decide(self, command: Command) -> list[Reply]:
        step = self.desk.put(command, self.now + len(self.desk.sent))
        return [addressed.reply for addressed in step.replies]

    def state(self) -> Hashable:
        """The book, the lines, and what the actors are about."""
        lines = {name: [command.command_id for command in line] for name, line in self.lines.items()}
        book = msgspec.structs.replace(self.desk.book, applied=0, spent={})
        return (
            msgspec.msgpack.encode(book),
            str(lines),
            str([command.command_id for command in self.said]) if self.left["again"] else "",
            str(self.left),
            self.now,
            self.about(),
        )

    def about(self) -> str:
        """What the actors know beside their lines."""
        return ""

    def wrong(self) -> str:
        """The law that is broken."""
        return ""

    def close(self) -> None:
        """Nothing to free."""


class Handlers(Late):
    """Two processes that handle one delivery, each believing it to be its own, and two ledgers that ring its alarms."""

    def __init__(self, *, failing: str = "", **faults: int) -> None:
        super().__init__(**faults)
        self.failing = failing
        desk = self.desk
        desk.register("boss")
        desk.register("one", max_deliveries=2, supervisor="boss", handler_timeout_ms=5_000)
        desk.start(rules=1)
        self.delivery = desk.deliver("one")
        for name in "AB":
            self.lines[name] = []
            self.heard[name] = lambda command, reply, name=name: self._answered(name, command, reply)  # type: ignore[misc]
            self._say(name, "StartHandler", f"start/1/{name}", 1)
        self.lines |= {"ring": [], "ring again": []}

    def enabled(self) -> Iterator[str]:
        """And alarms ring, in either ledger, from when they are due on."""
        yield from super().enabled()
        for ledger in ("ring", "ring again"):
            if self._due() and not self.lines[ledger]:
                yield f"alarm {ledger}"

    def act(self, action: str) -> None:
        """As before; an alarm goes into its ledger's line."""
        kind, _, ledger = action.partition(" ")
        if kind != "alarm":
            super().act(action)
            return
        for name, due in self._due():
            self.lines[ledger].append(timers.fired(RunId("r"), "", name, due))

    def _due(self) -> list[tuple[str, int]]:
        run = self.desk.book.runs.get(RunId("r"))
        return [(name, due) for name, due in run.timers.items() if due <= self.now] if run is not None else []

    def _say(self, name: str, kind: str, command: str, attempt: int, body: Any = None) -> None:
        given = {"handler": body or HandlerBody(attempt=attempt)} if "Handler" in kind else {"state": body}
        delivery = self.delivery
        self.lines[name].append(
            Command(
                command_id=CommandId(ids.derive(delivery.delivery_id, command)),
                kind=kind,
                run_id=RunId("r"),
                agent="one",
                correlation_id="",
                causation_id=delivery.event_id,
                delivery_id=delivery.delivery_id,
                reply_to=name,
                **given,
            )
        )

    def _answered(self, name: str, command: Command, reply: Reply) -> None:
        """As the SDK's worker: the attempt that is open, its effect, its end, and the next one where there is one."""
        newer = msgspec.json.decode(reply.detail).get("attempt", 0) if reply.detail else 0
        if reply.status != "ok":
            return
        if command.kind in ("StartHandler", "FailHandler"):
            attempt = newer or (1 if command.kind == "StartHandler" else 0)
            if attempt:
                self._say(name, "SetState", "0", attempt, StateBody(key="effect", value="1"))
                kind = "FailHandler" if name in self.failing else "CompleteHandler"
                self._say(name, kind, f"{kind}/{attempt}", attempt)

    def wrong(self) -> str:
        """The effect once; attempts in order, one end, a handler that is late changes nothing."""
        facts: list[Any] = self.desk.facts
        effects = sum(fact.kind == "StateWritten" for fact in facts)
        if effects > 1:
            return f"the effect happened {effects} times"
        mine = [fact for fact in facts if getattr(fact, "delivery_id", "") == self.delivery.delivery_id]
        attempts = [fact.attempt for fact in mine if fact.kind == "MessageDelivered"]
        if attempts != list(range(1, len(attempts) + 1)):
            return f"attempts {attempts}"
        ends = [fact.kind for fact in mine if fact.kind in ("HandlerCompleted", "MessageDeadLettered")]
        if len(ends) > 1:
            return f"it ended {ends}"
        if ends and mine[-1].kind not in (*ends, "EscalationRaised"):
            return f"{mine[-1].kind} after its end"
        return "; ".join(unended(facts))


class Probes(Late):
    """Two executors that probe a breaker, one of which may be frozen with its probe granted."""

    KEY = breakers.breaker_id("search", "one", "outage")

    def __init__(self, **faults: int) -> None:
        super().__init__(**faults)
        self.granted: list[tuple[str, int]] = []
        """Whose probe was granted, and until when it is its own."""
        self.late = ""
        self._put("OpenBreaker", "X", "opened", open_ms=1)
        self.act("say X")
        self.now += LEAP_US
        for name in "XY":
            self.heard[name] = lambda command, reply, name=name: self._answered(name, command, reply)  # type: ignore[misc]
            self._put("ProbeBreaker", name, "probe", probe_ms=10_000)

    def _put(self, kind: str, name: str, what: str, **limits: Any) -> None:
        body = BreakerBody(capability="search", provider="one", error_class="outage", executor=name, **limits)
        self.lines.setdefault(name, []).append(
            Command(
                command_id=CommandId(f"{what} {name}"),
                kind=kind,
                run_id=RunId(self.KEY),
                agent=EXECUTOR,
                correlation_id="",
                reply_to=name,
                breaker=body,
            )
        )

    def _answered(self, name: str, command: Command, reply: Reply) -> None:
        if command.kind != "ProbeBreaker" or reply.status != "ok":
            return
        taken = self.desk.book.breakers[self.KEY]
        if taken.holder != name:
            return  # it is closed, and the attempt is one like any other
        closed = {fact.executor for fact in self.desk.facts if fact.kind == "BreakerClosed"}  # type: ignore[attr-defined]
        self.granted = [(who, until) for who, until in self.granted if who not in closed]
        if any(until > self.now and who != name for who, until in self.granted):
            self.late = f"{name} was granted a probe beside {self.granted}"
        self.granted.append((name, taken.until))
        self._put("CloseBreaker", name, "well")

    def about(self) -> str:
        return str(self.granted)

    def wrong(self) -> str:
        """One probe at a time; and who lets its time pass closes nothing."""
        facts: list[Any] = [fact for fact in self.desk.facts if isinstance(fact, BreakerEvent)]
        for before, fact in pairwise(facts):
            if fact.kind == "BreakerClosed" and (before.kind, before.executor) != ("BreakerProbed", fact.executor):
                return f"{fact.executor} closed it, and its probe was not the last"
        return self.late


def look(made: Callable[[], Any]) -> Found:
    """The search."""
    found = search(made, depth=DEPTH, limit=LIMIT)
    print(f"{found.histories} states, complete: {found.complete}")
    return found


@pytest.mark.parametrize("failing", ["", "A", "AB"])
def test_a_delivery_has_one_effect_and_one_end_whoever_handles_it(failing: str) -> None:
    """Two processes, one of before; alarms of two ledgers; anything said twice."""
    found = look(lambda: Handlers(failing=failing, leaps=1, again=1))
    assert not found.wrong, " → ".join(found.history)
    assert found.complete or found.histories >= LIMIT // 2


def test_a_breaker_is_probed_by_one_at_a_time() -> None:
    """A probe granted to one that was frozen is its own until its time is over, and then closes nothing."""
    found = look(lambda: Probes(leaps=2, again=2))
    assert not found.wrong, " → ".join(found.history)
    assert found.histories > 50


def test_the_search_finds_an_effect_whose_command_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger forgot what a handler has said, its effect would happen again."""
    monkeypatch.setattr(sys.modules["agents_sdk.core.ledger.evolve"], "_remember", lambda *_: None)
    assert "the effect happened 2 times" in look(lambda: Handlers(leaps=0, again=1)).wrong


def test_the_search_finds_a_probe_that_is_granted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger did not look at whose probe is under way."""

    def anyhow(known: Breaker, body: BreakerBody, scribe: FactBuilder) -> None:
        breakers._fact("BreakerProbed", body, scribe, until=scribe.at + body.probe_ms * 1_000, opened=known.opened)

    monkeypatch.setitem(breakers.TABLE, ("half_open", "ProbeBreaker"), anyhow)
    assert "beside" in look(lambda: Probes(leaps=0, again=0)).wrong
