"""Laws of the circuit breakers: the ledger's decision against a naive oracle, and a fleet that asks providers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.commands import BreakerBody, Command
from agents_sdk.core.facts import BreakerEvent
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import PartitionState, apply
from agents_sdk.core.ledger.breakers import OPEN_MAX_MS, breaker_id, state_after
from agents_sdk.core.ledger.evolve import copy, evolve
from backplane.recovery.breakers import TRIPPING, Breakers

KEY = RunId(breaker_id("search", "one", "outage"))
EXECUTORS = ["a", "b", "c"]
commands = st.lists(
    st.tuples(
        st.sampled_from(["OpenBreaker", "ProbeBreaker", "CloseBreaker"]),
        st.sampled_from(EXECUTORS),
        st.integers(0, 40),  # milliseconds since the one before
    ),
    max_size=40,
)
OPEN_MS, PROBE_MS = 10, 15


def sent(kind: str, executor: str, number: int) -> Command:
    body = BreakerBody(
        capability="search", provider="one", error_class="outage", executor=executor, open_ms=OPEN_MS,
        probe_ms=PROBE_MS, caused_by=[f"attempt {number}"],
    )  # fmt: skip
    return Command(
        command_id=CommandId(f"c{number}"),
        kind=kind,
        run_id=KEY,
        agent="bp.executor",
        correlation_id="",
        reply_to="me",
        breaker=body,
    )


@given(commands)
def test_the_ledger_moves_a_breaker_as_the_rules_say(given_commands: list[tuple[str, str, int]]) -> None:
    """Oracle: a state machine written down once more; and the last fact alone gives the state, also from a snapshot."""
    book, at = PartitionState(), 0
    state, until, opened, holder = "closed", 0, 0, ""
    for number, (kind, executor, later) in enumerate(given_commands):
        at += later * 1_000
        step = apply(book, sent(kind, executor, number), number, at)
        expected: str | None = None
        if kind == "OpenBreaker" and (state == "closed" or (state == "half_open" and holder == executor)):
            until = at + min(OPEN_MS * 2**opened, OPEN_MAX_MS) * 1_000
            expected, state, opened, holder = "BreakerOpened", "open", opened + 1, ""
        elif kind == "CloseBreaker" and state == "half_open" and holder == executor:
            expected, state, until, opened, holder = "BreakerClosed", "closed", 0, 0, ""
        elif kind == "ProbeBreaker" and state != "closed" and not (state == "half_open" and holder == executor):
            if at >= until:
                expected, state, until, holder = "BreakerProbed", "half_open", at + PROBE_MS * 1_000, executor
            else:
                expected = "CommandRefused"
        assert [fact.kind for fact in step.facts] == ([expected] if expected else [])
        told = step.replies[0].reply
        assert told.status == ("refused" if expected == "CommandRefused" else "ok")
        book = copy(book)
        known = book.breakers.get(KEY)
        assert (known.state if known else "closed") == state
        if isinstance(last := next(iter(step.facts), None), BreakerEvent):
            assert state_after(last) == known
            assert last.caused_by == [f"attempt {number}"]
            again = PartitionState()
            evolve(again, last)
            evolve(again, last)
            assert again.breakers == book.breakers


@dataclass
class Fleet:
    """Executors that share a ledger, each hearing its facts late, and a provider that is there or not."""

    book: PartitionState = field(default_factory=PartitionState)
    seen: dict[str, Breakers] = field(default_factory=lambda: {name: Breakers() for name in EXECUTORS})
    unheard: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in EXECUTORS})
    sent: int = 0
    at: int = 0

    def say(self, command: Command) -> Any:
        step = apply(self.book, command, self.sent, self.at)
        self.sent += 1
        for fact in step.facts:
            if isinstance(fact, BreakerEvent):
                for waiting in self.unheard.values():
                    waiting.append(fact)
        return step.replies[0].reply

    def hear(self, executor: str) -> None:
        for fact in self.unheard[executor]:
            self.seen[executor].take(fact)
        self.unheard[executor].clear()


moves = st.lists(
    st.tuples(
        st.sampled_from(EXECUTORS), st.sampled_from(["ask", "ask", "ask", "hear"]), st.integers(0, 8), st.booleans()
    ),
    max_size=80,
)


@given(moves)
def test_a_fleet_asks_an_open_provider_by_one_probe_at_a_time(story: list[tuple[str, str, int, bool]]) -> None:
    """However late anybody hears: a probe begins only when no other one is under way that has not let its time pass;
    and once it has said so itself, an executor asks no provider whose breaker is open."""
    fleet = Fleet()
    probe: tuple[str, int] | None = None
    for number, (executor, move, later, healthy) in enumerate(story):
        fleet.at += later * 1_000
        breakers = fleet.seen[executor]
        if move == "hear":
            fleet.hear(executor)
            continue
        gate = breakers.gate("search", "one", fleet.at)
        if gate.closed:
            continue
        holder = f"{executor}/{number}"
        if gate.probe:
            breakers.probing(gate.probe, holder, fleet.at + PROBE_MS * 1_000)
            assert breakers.gate("search", "one", fleet.at).closed
            before = fleet.book.breakers.get(KEY)
            reply = fleet.say(sent("ProbeBreaker", holder, fleet.sent))
            if reply.status != "ok":
                breakers.refused(gate.probe, fleet.book.breakers[KEY].until)
                continue
            if before is not None and before.state == "half_open":
                assert fleet.at >= before.until
            if fleet.book.breakers.get(KEY, None) and fleet.book.breakers[KEY].state == "half_open":
                assert probe is None or fleet.at >= probe[1] or probe[0] != "under way"
                probe = ("under way", fleet.at + PROBE_MS * 1_000)
        change = breakers.note(
            "search", "one", None if healthy else "outage", f"attempt {number}",
            threshold=2, open_for=OPEN_MS * 1_000, now=fleet.at, probe=gate.probe, holder=holder,
        )  # fmt: skip
        probe = None
        if change is not None:
            assert change.caused_by[-1] == f"attempt {number}"
            fleet.say(sent(change.kind, change.holder or executor, fleet.sent))
            if change.kind == "OpenBreaker":
                assert breakers.gate("search", "one", fleet.at).closed


@given(
    st.lists(st.sampled_from([None, "outage", "auth", "invalid_request", "content_refused"]), max_size=40),
    st.integers(1, 4),
)
def test_a_breaker_opens_after_failures_of_one_class_in_a_row(ends: list[Any], threshold: int) -> None:
    """Oracle: counts by class, all of them ended by whatever says that the provider works."""
    breakers, counts, opened = Breakers(), dict.fromkeys(TRIPPING, 0), set()
    for number, error_class in enumerate(ends):
        if error_class not in TRIPPING:
            counts = dict.fromkeys(TRIPPING, 0)
        else:
            counts[error_class] += 1
        change = breakers.note("search", "one", error_class, str(number), threshold=threshold, open_for=10**9, now=0)
        due = error_class in TRIPPING and counts[error_class] == threshold
        if due:
            counts[error_class] = 0
        assert (change is not None) == (due and error_class not in opened)
        if change is not None:
            opened.add(error_class)
            assert len(change.caused_by) == threshold
        assert bool(breakers.gate("search", "one", 0).closed) == bool(opened)
