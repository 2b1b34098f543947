"""An effect that must not happen twice does not: every short history of two executors, a ledger and a provider.

Messages are late (the ledger decides when the history says so), come twice (claims are sent again) and out of order (a
frozen executor hears everything late). The rules of before are searched as well, and the faults they had are found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent
from agents_sdk.core.ledger import calls
from backplane.executor import reports
from backplane.executor.engine import CallEngine
from backplane.executor.reports import ClaimOf
from tests.support.executor_world import CALL, LEAP_S, Process, World
from tests.support.search import Found, replayed, search

WHOLE: Final = bool(os.environ.get("MODEL_WHOLE"))
"""Longer histories with more faults at once: minutes instead of seconds."""
DEPTH: Final = 14 if WHOLE else 11
LIMIT: Final = 400_000 if WHOLE else 800
pytestmark = pytest.mark.timeout(7_200 if WHOLE else 900)
UNKNOWN: Final = ("outcome_unknown", "result_lost")


class Histories:
    """A world, and what may happen in it; each kind of fault as often as it is given."""

    def __init__(
        self,
        *,
        moves: int = 3,
        leaps: int = 0,
        freezes: int = 0,
        deaths: int = 0,
        again: int = 0,
        **world: Any,
    ) -> None:
        self.world = World(**world)
        self.left = {"own": moves, "leap": leaps, "freeze": freezes, "kill": deaths, "again": again}
        for name in "XY":
            self.world.process(name)

    def enabled(self) -> Iterator[str]:
        """The ledger decides, the provider answers, partitions move, and what is left of the faults."""
        if self.world.queue:
            yield "decide"
        if self.left["leap"]:
            yield "leap"
        for name, process in self.world.processes.items():
            busy = bool(process.claims or process.answers)
            if self.left["own"] and self.world.owner != name:
                yield f"own {name}"
            if process.frozen:
                yield f"thaw {name}"
                continue
            if process.answers:
                yield f"answer {name}"
            for fault in ("freeze", "kill"):
                if busy and self.left[fault]:
                    yield f"{fault} {name}"
            if process.claims and self.left["again"]:
                yield f"again {name}"

    def act(self, action: str) -> None:
        """Lets it happen, and every executor do what it can."""
        kind, _, name = action.partition(" ")
        if kind in self.left:
            self.left[kind] -= 1
        world, process = self.world, self.world.processes.get(name)
        match kind:
            case "decide":
                world.decide()
            case "leap":
                world.now += LEAP_S
            case "own":
                world.owner = name
            case "kill":
                assert process is not None
                process.close()
                world.owner = "" if world.owner == name else world.owner
                world.process(name)
            case _:
                assert process is not None
                deeds: dict[str, Callable[[], object]] = {
                    "answer": process.answer,
                    "again": process.ask_again,
                    "freeze": partial(self._freeze, process),
                    "thaw": partial(setattr, process, "frozen", False),
                }
                deeds[kind]()
        for each in world.processes.values():
            each.run()

    def _freeze(self, process: Process) -> None:
        process.frozen = self.world.zombies = True

    def state(self) -> Hashable:
        """The log, the group, and what each executor has met."""
        world = self.world
        return (
            tuple(self.left.values()),
            (world.now, world.owner),
            tuple(command.command_id for command in (*world.desk.sent, *world.queue)),
            len(world.queue),
            tuple(
                (each.identity, each.frozen, each.owns, each.read, str(each.history), len(each.inbox))
                for each in world.processes.values()
            ),
        )

    def wrong(self) -> str:
        """The law that is broken."""
        world = self.world
        happened = world.effects[CALL]
        unsafe = world.registry.get("probe").capability.side_effects == "unsafe"
        if unsafe and happened > 1:
            return f"the effect happened {happened} times"
        if world.repeated:
            return f"{world.repeated} asked again after its outcome was in the log"
        outcomes = [fact for fact in world.calls if fact.kind in ("CallCompleted", "CallFailed")]
        return "; ".join(filter(None, (self._untrue(fact, happened) for fact in outcomes))) if unsafe else ""

    @staticmethod
    def _untrue(outcome: CallEvent, happened: int) -> str:
        if outcome.kind == "CallCompleted" and not happened:
            return "the call completed, and its effect did not happen"
        if outcome.kind == "CallFailed" and happened and outcome.error_code not in UNKNOWN:
            return f"the call failed for certain ({outcome.error_code}), and its effect happened"
        return ""

    def close(self) -> None:
        """Ends the executors."""
        self.world.close()


def look(limit: int = LIMIT, **given: Any) -> Found:
    """The search with these faults."""
    found = search(lambda: Histories(**given), depth=DEPTH, limit=limit)
    print(f"{found.histories} states of {given}, complete: {found.complete}")
    return found


FAULTS: Final[dict[str, dict[str, Any]]] = {
    "partitions move, claims are sent again": {"moves": 4, "again": 1},
    "frozen beyond its lease": {"moves": 2, "freezes": 1, "leaps": 2},
    "frozen, clocks apart": {"moves": 2, "freezes": 1, "skew_s": 3_600.0},
    "frozen, the call's time is short": {"moves": 2, "freezes": 1, "leaps": 1, "deadline_s": LEAP_S - 1},
    "killed": {"moves": 2, "deaths": 1, "leaps": 1},
    "the provider cannot be asked": {"moves": 3, "freezes": 1, "leaps": 1, "reconcilable": False},
    "a call that may be made twice": {"moves": 3, "freezes": 1, "side_effects": "read"},
    "such a call is taken over": {"moves": 4, "deaths": 1, "side_effects": "read"},
}
WITH_MORE: Final = {"moves": 3, "freezes": 1, "deaths": 1, "leaps": 2, "again": 1, "deadline_s": 2 * LEAP_S}


@pytest.mark.parametrize("faults", [*FAULTS.values(), *([WITH_MORE] if WHOLE else [])], ids=str)
def test_no_history_has_an_effect_twice_or_an_outcome_that_is_not_true(faults: dict[str, Any]) -> None:
    """Whatever is late, sent twice, frozen, killed or given to another executor."""
    found = look(**faults)

    assert not found.wrong, " → ".join(found.history)
    assert found.histories > 100


LOST: Final = {
    "who lost the call begins another attempt": ("own X", "leap", "own Y", *["decide"] * 4),
    "who lost the call says an end that another claimed": ("own X", "leap", "own Y", "own X", *["decide"] * 4),
}


@pytest.mark.parametrize("history", LOST.values(), ids=LOST.keys())
def test_an_executor_without_the_partition_begins_and_ends_nothing_of_others(history: tuple[str, ...]) -> None:
    """The owner had said that the outcome is unknown; then the effect happened. The whole search found both."""
    world = replayed(lambda: Histories(**FAULTS["the provider cannot be asked"]), history)
    try:
        assert world.wrong() == ""
    finally:
        world.close()


def _claims_without_incarnation(started: Callable[..., Command]) -> Callable[..., Command]:
    def before(fact: CallEvent, claim: ClaimOf, route: Any, *, executor: str, **address: Any) -> Command:
        made = started(fact, claim, route, executor=executor, **address)
        assert made.attempt is not None
        attempt = msgspec.structs.replace(made.attempt, assignment=0, lease_ms=0)
        name = ids.derive(fact.call_id, f"start/{claim.number}/{executor}")
        return msgspec.structs.replace(made, command_id=name, attempt=attempt)

    return before


def _forgets(engine: CallEngine, call_id: str) -> None:
    return None


def _only_looks(owned: Any, job: Any) -> None:
    """Who takes a call over begins it when no outcome is in bp.calls."""


def test_the_search_finds_what_claims_without_incarnations_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor lost its partitions, had its outcome sent, forgot the call, got them back, and said its claim again:
    answered as the first time, it asked the provider a second time."""
    monkeypatch.setattr(reports, "started", _claims_without_incarnation(reports.started))
    monkeypatch.setattr(CallEngine, "_remember", _forgets)

    found = look(moves=3)

    assert found.wrong == "the effect happened 2 times"
    assert found.history == ("own X", "decide", "answer X", "own Y", "own X", "decide", "decide", "decide")


