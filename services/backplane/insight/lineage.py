"""Origin of a value: from a version of a state key up to writers, decisions, reads, calls and their sources. The walk
goes on into awaited child runs, the parent run, and the runs that wrote the contents of a memory.

Pure: events in, a tree out. Events of other runs are asked for when the walk comes to them (``RunArchive``). Relations
that a fact names itself are edges in ClickHouse (``backplane.sink.edges``). Relations of several facts are here: a
write may rest on all that its handler read, decided and called before it. Handlers differ by their delivery, which
stays the same over its attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.artifacts import KEYS
from backplane.insight.answers import Event
from backplane.insight.causation import handler_of
from backplane.sink.edges import state_reference

DEPTH = 12
"""Writers in a row that are followed."""


class Node(msgspec.Struct, kw_only=True):
    """One thing that the thing above it rests on."""

    relation: str
    """wrote, decided, read, called, tried, given (a file, by the call that made it) or asked. Also delegated (to a
    child run), started (by another run) or triggered."""
    event: Event | None
    """None: a version whose writer is not known, or a file."""
    agent: str = ""
    """The agent that wrote, decided, called or sent; for a call the one that asked for it."""
    state: str = ""
    """key@version, for wrote and read; of a memory ``memory/<namespace>/<key>@version``; of a file
    artifact:<sha256>."""
    run_id: str = ""
    """The run in which it happened, where that is another one than that of the thing above it."""
    repeated: bool = False
    """It stands elsewhere in the tree with all that it rests on."""
    rests_on: list[Node] = []


class RunArchive(Protocol):
    """The runs and memories besides the one that is asked about; see ``backplane.insight.answers.Archive``."""

    def events(self, run_id: str) -> Sequence[Event]:
        """A run's facts in its order."""

    def memory_reads(self, run_id: str) -> Sequence[Event]:
        """The reads of a run's handlers from memories, in the order of time."""

    def writer(self, run_id: str, key: str, version: int) -> Event | None:
        """The fact that made a version of a key."""

    def run_of(self, event_id: str) -> str:
        """The run in which a fact happened; empty for one that is not known."""


