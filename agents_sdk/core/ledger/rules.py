"""Which names a declaration allows, and who hears a message. Pure matching; the globs are fnmatch's."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import AgentSpec, Book

EXECUTOR = "bp.executor"
"""The only sender of attempts and outcomes."""
LEDGER = "bp.ledger"
"""The only sender of timers; it speaks for itself when a deadline has come."""
UNRESTRICTED = ("*",)
RULES = 1
"""Which version of the ledger's rules new runs are decided by. A run keeps the one that it was started under, so that
its record replays as it was. 1: an end of a run is told of all that it leaves open, the handler that ended it too."""


@lru_cache(maxsize=65_536)
def allows(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the globs matches the name."""
    return patterns == UNRESTRICTED or any(fnmatchcase(name, pattern) for pattern in patterns)


def check(book: Book, agent: str, right: str, doing: str, **named: str) -> None:
    """Returns when the agent's declaration allows it, or there is none. ``right`` is the field of the declaration that
    is asked, ``named`` the one thing it is asked about. Raises Refusal, which names the rule and what it allows."""
    spec = book.agents.get(agent)
    if spec is None:
        return
    patterns: tuple[str, ...] = getattr(spec, right)
    (name,) = named.values()
    if not allows(patterns, name):
        message = f"agent {agent!r} may not {doing} {name!r}: its {right} are {list(patterns)}"
        raise Refusal("scope", message, rule=right, allowed=list(patterns), **named)


def takes_part(spec: AgentSpec, workflow: str) -> bool:
    """Whether the agent takes part in runs of the workflow: no globs given means all."""
    return not spec.workflows or allows(spec.workflows, workflow)


def subscribers(book: Book, name: str, workflow: str) -> Iterable[str]:
    """The agents that hear a message of this name in a run of this workflow, sorted by name."""
    return [
        agent
        for agent, spec in sorted(book.agents.items())
        if allows(spec.subscriptions, name) and takes_part(spec, workflow)
    ]