def test_the_search_finds_what_a_takeover_that_only_looks_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of the predecessor was in the log and not decided: who took the call over found none, and asked the
    provider once more."""
    monkeypatch.setattr(CallEngine, "_inherit", staticmethod(_only_looks))

    found = look(moves=2, side_effects="read")

    assert "asked again after its outcome was in the log" in found.wrong
    assert found.history == ("own X", "answer X", "own Y")


def test_the_search_finds_what_leases_by_the_executors_clocks_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose clock was ahead took a lease for over that had just begun, and asked the provider too early."""
    monkeypatch.setattr(reports, "started", _claims_without_incarnation(reports.started))

    assert look(**FAULTS["frozen, clocks apart"]).wrong == "the effect happened 2 times"


def test_the_search_finds_what_outcomes_without_tokens_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was frozen said that the call had failed for certain, while its successor was about to succeed."""
    monkeypatch.setattr(calls, "_fenced", lambda call, body: False)

    assert "failed for certain" in look(2_000, **FAULTS["frozen, the call's time is short"]).wrong


def test_the_search_finds_that_a_forgotten_outcome_is_paid_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that may be made twice was, by the process whose outcome was in the log already."""
    monkeypatch.setattr(CallEngine, "_remember", _forgets)
    monkeypatch.setattr(CallEngine, "_inherit", staticmethod(_only_looks))

    assert "asked again" in look(**FAULTS["a call that may be made twice"]).wrong
