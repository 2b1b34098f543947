"""The consequences of a value or a message within its run: the blast radius of a bad input.

Pure: a run's events in, a tree out. The walk is that of ``backplane.insight.lineage`` the other way round. All that a
reader's handler did after it read a version may rest on it, and so may the receivers of its messages. Law: one version
is below another exactly where that one is above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents_sdk.core import kinds
from backplane.insight.answers import Event
from backplane.insight.causation import handler_of
from backplane.insight.lineage import DEPTH, Node
from backplane.sink.edges import state_reference

SENT = frozenset({kinds.MESSAGE_PUBLISHED, kinds.MESSAGE_SENT, kinds.REQUEST_SENT})
OUTSIDE = {kinds.CALL_REQUESTED: "called", kinds.CHILD_STARTED: "delegated"}


class Impact:
    """The events of one run, arranged for the walk down."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._by_id = {event.event_id: event for event in events}
        self._writers: dict[tuple[str, int], Event] = {}
        self._newest: dict[str, int] = {}
        self._readers: dict[tuple[str, int], list[Event]] = {}
        self._handlers: dict[str, list[Event]] = {}
        self._deliveries: dict[str, list[Event]] = {}
        self._asked = {event.request_id: event for event in events if event.kind == kinds.REQUEST_SENT}
        self._outcomes = {event.call_id: event for event in events if event.kind in kinds.CALL_OUTCOMES}
        for event in events:
            if event.kind in kinds.STATE_WRITES:
                self._writers[event.key, event.version] = event
                self._newest[event.key] = event.version
            elif event.kind == kinds.STATE_READ and event.version:
                self._readers.setdefault((event.key, event.version), []).append(event)
            elif event.kind == kinds.DECISION_RECORDED:
                for used in sorted({state_reference(text) for text in event.context_used}):
                    self._readers.setdefault(used, []).append(event)
            elif event.kind == kinds.MESSAGE_DELIVERED:
                self._deliveries.setdefault(event.message_id, []).append(event)
            if handler := handler_of(event, self._by_id):
                self._handlers.setdefault(handler, []).append(event)

    def of_state(self, key: str, version: int = 0, depth: int = DEPTH) -> Node | None:
        """The consequences of ``key`` at ``version`` (0: the newest); None when it was never written."""
        writer = self._writers.get((key, version or self._newest.get(key, 0)))
        return self._written(writer, set(), depth) if writer else None

    def of_event(self, event_id: str, depth: int = DEPTH) -> Node | None:
        """The consequences of a message, a call, or another fact; None when it is not of this run."""
        event = self._by_id.get(event_id)
        if event is not None and event.kind in kinds.CALL_OUTCOMES:
            event = self._by_id.get(event.causation_id)
        if event is not None and event.kind == kinds.CALL_REQUESTED:
            return self._answered(event, depth)
        return next(self._led_to(event, set(), depth), None) if event else None

    def _answered(self, request: Event, depth: int) -> Node:
        """A call, and what its caller did once it had the outcome."""
        outcome = self._outcomes.get(request.call_id)
        node = Node(relation="called", event=outcome or request, agent=request.agent, rests_on=[])
        if outcome is not None:
            seen = {request.event_id}
            for other in self._handlers.get(handler_of(request, self._by_id), []):
                if other.run_seq > outcome.run_seq:
                    node.rests_on += self._led_to(other, seen, depth)
        return node

    def _written(self, writer: Event, seen: set[str], depth: int) -> Node:
        node = Node(
            relation="wrote", event=writer, agent=writer.agent, state=f"{writer.key}@{writer.version}", rests_on=[]
        )
        if writer.event_id in seen or not depth:
            node.repeated = True
            return node
        seen.add(writer.event_id)
        for reader in self._readers.get((writer.key, writer.version), []):
            after = list(self._after(reader, seen, depth - 1))
            relation = "read" if reader.kind == kinds.STATE_READ else "decided"
            if reader.event_id not in seen:
                seen.add(reader.event_id)
                node.rests_on.append(Node(relation=relation, event=reader, agent=reader.agent, rests_on=after))
        return node

    def _after(self, event: Event, seen: set[str], depth: int) -> Iterator[Node]:
        """Acts of the handler of ``event`` after it."""
        for other in self._handlers.get(handler_of(event, self._by_id), []):
            if other.run_seq > event.run_seq:
                yield from self._led_to(other, seen, depth)

    def _led_to(self, event: Event, seen: set[str], depth: int) -> Iterator[Node]:
        if event.kind in kinds.STATE_WRITES:
            yield self._written(event, seen, depth)
            return
        if event.event_id in seen or not depth:
            return
        if event.kind in SENT:
            seen.add(event.event_id)
            handled = [self._handled(one, seen, depth - 1) for one in self._deliveries.get(event.event_id, [])]
            yield Node(relation="sent", event=event, agent=event.agent, rests_on=[one for one in handled if one])
        elif event.kind == kinds.REQUEST_ANSWERED:
            seen.add(event.event_id)
            asked = self._asked.get(event.request_id)
            after = list(self._after(asked, seen, depth - 1)) if asked else []
            yield Node(relation="answered", event=event, agent=event.agent, rests_on=after)
        elif event.kind in OUTSIDE:
            seen.add(event.event_id)
            settled = self._outcomes.get(event.call_id, event) if event.call_id else event
            yield Node(relation=OUTSIDE[event.kind], event=settled, agent=event.agent, rests_on=[])

    def _handled(self, delivered: Event, seen: set[str], depth: int) -> Node | None:
        """Acts of the receivers of the message; a delivery that was repeated appears once."""
        if delivered.delivery_id in seen:
            return None
        seen.add(delivered.delivery_id)
        done = [
            node for event in self._handlers.get(delivered.delivery_id, []) for node in self._led_to(event, seen, depth)
        ]
        return Node(relation="handled", event=delivered, agent=delivered.recipient, rests_on=done)
