"""Runs that rest on each other: one teaches a memory, one reads it and has a child check what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.ledger import issued
from backplane.insight.answers import Event
from tests.support.stories import Story

TEACH: Final = "01930000-0000-7000-8000-00000000000a"
EDIT: Final = "01930000-0000-7000-8000-00000000000b"
CHECK: Final = "01930000-0000-7000-8000-00000000000c"
LESSONS: Final = "memory/lessons"


class Family(Story):
    """As a story, of several runs; what the ledger says to itself is applied as well."""

    def on(self, run_id: str) -> Family:
        """What follows is about this run."""
        self.run_id = run_id
        return self

    def send(self, kind: str, agent: str, *, handling: MessageEvent | None = None, cause: str = "", **body: Any) -> Any:
        from agents_sdk.core.ledger.step import apply

        before = len(self.facts)
        first = super().send(kind, agent, handling=handling, cause=cause, **body)
        for fact in self.facts[before:]:
            for command in issued(fact):
                self.at += 1_000
                self.facts += apply(self.book, command, self.offset, self.at).facts
                self.offset += 1
        return first

    def call(self, agent: str, job: MessageEvent, capability: str) -> None:
        """A call that one provider answers."""
        call = self.send("CallCapability", agent, handling=job, capability=capability, params="{}")
        self.attempt(call, 1, "corpus", latency_us=1)
        self.outcome(call, result="{}", provider="corpus", attempts=1, latency_us=1)


def family() -> Family:
    """The runs, one after the other; the child in the middle of its parent."""
    story = Family(TEACH)
    for agent in ("teacher", "editor", "checker"):
        story.register(agent, [f"{agent}.go", "run.started"])
    story.send("StartRun", "client", workflow="teach", complete_when="explicit")
    job = story.delivered("teacher", "run.started")
    story.call("teacher", job, "web_search")
    story.on(LESSONS).send("SetState", "teacher", handling=job, key="tone", value='"dry"')
    story.send("SetState", "teacher", handling=job, key="other", value="1")
    story.on(EDIT).send("StartRun", "client", workflow="edit", complete_when="explicit")
    edit = story.delivered("editor", "run.started")
    story.on(LESSONS).send("GetState", "editor", handling=edit, key="tone")
    story.on(EDIT).send(
        "StartChild", "editor", handling=edit, workflow="check", complete_when="explicit", child_run_id=CHECK
    )
    check = story.on(CHECK).delivered("checker", "run.started")
    story.call("checker", check, "document_search")
    story.send("SetState", "checker", handling=check, key="verdict", value='"good"')
    story.send("CompleteRun", "checker", handling=check, result='"good"')
    story.on(EDIT).send("AwaitChild", "editor", handling=edit, child_run_id=CHECK)
    story.send("SetState", "editor", handling=edit, key="article", value='"dry and good"')
    return story


def events_of(story: Story) -> list[Event]:
    """The story as the store tells it."""
    names = set(Event.__struct_fields__)
    return [
        Event(**{name: value for name, value in msgspec.structs.asdict(fact).items() if name in names})
        for fact in story.facts
        if fact.run_seq
    ]


class Remembered:
    """The same questions as ``backplane.insight.answers.Archive`` answers, naively, of a list."""

    def __init__(self, told: Sequence[Event]) -> None:
        self._told = told

    def events(self, run_id: str) -> list[Event]:
        return sorted((event for event in self._told if event.run_id == run_id), key=lambda event: event.run_seq)

    def memory_reads(self, run_id: str) -> list[Event]:
        causes = [event.event_id for event in self.events(run_id) if event.kind == "MessageDelivered"]
        return [
            event
            for event in self._told
            if event.kind == "StateRead"
            and event.version
            and event.causation_id in causes
            and event.run_id.startswith("memory/")
        ]

    def writer(self, run_id: str, key: str, version: int) -> Event | None:
        found = [
            event
            for event in self._told
            if (event.run_id, event.key, event.version) == (run_id, key, version)
            and event.kind in ("StateWritten", "StateDeleted", "StateExpired")
        ]
        return found[0] if found else None

    def run_of(self, event_id: str) -> str:
        return next((event.run_id for event in self._told if event.event_id == event_id), "")