class Lineage:
    """The events of one run, arranged for the walk, which ends at the run's bounds unless ``others`` are given."""

    def __init__(
        self, events: Sequence[Event], others: RunArchive | None = None, known: dict[str, Lineage] | None = None
    ) -> None:
        """``known``: runs that the same walk has come to."""
        self._others = others
        self._known: dict[str, Lineage] = {} if known is None else known
        self._run_id = events[0].run_id if events else ""
        if events:
            self._known[self._run_id] = self
        self._read_from_memories: dict[str, list[Event]] | None = None
        self._end = next((event for event in events if event.kind == kinds.RUN_COMPLETED), None)
        self._writers: dict[tuple[str, int], Event] = {}
        self._by_id = {event.event_id: event for event in events}
        self._handlers: dict[str, list[Event]] = {}
        self._calls: dict[str, list[Event]] = {}
        self._makers: dict[str, Event] = {}
        self._delivered = {event.delivery_id: event for event in events if event.kind == kinds.MESSAGE_DELIVERED}
        self._ended = {event.child_run_id: event for event in events if event.kind == kinds.CHILD_ENDED}
        self._answered = {event.request_id: event for event in events if event.kind == kinds.REQUEST_ANSWERED}
        self._newest: dict[str, int] = {}
        for event in events:
            if event.kind in kinds.STATE_WRITES:
                self._writers[event.key, event.version] = event
                self._newest[event.key] = event.version
            if handler := handler_of(event, self._by_id):
                self._handlers.setdefault(handler, []).append(event)
            if event.call_id:
                self._calls.setdefault(event.call_id, []).append(event)
            if event.kind == kinds.CALL_COMPLETED:
                for file in event.artifacts:
                    self._makers.setdefault(file, event)
            elif event.kind == kinds.STATE_WRITTEN and event.key.startswith(KEYS):
                self._makers.setdefault(event.key.removeprefix(KEYS), event)

    def keys(self) -> list[str]:
        """All state keys that were written."""
        return sorted(self._newest)

    def up(self, key: str, version: int = 0, depth: int = DEPTH) -> Node | None:
        """The grounds of ``key`` at ``version`` (0: the newest); None when it was never written."""
        version = version or self._newest.get(key, 0)
        writer = self._writers.get((key, version))
        return self._written(writer, "wrote", set(), depth) if writer else None

    def up_from(self, event_id: str, depth: int = DEPTH) -> Node | None:
        """The grounds of a message, a call's outcome, or another fact; None when it is not of this run."""
        event = self._by_id.get(event_id)
        if event is None:
            return None
        if event.kind in kinds.STATE_WRITES:
            return self._written(event, "wrote", set(), depth)
        if event.kind in kinds.CALL_OUTCOMES and (request := self._by_id.get(event.causation_id)):
            return self._made(request, "called", {event_id, request.event_id}, depth)
        node = Node(relation="sent" if event.name else "did", event=event, agent=event.agent)
        node.rests_on = list(self._before(event, {event_id}, depth))
        return node

    def _written(self, writer: Event, relation: str, seen: set[str], depth: int) -> Node:
        node = Node(relation=relation, event=writer, agent=writer.agent, state=f"{writer.key}@{writer.version}")
        if writer.event_id in seen or not depth:
            node.repeated = True
            return node
        seen.add(writer.event_id)
        node.rests_on = list(self._before(writer, seen, depth))
        return node

    def _before(self, event: Event, seen: set[str], depth: int) -> Iterator[Node]:
        """Acts of the handler of ``event`` before it."""
        handler = handler_of(event, self._by_id)
        if handler:
            yield from self._done_in(handler, lambda other: other.run_seq < event.run_seq, event.at, seen, depth)
        elif event.causation_id not in self._by_id:
            yield from self._done_elsewhere(event, seen, depth)

    def _done_in(
        self, handler: str, before: Callable[[Event], bool], at: int, seen: set[str], depth: int
    ) -> Iterator[Node]:
        """A handler's acts ``before`` something that happened at this time, without those that appeared already. Its
        trigger belongs to it, not to the values that it read."""
        source = self._source(handler, seen, depth)
        earlier = [other for other in self._handlers.get(handler, ()) if before(other)]
        fresh = [other for other in earlier if other.event_id not in seen]
        seen.update(other.event_id for other in fresh if other.kind not in kinds.STATE_WRITES)
        decisions = [other for other in fresh if other.kind == kinds.DECISION_RECORDED][-1:]
        used = sorted({state_reference(text) for decision in decisions for text in decision.context_used})
        for decision in decisions:
            node = Node(relation="decided", event=decision, agent=decision.agent)
            node.rests_on = [self._state(key, version, seen, depth) for key, version in used if version]
            yield node
        reads = {
            (other.key, other.version): None for other in fresh if other.kind == kinds.STATE_READ and other.version
        }
        for key, version in reads:
            if (key, version) not in used:
                yield self._state(key, version, seen, depth)
        yield from self._remembered(handler, at, seen, depth)
        for other in fresh:
            if other.kind == kinds.CALL_REQUESTED:
                yield self._called(other, seen, depth)
            elif other.kind == kinds.CHILD_AWAITED:
                yield self._delegated(other, seen, depth)
            elif other.kind == kinds.REQUEST_SENT and depth:
                yield self._asked(other, seen, depth)
        if source is not None:
            yield self._trigger(source, seen, depth)

    def _state(self, key: str, version: int, seen: set[str], depth: int) -> Node:
        writer = self._writers.get((key, version))
        if writer is None:
            return Node(relation="read", event=None, state=f"{key}@{version}")
        return self._written(writer, "read", seen, depth - 1)

    def _other(self, run_id: str) -> Lineage | None:
        """Another run, if it may be looked into."""
        if self._others is None or not run_id:
            return None
        return self._known.get(run_id) or Lineage(self._others.events(run_id), self._others, self._known)

    def _delegated(self, awaited: Event, seen: set[str], depth: int) -> Node:
        """A child run, and what its result rests on."""
        node = Node(relation="delegated", event=self._ended.get(awaited.child_run_id, awaited), agent=awaited.agent)
        child = self._other(awaited.child_run_id) if depth else None
        if child is not None and child._end is not None and child._end.event_id not in seen:
            seen.add(child._end.event_id)
            node.rests_on = [
                _elsewhere(below, awaited.child_run_id) for below in child._before(child._end, seen, depth - 1)
            ]
        return node

    def _remembered(self, handler: str, at: int, seen: set[str], depth: int) -> Iterator[Node]:
        """The values that the handler had read from memories by then."""
        if self._others is None or not depth:
            return
        places: set[tuple[str, str, int]] = set()
        for read in self._memory_reads().get(handler, ()):
            place = (read.run_id, read.key, read.version)
            if read.at > at or read.event_id in seen or place in places:
                continue
            seen.add(read.event_id)
            places.add(place)
            yield self._memory(read, seen, depth)

    def _memory_reads(self) -> dict[str, list[Event]]:
        """Handler → what it read from memories: asked for once, since each question costs more than its rows."""
        if self._read_from_memories is None:
            self._read_from_memories = {}
            for read in self._others.memory_reads(self._run_id) if self._others is not None else ():
                if delivered := self._by_id.get(read.causation_id):  # else it came after the events
                    self._read_from_memories.setdefault(delivered.delivery_id, []).append(read)
        return self._read_from_memories

    def _memory(self, read: Event, seen: set[str], depth: int) -> Node:
        """A version that a memory held, its writer, and what that one had done before in its own run."""
        assert self._others is not None
        writer = self._others.writer(read.run_id, read.key, read.version)
        state = f"{read.run_id}/{read.key}@{read.version}"
        if writer is None:
            return Node(relation="read", event=None, state=state)
        node = Node(relation="read", event=writer, agent=writer.agent, state=state, run_id=writer.run_id)
        if writer.event_id in seen:
            node.repeated = True
            return node
        seen.add(writer.event_id)
        node.rests_on = list(self._done_elsewhere(writer, seen, depth - 1))
        return node

    def _done_elsewhere(self, written: Event, seen: set[str], depth: int) -> Iterator[Node]:
        """Earlier acts, in its own run, of the handler that wrote to a memory. The facts of a memory have an order of
        their own: time tells what came before."""
        if self._others is None or not written.causation_id or not depth:
            return
        where = self._others.run_of(written.causation_id)
        run = self._other(where)
        cause = run._by_id.get(written.causation_id) if run is not None else None
        if run is not None and cause is not None and cause.kind == kinds.MESSAGE_DELIVERED:
            for node in run._done_in(cause.delivery_id, lambda other: other.at <= written.at, written.at, seen, depth):
                yield _elsewhere(node, where)

    def _called(self, request: Event, seen: set[str], depth: int, relation: str = "called") -> Node:
        """A call, the attempts that were made for it, and the files it was given."""
        others = self._calls.get(request.call_id, [])
        outcome = next((other for other in others if other.kind in kinds.CALL_OUTCOMES), None)
        tried = [other for other in others if other.kind in kinds.ATTEMPT_OUTCOMES]
        node = Node(relation=relation, event=outcome or request, agent=request.agent)
        node.rests_on = [Node(relation="tried", event=attempt) for attempt in tried]
        for file in request.artifacts:
            maker = self._makers.get(file)
            if maker is None or maker.run_seq >= request.run_seq or not depth:
                continue
            if maker.kind == kinds.STATE_WRITTEN:
                node.rests_on.append(self._written(maker, "wrote", seen, depth - 1))
            else:
                node.rests_on.append(self._given(maker, seen, depth - 1))
        return node

    def _given(self, maker: Event, seen: set[str], depth: int) -> Node:
        """A file that a call was given: the call that made it first, and what that one's handler had done before."""
        request = self._by_id.get(maker.causation_id)
        if request is None or request.event_id in seen:
            return Node(relation="given", event=maker, agent=request.agent if request else "", repeated=True)
        seen.add(request.event_id)
        return self._made(request, "given", seen, depth)

    def _made(self, request: Event, relation: str, seen: set[str], depth: int) -> Node:
        """A call, and what its caller had done before."""
        node = self._called(request, seen, depth, relation)
        node.rests_on += self._before(request, seen, depth)
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

    def _source(self, handler: str, seen: set[str], depth: int) -> Event | None:
        """The message that set the handler off, unless it appeared before; from now on it has."""
        delivered = self._delivered.get(handler)
        source = self._by_id.get(delivered.message_id) if delivered else None
        if source is None or source.event_id in seen or not depth:
            return None
        seen.add(source.event_id)
        return source

    def _trigger(self, source: Event, seen: set[str], depth: int) -> Node:
        """The message that set a handler off, and what its sender did before sending it."""
        node = Node(relation="triggered", event=source, agent=source.agent)
        node.rests_on = list(self._before(source, seen, depth - 1))
        if source.kind == kinds.RUN_STARTED and (start := self._started_for(source, seen, depth - 1)):
            node.rests_on.append(start)
        return node

    def _started_for(self, source: Event, seen: set[str], depth: int) -> Node | None:
        """The purpose for which another run started this one, and the earlier acts of that run's handler."""
        parent = self._other(source.parent_run_id) if depth else None
        start = parent._by_id.get(source.causation_id) if parent is not None else None
        if parent is None or start is None or start.event_id in seen:
            return None
        seen.add(start.event_id)
        node = Node(relation="started", event=start, agent=start.agent, run_id=source.parent_run_id)
        node.rests_on = list(parent._before(start, seen, depth))
        return node


def _elsewhere(node: Node, run_id: str) -> Node:
    node.run_id = node.run_id or run_id
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
