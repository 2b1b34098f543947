"""Facts as the ledger writes them, made by the ledger's own core: whole runs in memory, without Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from agents_sdk.core import commands as c
from agents_sdk.core import ids
from agents_sdk.core.facts import Fact, MessageEvent
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.core.ledger.state import PartitionState
from agents_sdk.core.ledger.step import apply
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink.rows import Record

NOON: Final = 1_795_521_600_000_000
"""2026-11-24 12:00 UTC, microseconds."""
STEP_US: Final = 7_000


class Story:
    """A ledger's book in one partition, advanced by the commands of one run."""

    def __init__(self, run_id: str, at: int = NOON, partition: int = 0) -> None:
        self.book = PartitionState()
        self.run_id = run_id
        self.at = at
        self.offset = 0
        self.partition = partition
        self.facts: list[Fact] = []
        self._number = 0

    def send(self, kind: str, agent: str, *, handling: MessageEvent | None = None, cause: str = "", **body: Any) -> Any:
        """One command; returns its first fact. ``handling``: the delivery whose handler sends it."""
        self._number += 1
        self.at += STEP_US
        name = c.BODY_OF_KIND[kind]
        made_of: dict[str, Any] = {name: c.BODIES[name](**body)}
        command = c.Command(
            command_id=CommandId(ids.derive(self.run_id, f"command/{self._number}")),
            kind=kind,
            run_id=RunId("" if kind in c.ABOUT_NO_RUN else self.run_id),
            agent=agent,
            correlation_id=self.run_id,
            causation_id=handling.event_id if handling else cause,
            delivery_id=handling.delivery_id if handling else DeliveryId(""),
            **made_of,
        )
        made = apply(self.book, command, self.offset, self.at).facts
        self.offset += 1
        self.facts += made
        return made[0] if made else None

    def register(self, name: str, subscriptions: Sequence[str]) -> None:
        """An agent that may do everything."""
        every = ["*"]
        self.send(
            "RegisterAgent",
            name,
            name=name,
            subscriptions=list(subscriptions),
            reads=every,
            writes=every,
            capabilities=every,
            publishes=every,
        )

    def delivered(self, recipient: str, name: str) -> MessageEvent:
        """The newest delivery of a message to an agent."""
        for fact in reversed(self.facts):
            if isinstance(fact, MessageEvent) and (fact.kind, fact.recipient, fact.name) == (
                "MessageDelivered",
                recipient,
                name,
            ):
                return fact
        raise AssertionError(f"{name} was not delivered to {recipient}")

    def attempt(self, request: Fact, number: int, provider: str, **body: Any) -> None:
        """One attempt at a provider, as the executor records it."""
        call_id = request.command_id
        full = {"call_id": call_id, "attempt": number, "provider": provider, "executor": "executor-1", **body}
        self.send("RecordAttempt", "bp.executor", cause=request.event_id, **full)

    def outcome(self, request: Fact, **body: Any) -> None:
        """The end of a call."""
        kind = "FailCall" if "error_class" in body else "CompleteCall"
        self.send(kind, "bp.executor", cause=request.event_id, call_id=request.command_id, **body)


def article(run_id: str = "01930000-0000-7000-8000-000000000001", at: int = NOON) -> Story:
    """Three agents make an article: a search that falls back, a decision, a draft by a model, an unpriced image."""
    story = Story(run_id, at)
    story.register("research_agent", ["run.started"])
    story.register("content_agent", ["search.completed"])
    story.register("review_agent", ["dependency.satisfied"])
    story.send("StartRun", "client", workflow="content", complete_when="idle", input='{"topic":"event streaming"}')
    story.send(
        "DeclareDependency",
        "client",
        downstream="review_agent",
        depends_on=["content_agent"],
        trigger_when="all_completed",
    )
    story.send("SetState", "client", key="brief", value='"write about event streaming"')
    _research(story)
    _content(story)
    _review(story)
    return story


def _research(story: Story) -> None:
    job = story.delivered("research_agent", "run.started")
    story.send("GetState", "research_agent", handling=job, key="brief")
    call = story.send(
        "CallCapability", "research_agent", handling=job, capability="web_search", params='{"query":"event streaming"}'
    )
    story.attempt(
        call,
        1,
        "brave",
        error_class="rate_limited",
        error_message="429, try in 3 s",
        latency_us=120_000,
        cost_nano_usd=0,
        price_id="free",
    )
    story.attempt(call, 2, "corpus", latency_us=9_000, cost_nano_usd=1_500_000, price_id="corpus-1")
    story.outcome(
        call,
        result='{"hits":[{"title":"Kafka"}]}',
        provider="corpus",
        attempts=2,
        cost_nano_usd=1_500_000,
        latency_us=131_000,
    )
    story.send(
        "RecordDecision",
        "research_agent",
        handling=job,
        action="keep_top_3",
        rationale="the rest repeats them",
        context_used=["brief"],
    )
    story.send("SetState", "research_agent", handling=job, key="research_findings", value='{"sources":["Kafka"]}')
    story.send("Publish", "research_agent", handling=job, name="search.completed", data='{"count":3}')
    story.send("CompleteHandler", "research_agent", handling=job, attempt=1)


def _content(story: Story) -> None:
    job = story.delivered("content_agent", "search.completed")
    story.send("GetState", "content_agent", handling=job, key="research_findings")
    call = story.send("CallCapability", "content_agent", handling=job, capability="text_generation", params="{}")
    story.attempt(
        call,
        1,
        "openai",
        model="small-4",
        input_tokens=900,
        output_tokens=300,
        cost_nano_usd=2_250_001,
        price_id="p-7",
        latency_us=1_400_000,
    )
    story.outcome(
        call,
        result='{"text":"Kafka is a log."}',
        provider="openai",
        attempts=1,
        cost_nano_usd=2_250_001,
        latency_us=1_401_000,
    )
    story.send("SetState", "content_agent", handling=job, key="article", value='"Kafka is a log."')
    story.send("SetState", "content_agent", handling=job, key="article", value='"no"', guarded=True, expected_version=7)
    story.send("CompleteHandler", "content_agent", handling=job, attempt=1)


def _review(story: Story) -> None:
    job = story.delivered("review_agent", "dependency.satisfied")
    story.send("GetState", "review_agent", handling=job, key="article")
    call = story.send("CallCapability", "review_agent", handling=job, capability="image_generation", params="{}")
    story.attempt(call, 1, "pillow", latency_us=40_000)
    story.outcome(call, result='{"file":"hero.png"}', provider="pillow", attempts=1, latency_us=41_000)
    story.send("SetState", "review_agent", handling=job, key="review", value='{"verdict":"good"}')
    story.send("CompleteHandler", "review_agent", handling=job, attempt=1)


def records(facts: Sequence[Fact], partition: int = 0, first_offset: int = 0) -> list[Record]:
    """The facts as they lie in Kafka: each in its topic, offsets with a gap now and then as transactions leave them."""
    offsets: dict[str, int] = {}
    found = []
    for number, fact in enumerate(facts):
        topic = TOPIC_OF_FACT[type(fact)]
        offset = offsets.get(topic, first_offset)
        offsets[topic] = offset + (2 if number % 5 == 4 else 1)
        found.append(Record(topic, partition, offset, fact.at // 1000, fact))
    return found
