"""An agent that does not come back: its removal, and what becomes of what waits for it. Pure; see ``decide``.

A removal is about no run, yet ends the work that waits for the agent in any. The fold sets timers in those runs that
are due at once. So each run decides in its own order, as with every deadline. An agent that registers itself again is
there again.
"""

from __future__ import annotations

from typing import Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, Fact
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import timers
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Dependency, PartitionState, Run

REMOVED: Final = "agent_removed"
"""Cause of a dead letter."""


def remove(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """RemoveAgent → AgentRemoved; nothing where no agent has the name."""
    spec = command.registration
    if spec is None:
        raise Refusal("invalid_command", "RemoveAgent needs the body 'registration'", field="registration")
    if command.run_id:
        raise Refusal("invalid_command", "RemoveAgent is about no run; its run_id is empty", field="run_id")
    if command.agent != OPERATOR:
        message = f"{command.agent!r} may not remove {spec.name!r}: only {OPERATOR} does"
        raise Refusal("scope", message, rule="name", name=spec.name)
    known = book.agents.get(spec.name)
    if known is not None and not (book.identity_required and command.issued_at <= known.at):  # else it is a copy
        scribe.write(AgentEvent, kinds.AGENT_REMOVED, name=spec.name, operator=spec.operator[:200])


def fold(book: PartitionState, fact: AgentEvent, changes: Changes) -> None:
    """AgentRemoved: nobody hears of the agent any more, and what waits for it comes to its end."""
    if fact.command_offset <= max(book.removed.get(fact.name, -1), _declared_at(book, fact.name)):
        return
    changes.put(book.removed, fact.name, fact.command_offset)
    changes.drop(book.agents, fact.name)
    for run in book.runs.values():
        for delivery_id, delivery in run.deliveries.items():
            if delivery.recipient == fact.name and delivery.at <= fact.at:
                changes.put(run.timers, timers.gone(delivery_id), fact.at)
        for dependency_id, dependency in run.dependencies.items():
            if not dependency.closed and _hopeless(book, run, dependency):
                changes.put(run.timers, timers.dependency(dependency_id), fact.at)


def _declared_at(book: PartitionState, name: str) -> int:
    spec = book.agents.get(name)
    return spec.command_offset if spec is not None else -1


def _hopeless(book: PartitionState, run: Run, dependency: Dependency) -> bool:
    lost = [term for term in dependency.depends_on if absent(book, term) and term not in run.completed]
    return absent(book, dependency.downstream) or len(dependency.depends_on) - len(lost) < dependency.needed


def absent(book: PartitionState, term: str) -> bool:
    """Whether the term of a dependency is an agent that is registered no more."""
    return ":" not in term and term not in book.agents


def touched(book: PartitionState, fact: Fact) -> dict[RunId, dict[str, int]]:
    """Run → the timers that the removal has set there, where it set some."""
    if fact.kind != kinds.AGENT_REMOVED:
        return {}
    due = {run_id: {name: at for name, at in run.timers.items() if at == fact.at} for run_id, run in book.runs.items()}
    return {run_id: names for run_id, names in due.items() if names}
