"""Calls and child runs that run side by side cannot overspend together, in whatever order their commands are decided.

Runs with and without budgets start children in other partitions and call capabilities; executors make attempts, fail,
try again, die and come back knowing only what was recorded; runs end with calls open; what is said to a run arrives
late, and now and then twice. Hypothesis chooses who goes next. The executors keep the one promise that is theirs: no
attempt costs more than is left of its call's reservation. The oracle keeps no books: it adds up, each time anew, what
the facts of a run say of each call and child.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.ledger import budgets, evolve
from agents_sdk.core.ledger.evolve import copy
from agents_sdk.core.ledger.state import PartitionState
from agents_sdk.core.money import NO_LIMIT
from tests.support.forest import PARTITIONS, Forest

AGENTS: Final = ("thrifty", "careful", "free", "client")
DECLARED: Final[dict[str, dict[str, Any]]] = {
    "thrifty": {"budget_nano_usd": 40},
    "careful": {"call_budgets": {"*": 9, "image": 25}},
    "free": {},
}
LIMITS: Final = {"thrifty": 40}
AMOUNTS: Final = (NO_LIMIT, 0, 1, 7, 20, 60, NO_LIMIT, 150)
ENDS: Final = ("CompleteRun", "FailRun", "CancelRun")
MOVES: Final = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 1023)), min_size=40, max_size=70)


@dataclass
class Work:
    """A call as an executor sees it."""

    run_id: str
    call_id: str
    budget: int
    attempt: int = 0
    costs: list[int] = field(default_factory=list)
    """What it has sent records of, or spent without the record counting."""


class Spending(Forest):
    """Runs that spend."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Work] = []
        for agent, declared in DECLARED.items():
            self.broadcast("RegisterAgent", agent, name=agent, capabilities=["*"], **declared)

    def move(self, kind: int, choice: int) -> None:
        """One thing happens."""
        live = list(self.runs())
        agent, amount, rest = AGENTS[choice % 4], AMOUNTS[choice // 4 % 8], choice // 32
        if kind == 0 or not live:
            self.say("StartRun", f"root-{self.sent}", workflow="w", complete_when="explicit", budget_nano_usd=amount)
        elif kind <= 2:
            self.ask("StartChild", live[rest % len(live)], agent, amount, workflow="w", complete_when="explicit")
        elif kind <= 5:
            capability = ("search", "image")[choice % 2]
            self.ask("CallCapability", live[rest % len(live)], agent, amount, capability=capability)
        elif kind <= 9 and self.work:
            self.execute(self.work[rest % len(self.work)], choice % 32, outcome=kind == 9)
        elif kind == 10:
            for work in self.work:  # the executor dies; its successor begins anew, and knows what was recorded
                work.attempt = 0
        elif kind == 11:
            self.say(ENDS[choice % 3], live[-1 - rest % len(live)])
        elif waiting := self.waiting():
            self.arrive(waiting[choice % len(waiting)], twice=kind == 12)

    def ask(self, kind: str, run_id: str, agent: str, amount: int, **body: Any) -> None:
        """A call or a child; what is reserved for it is what the oracle says."""
        expected = reservation(self, run_id, agent, amount, body.get("capability", ""))
        fact: Any
        (fact,) = self.say(kind, run_id, agent=agent, budget_nano_usd=amount, **body)
        if expected is None:
            assert (fact.kind, fact.code) == ("CommandRefused", "budget_exceeded")
            return
        assert fact.kind in ("CallRequested", "ChildStarted")
        assert fact.budget_nano_usd == expected
        if fact.kind == "CallRequested":
            self.work.append(Work(run_id, fact.call_id, expected))

    def execute(self, work: Work, wanted: int, *, outcome: bool) -> None:
        """An attempt or an outcome, on its way to the ledger."""
        line = self.lines[-1, work.run_id]
        if outcome:
            self.work.remove(work)
            kind = ("CompleteCall", "FailCall")[wanted % 2]
            line.append(self.command(kind, work.run_id, agent=EXECUTOR, call_id=work.call_id, result="1"))
            return
        left = wanted if work.budget == NO_LIMIT else work.budget - sum(work.costs)
        cost = min(wanted, left)
        work.attempt += 1
        work.costs.append(cost)
        body = {"call_id": work.call_id, "attempt": work.attempt, "capability": "c", "cost_nano_usd": cost}
        command_id = f"{work.call_id}/{work.attempt}"
        line.append(self.command("RecordAttempt", work.run_id, agent=EXECUTOR, command_id=command_id, **body))


def totals(facts: list[Any], forest: Spending, agent: str = "") -> tuple[int, int]:
    """(spent, reserved) in a run by its facts, of one agent or of all."""
    asked = {f.call_id: f for f in facts if f.kind == "CallRequested"}
    closed = {f.call_id for f in facts if f.kind in ("CallCompleted", "CallFailed")}
    children = {f.child_run_id: f for f in facts if f.kind == "ChildStarted"}
    ended = {f.child_run_id for f in facts if f.kind == "ChildEnded"}
    spent = reserved = 0
    for call_id, request in asked.items():
        costs = sum(f.cost_nano_usd for f in facts if f.kind == "AttemptSucceeded" and f.call_id == call_id)
        if agent in ("", request.agent):
            spent += costs
            reserved += 0 if call_id in closed else max(request.budget_nano_usd - costs, 0)
    for child_run_id, child in children.items():
        if agent in ("", child.agent):
            spent += cost_of_child(forest, child_run_id) if child_run_id in ended else 0
            reserved += 0 if child_run_id in ended else max(child.budget_nano_usd, 0)
    return spent, reserved


def cost_of_child(forest: Spending, run_id: str) -> int:
    """What a run that has ended may have cost its parent: what comes after its end was reserved in it. Nobody counts
    what one without a limit spends."""
    facts = forest.facts[run_id]
    if facts[0].kind == "RunStarted" and facts[0].budget_nano_usd == NO_LIMIT:
        return 0
    end = next(index for index, fact in enumerate(facts) if fact.kind in RUN_ENDS)
    return sum(totals(facts[:end], forest))


def purses(forest: Spending, run_id: str, agent: str) -> list[int]:
    """What is left of each budget that the agent draws on in the run."""
    facts = forest.facts[run_id]
    limit = facts[0].budget_nano_usd
    found = [limit - sum(totals(facts, forest))] if limit != NO_LIMIT else []
    return found + ([LIMITS[agent] - sum(totals(facts, forest, agent))] if agent in LIMITS else [])


def reservation(forest: Spending, run_id: str, agent: str, amount: int, capability: str) -> int | None:
    """What has to be reserved for a call (of a capability) or a child; None: it has to be refused."""
    if amount == NO_LIMIT and capability and agent == "careful":
        amount = 25 if capability == "image" else 9
    left = purses(forest, run_id, agent)
    if not left:
        return amount
    if amount == NO_LIMIT:
        return min(left) // 2
    return amount if amount <= max(min(left), 0) else None


def check(forest: Spending) -> None:
    """The ledger's books are the oracle's sums, and nothing is overspent."""
    for run_id, run in forest.runs().items():
        facts = forest.facts[run_id]
        assert (run.account.spent, run.account.reserved) == totals(facts, forest)
        for agent, account in run.accounts.items():
            assert (account.spent, account.reserved) == totals(facts, forest, agent)
        for agent in AGENTS:
            assert all(left >= 0 for left in purses(forest, run_id, agent))


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_parallel_calls_and_children_cannot_overspend(moves: list[tuple[int, int]]) -> None:
    """limit = spent + reserved + left of every budget after every move, and left is never below zero; in the end all
    that a tree of runs paid for is within the budget of its root."""
    forest = Spending()
    for kind, choice in moves:
        forest.move(kind, choice)
        check(forest)
    forest.settle()
    check(forest)

    for start in forest.of_kind("RunStarted"):
        tree = [f for facts in forest.facts.values() for f in facts if start.run_id in (f.run_id, f.root_run_id)]
        paid = sum(fact.cost_nano_usd for fact in tree if fact.kind == "AttemptSucceeded")
        assert start.budget_nano_usd == NO_LIMIT or start.parent_run_id or paid <= start.budget_nano_usd
    for end in (fact for kind in RUN_ENDS for fact in forest.of_kind(kind)):
        facts = forest.facts[end.run_id]
        counted = totals(facts[: facts.index(end)], forest) if facts[0].budget_nano_usd != NO_LIMIT else (0, 0)
        assert (end.spent_nano_usd, end.reserved_nano_usd) == counted


@settings(max_examples=100, deadline=None)
@given(MOVES)
def test_accounts_are_a_fold_over_the_facts(moves: list[tuple[int, int]]) -> None:
    """A ledger that recovers from the facts, or from a snapshot, has the same books."""
    forest = Spending()
    for kind, choice in moves:
        forest.move(kind, choice)
    everything = [fact for facts in forest.facts.values() for fact in facts]
    folded = PartitionState()
    for fact in everything:
        evolve(folded, fact)
    assert {run_id: run.accounts for run_id, run in folded.runs.items()} == {
        run_id: run.accounts for run_id, run in forest.runs().items()
    }
    for book in forest.books:
        assert copy(book) == book


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=12))
def test_an_executor_that_breaks_its_promise_is_accounted_for(costs: list[tuple[int, bool]]) -> None:
    """What attempts cost beyond their reservation counts all the same, and nothing more is given out."""
    forest = Spending()
    forest.say("StartRun", "r", workflow="w", complete_when="explicit", budget_nano_usd=50)
    for cost, settled in costs:
        left = max(purses(forest, "r", "client")[0], 0)
        forest.ask("CallCapability", "r", "client", min(left, 10), capability="search")
        call_id = forest.facts["r"][-1].call_id
        forest.say("RecordAttempt", "r", agent=EXECUTOR, call_id=call_id, capability="search", cost_nano_usd=cost)
        if settled:
            forest.say("CompleteCall", "r", agent=EXECUTOR, call_id=call_id, result="1")
        run = forest.runs()["r"]
        assert (run.account.spent, run.account.reserved) == totals(forest.facts["r"], forest)
    if purses(forest, "r", "client")[0] < 0:
        assert budgets.reserve(forest.books[0], forest.runs()["r"], "client", NO_LIMIT, "a call") == 0
        forest.ask("CallCapability", "r", "client", 1, capability="search")  # refused, as the oracle says


def test_partitions_are_several() -> None:
    """Else nothing above would cross from one to another."""
    assert PARTITIONS > 1
