"""What went into drafts that nobody read: the store's answer against an accountant's who looks at every fact."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import clickhouse_connect
import pytest

from agents_sdk.core.facts import Fact, MessageEvent
from agents_sdk.core.ids import RunId
from backplane.insight.answers import DiscardedCall, discarded
from tests.integration.sink.conftest import Database, Done
from tests.support.family_story import Family
from tests.support.stories import records

GIVEN: Final = ("StateWritten", "MessagePublished", "MessageSent", "RequestSent", "ChildStarted", "RunCompleted")
MEMORY: Final = "memory/drafts"


def unread(facts: list[Any]) -> set[str]:
    """Versions that nobody read and that met nothing, replaced by what they are no part of."""
    versions: dict[tuple[str, str], list[Any]] = {}
    used: set[Any] = set()
    for fact in facts:
        if fact.kind in ("StateWritten", "StateDeleted", "StateExpired"):
            versions.setdefault((fact.run_id, fact.key), []).append(fact)
        elif fact.kind in ("StateRead", "HistoryRead"):
            used.add((fact.run_id, fact.key, fact.version))
        elif fact.kind == "DecisionRecorded":
            pairs = (text.rsplit("@", 1) for text in fact.context_used)
            used |= {(fact.run_id, key, int(version)) for key, version in pairs}
        elif fact.kind == "DependencySatisfied":
            used |= set(fact.satisfied_by)
    return {
        before.event_id
        for kept in versions.values()
        for before, after in itertools.pairwise(kept)
        if before.kind == "StateWritten" and not after.reducer
        if not used & {before.event_id, (before.run_id, before.key, before.version)}
    }


def useless(facts: list[Any]) -> dict[tuple[str, str], int]:
    """Run and call → cost, of each completed call of a handler that gave nobody anything but such versions since."""
    lost, found = unread(facts), {}
    delivery_of = {fact.event_id: fact.delivery_id for fact in facts if fact.kind == "MessageDelivered"}
    handled = {fact.call_id: delivery_of.get(fact.causation_id) for fact in facts if fact.kind == "CallRequested"}
    unsafe = {fact.call_id for fact in facts if fact.kind == "AttemptStarted"}
    for call in [fact for fact in facts if fact.kind == "CallCompleted" and handled[fact.call_id]]:
        since: list[bool] = [] if call.call_id not in unsafe else [False]
        for fact in facts:
            mine = delivery_of.get(fact.causation_id) == handled[call.call_id]
            later = fact.run_id != call.run_id or fact.run_seq > call.run_seq
            if mine and (later or fact.run_id == MEMORY) and fact.kind in GIVEN:
                since.append(fact.event_id in lost and fact.run_id != MEMORY)
            elif mine and later and fact.kind == "RequestAnswered" and fact.result != "null":
                since.append(False)
            elif fact.kind == "CallCompleted" and fact.call_id in unsafe and later:
                since += [False] if handled[fact.call_id] == handled[call.call_id] else []
        if since and all(since):
            tried = [fact for fact in facts if fact.kind == "AttemptSucceeded" and fact.call_id == call.call_id]
            found[call.run_id, call.call_id] = sum(fact.cost_nano_usd for fact in tried)
    return found


class Writing(Family):
    """Two agents in a run who draft, read, throw away and give away, by chance."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"01930000-0000-7000-9000-{seed:012d}")
        self.chance = random.Random(seed)
        for agent in ("writer", "editor"):
            self.register(agent, ["run.started", "draft.*"])
        self.send("ApplyContract", "bp.operator", target="state", pattern="log", schema="true", reducer="append")
        self.send("StartRun", "client", workflow="drafting", complete_when="explicit", input="null")
        self.send(
            "DeclareDependency", "client", downstream="editor", depends_on=["state:b"], trigger_when="all_completed"
        )
        self.own = self.run_id
        for _ in range(self.chance.randrange(6, 30)):
            self.step()

    def step(self) -> None:
        run = self.book.runs.get(RunId(self.own))
        if run is None or not run.deliveries:
            return
        delivery_id = self.chance.choice(list(run.deliveries))
        job = next(
            fact
            for fact in reversed(self.facts)
            if isinstance(fact, MessageEvent) and fact.kind == "MessageDelivered" and fact.delivery_id == delivery_id
        )
        move = self.chance.choice([self.call, self.call, self.write, self.write, self.write, self.other])
        move(job.recipient, job)

    def call(self, agent: str, job: MessageEvent, capability: str = "text_generation") -> None:
        call = self.send("CallCapability", agent, handling=job, capability=capability, params="{}")
        about = {"call_id": call.command_id, "provider": "p", "capability": capability, "executor": "e"}
        priced = {"price_id": "p", "cost_nano_usd": self.chance.randrange(1, 1_000)}
        if self.chance.random() < 0.1:
            self.send("StartAttempt", "bp.executor", cause=call.event_id, attempt=1, **about)
        if self.chance.random() < 0.2:
            self.attempt(call, 1, "p", error_class="outage", **priced)
        if self.chance.random() < 0.9:
            self.attempt(call, 2, "p", **priced)
            self.outcome(call, result="{}", provider="p", attempts=2, cost_nano_usd=1, latency_us=1)

    def write(self, agent: str, job: MessageEvent) -> None:
        key = self.chance.choice(["a", "a", "b", "log"])
        if self.chance.random() < 0.1:
            self.send("DeleteState", agent, handling=job, key=key)
        else:
            self.send("SetState", agent, handling=job, key=key, value=str(len(self.facts)))

    def other(self, agent: str, job: MessageEvent) -> None:
        match self.chance.randrange(12):
            case 0:
                self.send("GetState", agent, handling=job, key="a", version=self.chance.choice([0, 1, 2]))
            case 1:
                self.send("RecordDecision", agent, handling=job, action="keep", context_used=["a"])
            case 2:
                self.send("Publish", agent, handling=job, name="draft.done")
            case 3:
                self.send("Ask", agent, handling=job, name="draft.check", recipient="editor", deadline_ms=1_000)
            case 4:
                self.on(MEMORY).send("SetState", agent, handling=job, key="kept", value="1")
                self.on(self.own)
            case 5 | 6:
                result = self.chance.choice(["", "7"])
                self.send("CompleteHandler", agent, handling=job, attempt=job.attempt, result=result)
            case 7 | 8:
                self.send("FailHandler", agent, handling=job, attempt=job.attempt, error_type="E")
            case 9:
                self.send("GetHistory", agent, handling=job, key="b")
            case 10:
                self.send("SendMessage", agent, handling=job, name="draft.sent", recipient="writer")
            case 11 if self.chance.random() < 0.2:
                self.send("CompleteRun", agent, handling=job, result="1")


