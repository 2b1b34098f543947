"""The grounds of a fact, read off the fact alone.

Lives here: the relations, one rule each, in a table by kind. Python reads a rule for a fact and ClickHouse for a row,
and a test holds the two to the same edges. Not here: anything that looks at a second fact; what follows from several is
``backplane.insight.lineage``. Law: the same fact always has the same edges.

The facts make this possible. A delivery's id is that of its first MessageDelivered, a message's that of the fact which
made it. An executor's command names the CallRequested as its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from agents_sdk.core import kinds
from backplane.sink.rows import Block, Record, record_of

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
    return (key, int(version)) if at and version.isascii() and version.isdecimal() and len(version) < 19 else (text, 0)


class Rule(NamedTuple):
    """The grounds of facts of some kinds; the names are those of a fact's fields, which are columns of ``events``
    too."""

    relation: str
    event: str = ""
    """Names the parent event; no edge where the fact leaves it empty."""
    events: str = ""
    """Names a list of parent events."""
    state: tuple[str, str] | tuple[()] = ()
    """Names a state key and its version."""
    references: str = ""
    """Names a list of ``key@version``."""

    def of(self, fact: Any) -> list[Edge]:
        """The edges of this fact; a field that a record of some other kind lacks is empty, as its column is."""
        if self.event:
            parent = getattr(fact, self.event, "")
            return [(self.relation, parent, "", 0)] if parent else []
        if self.state:
            key, version = self.state
            return [(self.relation, "", getattr(fact, key, ""), getattr(fact, version, 0))]
        if self.references:
            return [(self.relation, "", *state_reference(used)) for used in getattr(fact, self.references, ())]
        return [(self.relation, event, "", 0) for event in getattr(fact, self.events, ())]

    def sql(self) -> str:
        """The same as an expression over the columns: an array of (relation, parent_event, state_key, version)."""
        none = "toInt64(0)"
        if self.event:
            return f"if({self.event} != '', [('{self.relation}', {self.event}, '', {none})], [])"
        if self.state:
            return f"[('{self.relation}', '', {', '.join(self.state)})]"
        if self.references:
            key = "if(v = '', x, substring(x, 1, length(x) - length(v) - 1))"
            versions = f"arrayMap(x -> extract(x, '@([0-9]{{1,18}})$'), {self.references})"
            tuples = f"(x, v) -> ('{self.relation}', '', {key}, toInt64OrZero(v))"
            return f"arrayMap({tuples}, {self.references}, {versions})"
        return f"arrayMap(x -> ('{self.relation}', x, '', {none}), {self.events})"

    def count_sql(self) -> str:
        """How many they are, without making them."""
        if self.event:
            return f"{self.event} != ''"
        return "1" if self.state else f"length({self.references or self.events})"


CAUSE: Final = Rule("cause", event="causation_id")
"""Of every fact, whatever its kind."""
WROTE: Final = Rule("wrote", state=("key", "version"))
READ: Final = Rule("read", state=("key", "version"))
DECIDED: Final = Rule("decided", references="context_used")
CALLED: Final = Rule("called", event="causation_id")
DELIVERED: Final = Rule("delivered", event="message_id")
HANDLED: Final = Rule("handled", event="delivery_id")
SATISFIED: Final = Rule("satisfied", events="satisfied_by")

BY_KIND: Final[dict[str, Rule]] = {
    kinds.STATE_WRITTEN: WROTE,
    kinds.STATE_DELETED: WROTE,
    kinds.STATE_EXPIRED: WROTE,
    kinds.STATE_READ: READ,
    kinds.HISTORY_READ: READ,
    kinds.DECISION_RECORDED: DECIDED,
    kinds.ATTEMPT_STARTED: CALLED,
    kinds.ATTEMPT_SUCCEEDED: CALLED,
    kinds.ATTEMPT_FAILED: CALLED,
    kinds.CALL_COMPLETED: CALLED,
    kinds.CALL_FAILED: CALLED,
    kinds.MESSAGE_DELIVERED: DELIVERED,
    kinds.HANDLER_COMPLETED: HANDLED,
    kinds.HANDLER_FAILED: HANDLED,
    kinds.MESSAGE_DEAD_LETTERED: HANDLED,
    kinds.DELIVERY_CANCELLED: HANDLED,
    kinds.MESSAGE_DISCARDED: HANDLED,
    kinds.MESSAGE_PARKED: HANDLED,
    kinds.MESSAGE_CONTINUED: HANDLED,
    kinds.MESSAGE_RESTARTED: HANDLED,
    kinds.ESCALATION_RAISED: DELIVERED,
    kinds.MESSAGE_REDRIVEN: HANDLED,
    kinds.REQUEST_ANSWERED: HANDLED,
    kinds.REQUEST_FAILED: HANDLED,
    kinds.REQUEST_EXPIRED: HANDLED,
    kinds.DEPENDENCY_SATISFIED: SATISFIED,
}
"""Kind → what it rests on besides its cause."""


def edges_of(fact: Any) -> list[Edge]:
    """All edges of one fact, its cause first."""
    rule = BY_KIND.get(fact.kind)
    return [*CAUSE.of(fact), *(rule.of(fact) if rule else ())]


@cache
def edges_sql() -> str:
    """All edges of a row of ``events``, as an expression."""
    return f"arrayConcat({CAUSE.sql()}, {_by_kind(Rule.sql, '[]')})"


@cache
def edges_count_sql() -> str:
    """How many edges a row of ``events`` has, as an expression: a sixth of the time that making them takes."""
    return f"toUInt64({CAUSE.count_sql()}) + {_by_kind(Rule.count_sql, '0')}"


def _by_kind(expression: Callable[[Rule], str], otherwise: str) -> str:
    names_of: dict[Rule, list[str]] = {}
    for kind, rule in BY_KIND.items():
        names_of.setdefault(rule, []).append(kind)
    cases = ", ".join(
        f"kind IN ({', '.join(map(repr, names))}), {expression(rule)}" for rule, names in names_of.items()
    )
    return f"multiIf({cases}, {otherwise})"


def columns_used() -> set[str]:
    """The columns that ``edges_sql`` reads."""
    rules = (CAUSE, *BY_KIND.values())
    named = {name for rule in rules for name in (rule.event, rule.events, rule.references, *rule.state)}
    return {"kind", *named} - {""}


def edges(records: Iterable[Record]) -> Block:
    """The rows of ``edges`` for these records."""
    rows = [
        (topic, partition, offset, fact.at, record_of(fact), fact.event_id, *edge)
        for topic, partition, offset, _, fact in records
        for edge in edges_of(fact)
    ]
    return Block(NAMES, list(zip(*rows, strict=True)))
