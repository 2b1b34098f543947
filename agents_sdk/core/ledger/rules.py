"""Which names a declaration and a grant allow, and who hears a message. Pure matching; the globs are fnmatch's."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from agents_sdk.core.commands import RegistrationBody
from agents_sdk.core.identity import reserved
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import AgentSpec, PartitionState, Run
from agents_sdk.core.money import NO_LIMIT

ALL: Final = "*"
UNRESTRICTED = (ALL,)
RIGHTS: Final = (
    *("subscriptions", "workflows", "reads", "writes", "capabilities", "publishes"),
    *("starts", "controls", "supervisors"),
)
"""Wishes of a declaration, and rights of a grant: lists of globs."""
RULES = 4
"""Which version of the ledger's rules new runs are decided by. A run keeps the one that it was started under, so that
its record replays as it was. 1: an end of a run names all that it leaves open, the handler that ended it too.
2: the kept versions of a key are bounded in size as well. 3: the words of others stand in fields of their own.
4: the commands of handlers are held against what is recorded of them."""
BOUNDED_HISTORY = 2
WORDS_APART = 3
DURABLE = 4
"""From these rules on."""


def apart(run: Run) -> bool:
    """Whether facts of the run keep the platform's words and those of others in fields of their own."""
    return run.rules >= WORDS_APART


@lru_cache(maxsize=65_536)
def allows(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the globs matches the name."""
    return patterns == UNRESTRICTED or any(fnmatchcase(name, pattern) for pattern in patterns)


def declared(spec: AgentSpec | RegistrationBody, right: str) -> tuple[str, ...]:
    """The globs that a declaration asks for. An agent that names no workflows takes part in all, and starts runs of
    all. One that does not say what it controls controls the runs it takes part in."""
    if right == "supervisors":
        return (spec.supervisor,) if spec.supervisor else ()
    if right == "contracts":
        return ()
    globs = tuple(getattr(spec, right))
    if globs or right not in ("workflows", "starts", "controls"):
        return globs
    return declared(spec, "workflows") if right == "controls" else UNRESTRICTED


def holds(book: PartitionState, agent: str, right: str, name: str) -> bool:
    """Whether the agent's declaration allows it, where it has one, and it was granted, where that is required."""
    spec = book.agents.get(agent)
    if spec is not None:
        patterns: tuple[str, ...] = getattr(spec, right, ())
        if not allows(patterns or declared(spec, right), name):
            return False
    if not book.rights_required or reserved(agent):
        return True
    grant = book.grants.get(agent)
    return grant is not None and allows(getattr(grant, right), name)


def check(book: PartitionState, agent: str, right: str, doing: str, **named: str) -> None:
    """Returns when the agent may do it. ``right`` is the list of the declaration and the grant that is asked, ``named``
    the one thing it is asked about. Raises Refusal, which names the rule and what it allows."""
    (name,) = named.values()
    if holds(book, agent, right, name):
        return
    spec, grant = book.agents.get(agent), book.grants.get(agent)
    patterns = declared(spec, right) if spec is not None else ()
    if spec is not None and not allows(patterns, name):
        message = f"agent {agent!r} may not {doing} {name!r}: its {right} are {list(patterns)}"
    else:
        patterns = getattr(grant, right) if grant is not None else ()
        message = f"agent {agent!r} may not {doing} {name!r}: of {right} it was granted {list(patterns)}"
    raise Refusal("scope", message, rule=right, allowed=list(patterns), **named)


def takes_part(book: PartitionState, agent: str, workflow: str) -> bool:
    """Whether the agent takes part in runs of the workflow."""
    return holds(book, agent, "workflows", workflow)


def subscribers(book: PartitionState, name: str, workflow: str) -> Iterable[str]:
    """The agents that hear a message of this name in a run of this workflow, sorted by name."""
    return [
        agent
        for agent in sorted(book.agents)
        if holds(book, agent, "subscriptions", name) and takes_part(book, agent, workflow)
    ]


def supervisor_of(book: PartitionState, agent: str) -> str:
    """The receiver of the agent's failures; empty: the operator."""
    spec = book.agents.get(agent)
    supervisor = spec.supervisor if spec is not None else ""
    return supervisor if supervisor and holds(book, agent, "supervisors", supervisor) else ""


def budget_of(book: PartitionState, agent: str) -> int:
    """The agent's budget in one run, nano-USD; ``NO_LIMIT``: it has no budget of its own."""
    spec, grant = book.agents.get(agent), book.grants.get(agent)
    limits = [each.budget_nano_usd for each in (spec, grant) if each is not None]
    return min((limit for limit in limits if limit != NO_LIMIT), default=NO_LIMIT)
