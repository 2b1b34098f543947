"""Where a value came from: up from a version of a state key to writers, decisions, reads, calls and their sources.

Pure: a run's events in, a tree out. What a fact names itself is an edge in ClickHouse (``services.sink.edges``); what
follows only from several facts is here: all that a handler read, decided and called before it wrote is what the
write may rest on. Handlers are told apart by their delivery, which stays the same over its attempts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from services.sink.answers import Event
from services.sink.edges import state_reference

DEPTH = 12
"""Writers one behind the other that are followed."""
WRITES = ("StateWritten", "StateDeleted", "StateExpired")


class Node(msgspec.Struct, kw_only=True):
    """One thing that the thing above it rests on."""

    relation: str
    """wrote, decided, read, called, tried, asked, delegated (to a child run) or triggered."""
    event: Event | None
    """None: a version whose writer is not in the run."""
    agent: str = ""
    """Who wrote, decided, called or sent; for a call the one that asked for it."""
    state: str = ""
    """key@version, for wrote and read."""
    repeated: bool = False
    """It stands elsewhere in the tree with all that it rests on."""
    rests_on: list[Node] = []


class Lineage:
    """The events of one run, arranged for the walk."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._writers: dict[tuple[str, int], Event] = {}
        self._by_id = {event.event_id: event for event in events}
        self._handlers: dict[str, list[Event]] = {}
        self._calls: dict[str, list[Event]] = {}
        self._delivered = {event.delivery_id: event for event in events if event.kind == "MessageDelivered"}
        self._ended = {event.child_run_id: event for event in events if event.kind == "ChildEnded"}
        self._answered = {event.request_id: event for event in events if event.kind == "RequestAnswered"}
        self._newest: dict[str, int] = {}
        for event in events:
            if event.kind in WRITES:
                self._writers[event.key, event.version] = event
                self._newest[event.key] = event.version
            if handler := self._handler_of(event):
                self._handlers.setdefault(handler, []).append(event)
            if event.call_id:
                self._calls.setdefault(event.call_id, []).append(event)

    def keys(self) -> list[str]:
        """All state keys that were written."""
        return sorted(self._newest)

    def up(self, key: str, version: int = 0) -> Node | None:
        """What ``key`` at ``version`` (0: the newest) rests on; None when it was never written."""
        version = version or self._newest.get(key, 0)
        writer = self._writers.get((key, version))
        return self._written(writer, "wrote", set(), DEPTH) if writer else None

    def _handler_of(self, event: Event) -> str:
        """The delivery whose handler the event happened in; empty for clients and the executor."""
        cause = self._by_id.get(event.causation_id)
        return (
            cause.delivery_id if cause and cause.kind == "MessageDelivered" and cause.recipient == event.agent else ""
        )

    def _written(self, writer: Event, relation: str, seen: set[str], depth: int) -> Node:
        node = Node(relation=relation, event=writer, agent=writer.agent, state=f"{writer.key}@{writer.version}")
        if writer.event_id in seen or not depth:
            node.repeated = True
            return node
        seen.add(writer.event_id)
        node.rests_on = list(self._before(writer, seen, depth))
        return node

    def _before(self, event: Event, seen: set[str], depth: int) -> Iterator[Node]:
        """What the handler of ``event`` did before it; what was told of that handler already is not told again."""
        handler = self._handler_of(event)
        if not handler:
            return
        earlier = [other for other in self._handlers[handler] if other.run_seq < event.run_seq]
        fresh = [other for other in earlier if other.event_id not in seen]
        seen.update(other.event_id for other in fresh if other.kind not in WRITES)
        decisions = [other for other in fresh if other.kind == "DecisionRecorded"][-1:]
        used = sorted({state_reference(text) for decision in decisions for text in decision.context_used})
        for decision in decisions:
            node = Node(relation="decided", event=decision, agent=decision.agent)
            node.rests_on = [self._state(key, version, seen, depth) for key, version in used if version]
            yield node
        reads = {(other.key, other.version): None for other in fresh if other.kind == "StateRead" and other.version}
        for key, version in reads:
            if (key, version) not in used:
                yield self._state(key, version, seen, depth)
        for other in fresh:
            if other.kind == "CallRequested":
                yield self._called(other)
            elif other.kind == "ChildAwaited":
                yield Node(relation="delegated", event=self._ended.get(other.child_run_id, other), agent=other.agent)
            elif other.kind == "RequestSent" and depth:
                yield self._asked(other, seen, depth)
        if trigger := self._trigger(handler, seen, depth):
            yield trigger

    def _state(self, key: str, version: int, seen: set[str], depth: int) -> Node:
        writer = self._writers.get((key, version))
        if writer is None:
            return Node(relation="read", event=None, state=f"{key}@{version}")
        return self._written(writer, "read", seen, depth - 1)

    def _called(self, request: Event) -> Node:
        """A call, and the attempts that were made for it."""
        others = self._calls.get(request.call_id, [])
        outcome = next((other for other in others if other.kind in ("CallCompleted", "CallFailed")), None)
        tried = [other for other in others if other.kind in ("AttemptSucceeded", "AttemptFailed")]
        node = Node(relation="called", event=outcome or request, agent=request.agent)
        node.rests_on = [Node(relation="tried", event=attempt) for attempt in tried]
        return node

    def _asked(self, request: Event, seen: set[str], depth: int) -> Node:
        """A request, and what its answer rests on: all that the handler which was asked did."""
        answered = self._answered.get(request.request_id)
        if answered is None:
            return Node(relation="asked", event=request, agent=request.recipient)
        seen.update((request.event_id, answered.event_id))
        node = Node(relation="asked", event=answered, agent=answered.agent)
        node.rests_on = list(self._before(answered, seen, depth - 1))
        return node

    def _trigger(self, handler: str, seen: set[str], depth: int) -> Node | None:
        """The message that set the handler off, and what its sender did before sending it."""
        delivered = self._delivered.get(handler)
        source = self._by_id.get(delivered.message_id) if delivered else None
        if source is None or source.event_id in seen or not depth:
            return None
        seen.add(source.event_id)
        node = Node(relation="triggered", event=source, agent=source.agent)
        node.rests_on = list(self._before(source, seen, depth - 1))
        return node


def one_path(root: Node) -> list[Node]:
    """The longest way from the value to a source, calls before all else: what the demo tells in one line a hop."""
    best: list[Node] = []
    for child in root.rests_on:
        path = one_path(child)
        if _worth(path) > _worth(best):
            best = path
    return [root, *best]


def _worth(path: list[Node]) -> tuple[bool, int]:
    return (bool(path) and path[-1].relation in ("tried", "called"), len(path))
