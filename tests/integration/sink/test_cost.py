"""The bill: asked by whatever, it is the sum of the leaves, for any tree of runs with retries, fallbacks, copies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import clickhouse_connect
import pytest

from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact, RunEvent, StateEvent
from backplane.insight import answers
from tests.integration.sink.conftest import Database
from tests.support.stories import NOON, records

ROOT: Final = "01930000-0000-7000-8000-000000000000"
BLANK: Final = {**dict.fromkeys(Fact.__struct_fields__, ""), "run_seq": 0, "command_offset": 0, "at": NOON}


class Leaf(NamedTuple):
    """One attempt, as an accountant would note it down."""

    agent: str
    capability: str
    provider: str
    model: str
    run: str
    day: str
    key: str
    cost: int


class Tree:
    """A root run, children of it and of each other, and another run; each with calls that may be tried again."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.runs = [ROOT]
        self.parents = {ROOT: ""}
        self.leaves: list[Leaf] = []
        self.facts: list[Fact] = []
        for number in range(1, self.chance.randrange(2, 6)):
            run = f"01930000-0000-7000-8000-{number:012d}"
            self.parents[run] = self.chance.choice(self.runs) if number > 1 else ""
            self.runs.append(run)
        self.roots = {run: self.root(run) for run in self.runs}
        for run in self.runs:
            self.tell(run)

    def root(self, run: str) -> str:
        while self.parents[run]:
            run = self.parents[run]
        return run

    def below(self, run: str) -> set[str]:
        found = {run}
        while more := {child for child, parent in self.parents.items() if parent in found} - found:
            found |= more
        return found

    def tell(self, run: str) -> None:
        seq = iter(range(1, 10_000))
        shared = {**BLANK, "run_id": run, "parent_run_id": self.parents[run], "root_run_id": self.roots[run]}

        def add(record: type[Any], kind: str, agent: str, at: int = NOON, **fields: Any) -> None:
            number = next(seq)
            named = {"event_id": f"{run}/{number}", "kind": kind, "agent": agent, "at": at, "run_seq": number}
            self.facts.append(record(**{**shared, **named, **fields}))

        add(RunEvent, "RunStarted", "client", workflow="test")
        for call in range(self.chance.randrange(6)):
            agent, capability = f"agent-{self.chance.randrange(3)}", f"capability-{self.chance.randrange(2)}"
            handled = f"{run}/delivery-{call}"
            call_id = f"call-{call}"  # the same in all runs: only run and call together name one
            add(CallEvent, "CallRequested", agent, call_id=call_id, capability=capability, causation_id=handled)
            key = self.chance.choice(["", "a", "b"])
            tries = self.chance.randrange(4)
            total = 0
            for attempt in range(1, tries + 1):
                provider, model = f"provider-{self.chance.randrange(3)}", self.chance.choice(["", "small", "large"])
                cost = self.chance.choice([0, 1, self.chance.randrange(10**12)])
                at = NOON + self.chance.randrange(3) * 86_400_000_000
                add(
                    AttemptEvent,
                    "AttemptSucceeded" if attempt == tries and self.chance.random() < 0.7 else "AttemptFailed",
                    "bp.executor",
                    at=at,
                    call_id=call_id,
                    capability=capability,
                    provider=provider,
                    model=model,
                    attempt=attempt,
                    cost_nano_usd=cost,
                    price_id="p" if cost else "",
                )
                total += cost
                day = datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d")
                self.leaves.append(Leaf(agent, capability, provider, model, run, day, key, cost))
            done = self.chance.choice(["CallCompleted", "CallFailed", "CallCancelled", ""])
            if done:
                add(CallEvent, done, "bp.executor", call_id=call_id, capability=capability, cost_nano_usd=total)
            if key:
                add(StateEvent, "StateWritten", agent, causation_id=handled, key=key, version=1, value="1", size=1)


@pytest.fixture
def client(database: Database, port: int) -> Iterator[Any]:
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    yield found
    found.close()


@pytest.mark.parametrize("seed", range(5))
def test_every_way_to_add_up_gives_the_leaves(database: Database, client: Any, seed: int) -> None:
    """Per agent, capability, provider, model, run, day and key: the same total, of all runs and of each run with those
    below it, though every batch was written twice."""
    tree = Tree(seed)
    tree.chance.shuffle(tree.facts)
    lying = records(tree.facts)
    while lying:
        size = tree.chance.randrange(1, 30)
        batch = database.writer.prepare(lying[:size])
        database.writer.write(batch)
        database.writer.write(batch)
        lying = lying[size:]

    for by in ("agent", "capability", "provider", "model", "run", "day", "key"):
        for run in ("", *tree.runs):
            family = tree.below(run) if run else set(tree.runs)
            wanted: Counter[str] = Counter()
            for leaf in tree.leaves:
                if leaf.run in family:
                    wanted[getattr(leaf, by)] += leaf.cost
            found = answers.costs(client, by, run, tree=bool(run))
            assert {row.name: row.cost_nano_usd for row in found} == dict(wanted)
            assert sum(row.attempts for row in found) == sum(leaf.run in family for leaf in tree.leaves)
            assert sum(row.unpriced for row in found) == sum(
                leaf.run in family and not leaf.cost for leaf in tree.leaves
            )
