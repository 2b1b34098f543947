"""What a fact rests on, read off the fact alone.

Lives here: the relations, one function each, in a table by kind. Not here: anything that looks at a second fact; what
follows from several is ``services.sink.lineage``. Law: the same fact always has the same edges.

The facts make this possible: a delivery's id is that of its first MessageDelivered, a message's that of the fact which
made it, and what the executor sends names the CallRequested as its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from services.sink.rows import Block, Record

Edge: TypeAlias = tuple[str, str, str, int]
"""(relation, parent_event, state_key, version): what a fact rests on, an event or a version of a state key. A plain
tuple, since a batch makes tens of thousands."""
NAMES: Final = (
    "topic",
    "partition",
    "offset",
    "at",
    "run_id",
    "child_event",
    "relation",
    "parent_event",
    "state_key",
    "version",
)
"""Columns of ``edges``."""


def state_reference(text: str) -> tuple[str, int]:
    """``key@version`` in two; a text without a version is a key at version 0."""
    key, at, version = text.rpartition("@")
    return (key, int(version)) if at and version.isdecimal() and len(version) < 19 else (text, 0)


def _wrote(fact: Any) -> list[Edge]:
    return [("wrote", "", fact.key, fact.version)]


def _read(fact: Any) -> list[Edge]:
    return [("read", "", fact.key, fact.version)]


def _decided(fact: Any) -> list[Edge]:
    return [("decided", "", *state_reference(used)) for used in fact.context_used]


def _called(fact: Any) -> list[Edge]:
    return [("called", fact.causation_id, "", 0)] if fact.causation_id else []


def _delivered(fact: Any) -> list[Edge]:
    return [("delivered", fact.message_id, "", 0)] if fact.message_id else []


def _handled(fact: Any) -> list[Edge]:
    return [("handled", fact.delivery_id, "", 0)] if fact.delivery_id else []


def _satisfied(fact: Any) -> list[Edge]:
    return [("satisfied", event, "", 0) for event in fact.satisfied_by]


BY_KIND: Final[dict[str, Callable[[Any], list[Edge]]]] = {
    "StateWritten": _wrote,
    "StateDeleted": _wrote,
    "StateExpired": _wrote,
    "StateRead": _read,
    "HistoryRead": _read,
    "DecisionRecorded": _decided,
    "AttemptStarted": _called,
    "AttemptSucceeded": _called,
    "AttemptFailed": _called,
    "CallCompleted": _called,
    "CallFailed": _called,
    "MessageDelivered": _delivered,
    "HandlerCompleted": _handled,
    "HandlerFailed": _handled,
    "MessageDeadLettered": _handled,
    "DeliveryCancelled": _handled,
    "EscalationRaised": _delivered,
    "MessageRedriven": _handled,
    "RequestAnswered": _handled,
    "RequestFailed": _handled,
    "RequestExpired": _handled,
    "DependencySatisfied": _satisfied,
}
"""Kind → its edges besides ``cause``, which every fact with a causation_id has."""


def edges_of(fact: Any) -> list[Edge]:
    """All edges of one fact, its cause first."""
    more = BY_KIND.get(fact.kind)
    found = more(fact) if more is not None else []
    return [("cause", fact.causation_id, "", 0), *found] if fact.causation_id else found


def edges(records: Iterable[Record]) -> Block:
    """The rows of ``edges`` for these records."""
    rows = [
        (topic, partition, offset, fact.at, fact.run_id, fact.event_id, *edge)
        for topic, partition, offset, _, fact in records
        for edge in edges_of(fact)
    ]
    return Block(NAMES, list(zip(*rows, strict=True)))
