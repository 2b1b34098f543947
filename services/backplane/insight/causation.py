"""Causes and effects as one tree: each fact below the one that caused it, child runs below the fact that started them.

Pure: facts in, the order of the tree out. A delivery stands below its message, everything else below what its
causation id names; what nothing here caused begins a tree of its own. Laws: every fact stands there once, below its
cause; those with one cause in the order given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from agents_sdk.core import kinds
from backplane.insight.answers import Event


class CausationNode(NamedTuple):
    """A fact in the tree; a list of these, parents first, is the tree. Flat, since agents that set each other off make
    it thousands deep."""

    event: Event
    depth: int
    cause: str
    """Event id of the fact above it; empty for a root."""


def cause_of(event: Event) -> str:
    """The fact that a fact stands below; empty where none is named."""
    if event.kind == kinds.MESSAGE_DELIVERED and event.attempt <= 1:
        return event.message_id or event.causation_id
    return event.causation_id


def handler_of(event: Event, by_id: Mapping[str, Event]) -> str:
    """The delivery whose handler the event happened in; empty for clients and the executor. ``by_id``: the run's
    events."""
    cause = by_id.get(event.causation_id)
    handled = cause is not None and cause.kind == kinds.MESSAGE_DELIVERED and cause.recipient == event.agent
    return cause.delivery_id if cause is not None and handled else ""


def tree(events: Sequence[Event]) -> Iterator[CausationNode]:
    """The facts of a run and its child runs, each directly after its cause or what else that led to."""
    known = {event.event_id for event in events}
    below: dict[str, list[Event]] = {}
    for event in events:
        cause = cause_of(event)
        below.setdefault(cause if cause in known else "", []).append(event)
    waiting = [CausationNode(event, 0, "") for event in reversed(below.get("", ()))]
    while waiting:
        placed = waiting.pop()
        yield placed
        event_id = placed.event.event_id
        waiting += [CausationNode(event, placed.depth + 1, event_id) for event in reversed(below.get(event_id, ()))]
