"""The grounds of a failing fact: one rule for each kind. It reads the facts of a run and of those it is bound up with.

Pure: events in, earlier events out. A call rests on its failed attempts, a dead letter on its failed handlers, an
impossible act of a handler on its cause. The end of a run rests on the fact that ended it, a child's outcome on the
child's own end. No fact records the cause of a failed handler. It is taken from the handler's words: an earlier failure
that it quotes, or else all failures and shortfalls that it met. Refusals count only when quoted: those of versions that
were written meanwhile are met, and mended, all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from agents_sdk.core import kinds
from backplane.insight.answers import Event

ENDS: Final = frozenset({kinds.RUN_FAILED, kinds.RUN_CANCELLED})
OPEN_AT_END: Final = frozenset({kinds.CALL_CANCELLED, kinds.DELIVERY_CANCELLED, kinds.CHILD_ORPHANED})
"""Kinds that the end of a run stops."""
ALWAYS: Final = ENDS | {
    kinds.ATTEMPT_FAILED,
    kinds.CALL_FAILED,
    kinds.COMMAND_REFUSED,
    kinds.DEPENDENCY_EXPIRED,
    kinds.HANDLER_FAILED,
    kinds.MESSAGE_DEAD_LETTERED,
    kinds.REQUEST_EXPIRED,
    kinds.REQUEST_FAILED,
}
"""Kinds that tell of a failure, whatever their fields say."""
MET: Final = frozenset(
    {kinds.CALL_COMPLETED, kinds.CALL_FAILED, kinds.CHILD_ENDED, kinds.REQUEST_EXPIRED, kinds.REQUEST_FAILED}
)
"""Kinds of news for a handler that has not failed itself."""
QUOTED: Final = 80
"""Characters of a failure's message by which it is recognised in another's: messages are cut in the store."""
RUNS: Final = 100
"""Runs that are looked into for one."""


def failing(event: Event) -> bool:
    """Whether the fact tells of something that did not go well."""
    if event.kind == kinds.CALL_COMPLETED:
        return event.degraded
    return event.kind in ALWAYS or (event.kind == kinds.CHILD_ENDED and event.status != "completed")


def related(run_id: str, events_of: Callable[[str], Sequence[Event]]) -> list[Event]:
    """The run's facts, then those of runs that its end may rest on: child runs that did not complete, and the parent
    that ended it. At most 100 runs."""
    waiting = [run_id]
    found: list[Event] = []
    for one in waiting:
        events = events_of(one)
        found += events
        for event in events:
            other = ""
            if event.kind == kinds.CHILD_ENDED and failing(event):
                other = event.child_run_id
            elif event.kind == kinds.RUN_CANCELLED:
                other = event.parent_run_id
            if other and other not in waiting and len(waiting) < RUNS:
                waiting.append(other)
    return found


class FailureCauses:
    """The facts, arranged for the question."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._place = {event.event_id: place for place, event in enumerate(events)}
        self._by_id = {event.event_id: event for event in events}
        self._calls: dict[str, list[Event]] = {}
        self._deliveries: dict[str, list[Event]] = {}
        self._commands: dict[str, list[Event]] = {}
        self._letters: dict[tuple[str, str], list[Event]] = {}
        self._asked_by: dict[str, str] = {}
        self._handlers: dict[str, list[Event]] = {}
        for event in events:
            self._arrange(event)

    def _arrange(self, event: Event) -> None:
        if event.call_id:
            self._calls.setdefault(event.call_id, []).append(event)
        if event.delivery_id:
            self._deliveries.setdefault(event.delivery_id, []).append(event)
        if event.kind in ENDS or event.kind in OPEN_AT_END or event.kind == kinds.MESSAGE_DEAD_LETTERED:
            self._commands.setdefault(event.command_id, []).append(event)
        if event.kind == kinds.MESSAGE_DEAD_LETTERED:
            self._letters.setdefault((event.run_id, event.recipient), []).append(event)
        handler = self.handler_of(event)
        for place in (event.call_id, event.request_id, event.child_run_id):
            if place and handler and event.kind in (kinds.CALL_REQUESTED, kinds.REQUEST_SENT, kinds.CHILD_STARTED):
                self._asked_by[place] = handler
            elif place and failing(event) and event.kind in MET and place in self._asked_by:
                self._handlers.setdefault(self._asked_by[place], []).append(event)
        if handler and event.kind == kinds.COMMAND_REFUSED:
            self._handlers.setdefault(handler, []).append(event)

    def handler_of(self, event: Event) -> str:
        """The delivery in whose handler the fact happened; empty for a fact about a handler, or without one."""
        cause = self._by_id.get(event.causation_id)
        if cause is None or cause.kind != kinds.MESSAGE_DELIVERED or cause.recipient != event.agent:
            return ""
        return cause.delivery_id

    def asked_in(self, call_id: str) -> str:
        """The delivery whose handler asked for a call; empty where none did."""
        return self._asked_by.get(call_id, "")

    def of(self, event: Event) -> list[Event]:
        """The failing facts that this one rests on, without those that these rest on; in the order of the events."""
        rule = RULES.get(event.kind)
        found = {cause.event_id: cause for cause in rule(self, event)} if rule else {}
        return sorted(found.values(), key=lambda cause: self._place[cause.event_id])

    def all_of(self, ends: Sequence[Event]) -> list[Event]:
        """``ends`` and all that they rest on, over any number of steps."""
        found = {event.event_id: event for event in ends}
        waiting = list(ends)
        for event in waiting:
            for cause in self.of(event):
                if cause.event_id not in found:
                    found[cause.event_id] = cause
                    waiting.append(cause)
        return waiting

    def stopped_by(self, end: Event) -> list[Event]:
        """Work that was open when the run ended."""
        return [event for event in self._commands.get(end.command_id, ()) if event.kind in OPEN_AT_END]

    def _of_call(self, event: Event) -> Iterator[Event]:
        yield from (other for other in self._calls.get(event.call_id, ()) if other.kind == kinds.ATTEMPT_FAILED)

    def _of_delivery(self, event: Event) -> Iterator[Event]:
        yield from (
            other for other in self._deliveries.get(event.delivery_id, ()) if other.kind == kinds.HANDLER_FAILED
        )

    def _of_request(self, event: Event) -> Iterator[Event]:
        others = self._deliveries.get(event.delivery_id, ())
        yield from (other for other in others if other.kind == kinds.MESSAGE_DEAD_LETTERED)

    def _of_handler(self, event: Event) -> Iterator[Event]:
        yield from self._met(event.delivery_id, event, event.error_message)

    def _of_dependency(self, event: Event) -> Iterator[Event]:
        for name in event.depends_on:
            letters = self._letters.get((event.run_id, name), ())
            yield from (letter for letter in letters if letter.run_seq < event.run_seq)

    def _of_child(self, event: Event) -> Iterator[Event]:
        source = self._by_id.get(event.causation_id)
        if source is not None and failing(source):
            yield source

    def _of_end(self, event: Event) -> Iterator[Event]:
        """The cause of the dead letter; the parent that ended first; trouble of the handler that ended the run. After a
        deadline: the failures in all work that was still open."""
        letters = [other for other in self._commands[event.command_id] if other.kind == kinds.MESSAGE_DEAD_LETTERED]
        source = self._by_id.get(event.causation_id)
        if letters:
            yield from letters
        elif source is not None and source.kind == kinds.CHILD_ORPHANED:
            yield from (other for other in self._commands.get(source.command_id, ()) if other.kind in ENDS)
        elif source is not None and source.kind == kinds.CHILD_CANCELLED:
            yield from self._met(self.handler_of(source), source, _words(source))
        elif handler := self.handler_of(event):
            yield from self._met(handler, event, _words(event))
        else:
            for stopped in self.stopped_by(event):
                yield from self._of_call(stopped) if stopped.call_id else self._of_delivery(stopped)

    def _met(self, handler: str, event: Event, said: str) -> Iterator[Event]:
        """The handler's earlier news; for a supervisor, the failure that was reported to it."""
        met = [other for other in self._handlers.get(handler, ()) if other.run_seq < event.run_seq]
        quoted = [other for other in met if (text := _says(other)[:QUOTED]) and text in said]
        yield from quoted or (other for other in met if other.kind != kinds.COMMAND_REFUSED)
        for delivered in self._deliveries.get(handler, ())[:1]:
            raised = self._by_id.get(delivered.message_id)
            about = self._by_id.get(raised.message_id) if raised and raised.kind == kinds.ESCALATION_RAISED else None
            if about is not None:
                yield about


def _says(event: Event) -> str:
    return event.error_message or event.message or event.reason or event.said


def _words(event: Event) -> str:
    """All that is said of why."""
    return f"{event.reason} {event.said}"


RULES: Final[dict[str, Callable[[FailureCauses, Event], Iterator[Event]]]] = {
    kinds.CALL_COMPLETED: FailureCauses._of_call,
    kinds.CALL_FAILED: FailureCauses._of_call,
    kinds.CHILD_ENDED: FailureCauses._of_child,
    kinds.DEPENDENCY_EXPIRED: FailureCauses._of_dependency,
    kinds.HANDLER_FAILED: FailureCauses._of_handler,
    kinds.MESSAGE_DEAD_LETTERED: FailureCauses._of_delivery,
    kinds.REQUEST_EXPIRED: FailureCauses._of_request,
    kinds.REQUEST_FAILED: FailureCauses._of_request,
    kinds.RUN_CANCELLED: FailureCauses._of_end,
    kinds.RUN_FAILED: FailureCauses._of_end,
}
"""Kind → what it rests on; the others rest on nothing that failed."""