@pytest.fixture
def client(database: Database, port: int) -> Iterator[Any]:
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    yield found
    found.close()


def costs_of(found: list[DiscardedCall]) -> dict[tuple[str, str], int]:
    return {(one.run_id, one.call_id): one.cost_nano_usd for one in found}


def test_what_served_nothing_is_what_an_accountant_finds(database: Database, client: Any) -> None:
    """Of all runs, and of each alone; in 150 runs by chance, in which most of the rules decide something."""
    stories = [Writing(seed) for seed in range(150)]
    for number, story in enumerate(stories):
        for fact in (facts := [fact for fact in story.facts if fact.run_id in (story.own, MEMORY)]):
            assert isinstance(fact, Fact)
        database.writer.write(database.writer.prepare(records(facts, partition=number)))
    wanted = [useless([fact for fact in story.facts if fact.run_id]) for story in stories]

    assert costs_of(discarded(client)) == {call: cost for one in wanted for call, cost in one.items()}
    assert 10 < sum(map(bool, wanted)) < 140, "chance made too little of it to be a test"
    for story, expected in list(zip(stories, wanted, strict=True))[:12]:
        assert costs_of(discarded(client, story.own)) == expected


def test_the_bill_tells_what_was_discarded(database: Database, commands: Callable[..., Done]) -> None:
    """A draft that was written over unread costs what its text did, but for the attempt that failed; what stands, and
    what may have gone into it, since the same handler had it, costs nothing."""
    story = Family("01930000-0000-7000-9000-00000000ffff")
    story.register("writer", ["run.started", "write.again"])
    story.send("StartRun", "client", workflow="drafting", complete_when="explicit")
    calls: list[Any] = []
    for name, drafts in (("run.started", 1), ("write.again", 2)):
        job = story.delivered("writer", name)
        for _ in range(drafts):
            call = story.send("CallCapability", "writer", handling=job, capability="text_generation", params="{}")
            story.attempt(call, 1, "p", error_class="outage", cost_nano_usd=5, price_id="p")
            story.attempt(call, 2, "p", model="small", cost_nano_usd=2_000_000, price_id="p")
            story.outcome(call, result="{}", provider="p", attempts=2, cost_nano_usd=2_000_005)
            story.send("SetState", "writer", handling=job, key="article", value=str(len(calls)))
            calls.append(call.call_id)
        story.send("Publish", "client", name="write.again")
    database.writer.write(database.writer.prepare(records(story.facts)))

    [one] = commands("cost", story.run_id, "--json").json["discarded"]
    assert (one["call_id"], one["agent"], one["cost_nano_usd"]) == (calls[0], "writer", 2_000_000)
    told = commands("cost", "last").err
    assert "of that $0.000000015 for attempts that failed\n" in told
    assert "of that $0.002 for drafts that nobody read: 1 call\n" in told
    asked = f"SELECT call_id FROM v_discarded(runs = ['{story.run_id}'])"
    assert commands("sql", asked).out.split() == ["call_id", calls[0]]
