"""The things that a run takes over which goes on from one that ended. Pure: the facts of the ended run in, values out.

Taken over are its state with the versions, and the messages that were not handled to their end. These are the one that
ended the run, and those that were open then. A message is left out where a handler that is to run again had sent it,
since that handler will send it again. So is a question, since its asker will ask again. Child runs are not taken over:
those that were open have ended with the run. Law: no message is taken over twice, and none whose handler had completed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.bounds import LIST_LIMIT
from agents_sdk.core.facts import DependencyEvent, Fact, MessageEvent, RunEvent, StateEvent
from agents_sdk.core.ids import DeliveryId, RunId
from agents_sdk.core.ledger.deliveries import ENDED_RUN
from agents_sdk.core.money import NO_LIMIT

MICROS_A_MS: Final = 1_000
SENT: Final = frozenset(
    {kinds.RUN_STARTED, kinds.MESSAGE_PUBLISHED, kinds.MESSAGE_SENT, kinds.REQUEST_SENT, kinds.ESCALATION_RAISED}
)


class NotResumable(Exception):
    """The run is not there, goes on still, or has completed; the text says which."""


class KeptValue(msgspec.Struct, frozen=True):
    """A key with its last value."""

    key: str
    version: int
    value: str
    ttl_ms: int
    """The rest of its time to live when the run ended; 0: it has none."""


class OpenMessage(msgspec.Struct, frozen=True):
    """A message that was not handled to its end."""

    name: str
    recipient: str
    sender: str
    data: str
    delivery_id: DeliveryId
    event_id: str
    """Of the fact that says what became of it."""


class OpenDependency(msgspec.Struct, frozen=True):
    """An agent that still waited; what it waited for and had is not among ``depends_on``."""

    dependency_id: str
    downstream: str
    depends_on: list[str]
    trigger_when: str
    name: str
    count: int
    deadline_ms: int


class Resumption(msgspec.Struct, frozen=True):
    """All that is taken over."""

    run_id: RunId
    workflow: str
    input: str
    complete_when: str
    ended: str
    """event_id of the fact that ended the run."""
    budget_nano_usd: int
    """The rest of it; -1: it had no limit."""
    deadline_ms: int
    """As long as the run had; 0: for ever."""
    state: list[KeptValue]
    messages: list[OpenMessage]
    dependencies: list[OpenDependency]
    completed: list[str]
    """Agents that had completed work."""
    published: list[str]
    """Names of messages that were published."""


def resumption(facts: Sequence[Fact]) -> Resumption:
    """``facts`` of the run's start and end, its state, messages and dependencies, in their order. Raises
    NotResumable."""
    started = next((fact for fact in facts if isinstance(fact, RunEvent) and fact.kind == kinds.RUN_STARTED), None)
    end = next((fact for fact in facts if isinstance(fact, RunEvent) and fact.kind in kinds.RUN_ENDS), None)
    if started is None:
        raise NotResumable("no such run is on record")
    if end is None:
        raise NotResumable(f"run {started.run_id} has not ended; what failed in it is redriven")
    if end.kind == kinds.RUN_COMPLETED:
        raise NotResumable(f"run {started.run_id} has completed; there is nothing to go on with")
    messages = [fact for fact in facts if isinstance(fact, MessageEvent)]
    left = end.spent_nano_usd + end.reserved_nano_usd
    again = list(_open_messages(messages, end))
    return Resumption(
        run_id=started.run_id,
        workflow=started.workflow,
        input=started.input,
        complete_when=started.complete_when,
        ended=end.event_id,
        budget_nano_usd=NO_LIMIT if started.budget_nano_usd == NO_LIMIT else max(started.budget_nano_usd - left, 0),
        deadline_ms=_again(started.at, started.deadline_at),
        state=_state(facts, end.at),
        messages=again,
        dependencies=list(_open_dependencies(facts, end, {one.delivery_id for one in again})),
        completed=_names(started.completed, (f.recipient for f in messages if f.kind == kinds.HANDLER_COMPLETED)),
        published=_names(started.published, (f.name for f in messages if f.kind == kinds.MESSAGE_PUBLISHED)),
    )


def _again(at: int, deadline_at: int) -> int:
    """The time that it had, in ms, at least 1. The deadline may have passed when it began, as with a child of a late
    run. Then the new run has a deadline too; 0 would be none."""
    return max((deadline_at - at) // MICROS_A_MS, 1) if deadline_at else 0


def _names(before: Sequence[str], since: Iterator[str]) -> list[str]:
    """Each once; no more than a command may name, the newest."""
    return list(dict.fromkeys((*before, *since)))[-LIST_LIMIT:]


def _state(facts: Sequence[Fact], at: int) -> list[KeptValue]:
    newest = {fact.key: fact for fact in facts if isinstance(fact, StateEvent) and fact.kind in kinds.STATE_WRITES}
    return [
        KeptValue(
            key=key,
            version=fact.version,
            value=fact.value,
            ttl_ms=max((fact.expires_at - at) // MICROS_A_MS, 1) if fact.expires_at else 0,
        )
        for key, fact in sorted(newest.items())
        if fact.kind == kinds.STATE_WRITTEN
    ]


def _open_messages(messages: Sequence[MessageEvent], end: RunEvent) -> Iterator[OpenMessage]:
    """In the order in which they were delivered."""
    first: dict[DeliveryId, MessageEvent] = {}
    handler_of: dict[str, str] = {}
    ends: dict[str, MessageEvent] = {}
    sent: dict[str, str] = {}
    for fact in messages:
        if fact.kind == kinds.MESSAGE_DELIVERED:
            first.setdefault(fact.delivery_id, fact)
            handler_of[fact.event_id] = fact.delivery_id
        elif fact.kind in (kinds.HANDLER_COMPLETED, kinds.MESSAGE_DEAD_LETTERED, kinds.DELIVERY_CANCELLED):
            ends[fact.delivery_id] = fact
        if fact.kind in SENT:
            sent[fact.event_id] = handler_of.get(fact.causation_id, "")
    ended_by = handler_of.get(end.causation_id, "")
    told: set[str] = set()
    for delivery_id, delivered in first.items():
        last = ends.get(delivery_id)
        if not _is_open(last, end, by_itself=delivery_id == ended_by) or delivered.request_id:
            continue
        told.add(delivery_id)
        if sent.get(delivered.message_id, "") in told:
            continue  # its sender is to run again, or will be made to
        yield OpenMessage(
            name=delivered.name,
            recipient=delivered.recipient,
            sender=delivered.sender,
            data=delivered.data,
            delivery_id=delivery_id,
            event_id=(last or end).event_id,
        )


def _is_open(last: MessageEvent | None, end: RunEvent, *, by_itself: bool) -> bool:
    """Whether a delivery is to be handled again, by its last fate. It was open when the run ended, it ended the run, or
    its handler did so itself. An earlier dead letter was for others to see to."""
    if last is None:
        return by_itself
    if last.kind == kinds.HANDLER_COMPLETED:
        return last.cause == ENDED_RUN
    return last.command_id == end.command_id


def _open_dependencies(facts: Sequence[Fact], end: RunEvent, again: set[str]) -> Iterator[OpenDependency]:
    """``again``: deliveries that are handled again, whose handlers declare their dependencies again."""
    handler_of = {fact.event_id: fact.delivery_id for fact in facts if isinstance(fact, MessageEvent)}
    declared: dict[str, DependencyEvent] = {}
    for fact in facts:
        if not isinstance(fact, DependencyEvent):
            continue
        if fact.kind == kinds.DEPENDENCY_DECLARED:
            if handler_of.get(fact.causation_id, "") not in again:
                declared[fact.dependency_id] = fact
        elif fact.kind == kinds.DEPENDENCY_SATISFIED or fact.command_id != end.command_id:
            declared.pop(fact.dependency_id, None)
    for dependency_id, fact in declared.items():
        yield OpenDependency(
            dependency_id=dependency_id,
            downstream=fact.downstream,
            depends_on=list(fact.depends_on),
            trigger_when=fact.trigger_when,
            name=fact.name,
            count=fact.count,
            deadline_ms=_again(fact.at, fact.deadline_at),
        )
