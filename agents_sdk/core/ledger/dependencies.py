"""Dependencies: an agent that waits for others, for events and for state keys. Pure; see ``decide`` for the law.

A term names the awaited thing. It is ``researcher`` (the agent has completed its work in the run) or
``event:search.completed`` (a message of that name was published). Or it is ``state:findings`` (the key has a value). A
dependency is met by one fact, and its trigger is written after that fact, in the same transaction. So it happens once,
and the triggered agent finds all that it waited for.
"""

from __future__ import annotations

from typing import Any, Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, DependencyBody
from agents_sdk.core.facts import DependencyEvent, Fact, MessageEvent, StateEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ledger import dead_letters, room, timers
from agents_sdk.core.ledger.agents import absent
from agents_sdk.core.ledger.deliveries import EXPIRED, checked_name, deliver, known_agent
from agents_sdk.core.ledger.ending import end
from agents_sdk.core.ledger.reports import WORDS_OF
from agents_sdk.core.ledger.rules import apart, check
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Dependency, PartitionState, Run, current, work_done
from agents_sdk.core.words import Why, quoted

MET: Final = "dependency.satisfied"
EVENT: Final = "event:"
STATE: Final = "state:"
TRIGGER_WHEN: Final = ("all_completed", "any_completed", "n_completed")


def declare(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """DeclareDependency → DependencyDeclared, and at once DependencySatisfied where enough was met before."""
    body = command.dependency
    assert body is not None
    _check(book, body)
    room.check_dependency(run, body.depends_on)
    cycle = _cycle(run, body.downstream, body.depends_on)
    if cycle:
        raise Refusal("invalid_command", f"this closes a cycle: {' → '.join(cycle)}", field="depends_on", cycle=cycle)
    name = checked_name(body.name or MET)
    if name != MET:
        check(book, command.agent, "publishes", "have published", name=name)
    dependency = Dependency(
        downstream=body.downstream,
        depends_on=body.depends_on,
        name=name,
        trigger_when=body.trigger_when,
        count=body.count,
        agent=command.agent,
    )
    scribe.write(
        DependencyEvent,
        kinds.DEPENDENCY_DECLARED,
        dependency_id=command.command_id,
        downstream=body.downstream,
        depends_on=body.depends_on,
        trigger_when=body.trigger_when,
        name=dependency.name,
        count=body.count,
        deadline_at=timers.due_at(scribe.at, body.deadline_ms),
    )
    _satisfy_if_met(run, command.command_id, dependency, None, scribe)


def _check(book: PartitionState, body: DependencyBody) -> None:
    if body.trigger_when not in TRIGGER_WHEN:
        message = f"trigger_when is {body.trigger_when!r}; use one of {', '.join(TRIGGER_WHEN)}"
        raise Refusal("invalid_command", message, field="trigger_when")
    if not body.depends_on or len(set(body.depends_on)) != len(body.depends_on):
        raise Refusal("invalid_command", "depends_on needs at least one entry, each once", field="depends_on")
    counts = range(1, len(body.depends_on) + 1) if body.trigger_when == "n_completed" else range(1)
    if body.count not in counts:
        message = f"count is {body.count}; n_completed needs 1 to {len(body.depends_on)}, others go without"
        raise Refusal("invalid_command", message, field="count")
    known_agent(book, body.downstream)
    for term in body.depends_on:
        if term.startswith(EVENT):
            checked_name(term.removeprefix(EVENT))
        elif not term.startswith(STATE):
            known_agent(book, term)


def trigger(run: Run, scribe: FactBuilder) -> None:
    """Writes the triggers of the dependencies that the command's facts meet."""
    if not run.awaited or any(fact.kind in kinds.RUN_ENDS for fact in scribe.facts):
        return
    met: set[str] = set()
    for fact in tuple(scribe.facts):
        for dependency_id in run.awaited.get(_term_of(fact), ()):
            if dependency_id not in met and _satisfy_if_met(
                run, dependency_id, run.dependencies[dependency_id], fact, scribe
            ):
                met.add(dependency_id)


def _term_of(fact: Fact) -> str:
    """The terms that the fact may meet; empty for nothing."""
    match fact:
        case MessageEvent(kind=kinds.HANDLER_COMPLETED | kinds.MESSAGE_DEAD_LETTERED):
            return fact.recipient  # done with a dead letter as well, if it completed something and nothing is left
        case MessageEvent(kind=kinds.MESSAGE_PUBLISHED):
            return EVENT + fact.name
        case StateEvent(kind=kinds.STATE_WRITTEN):
            return STATE + fact.key
    return ""


def _met_by(run: Run, term: str, fact: Fact | None) -> str:
    """The event that met the term, ``fact`` being the one just written; empty while none has."""
    happened = fact.event_id if fact is not None and _term_of(fact) == term else ""
    if term.startswith(EVENT):
        return run.published.get(term.removeprefix(EVENT), happened)
    if term.startswith(STATE):
        newest = current(run, term.removeprefix(STATE))
        return happened or (newest.event_id if newest is not None and not newest.deleted else "")
    if not happened:
        return run.completed[term] if work_done(run, term) else ""
    if run.pending[term] > 1:
        return ""
    return happened if fact is not None and fact.kind == kinds.HANDLER_COMPLETED else run.completed.get(term, "")


def _satisfy_if_met(
    run: Run, dependency_id: str, dependency: Dependency, fact: Fact | None, scribe: FactBuilder
) -> bool:
    met = {term: event_id for term in dependency.depends_on if (event_id := _met_by(run, term, fact))}
    if len(met) < dependency.needed:
        return False
    satisfied = scribe.write(
        DependencyEvent,
        kinds.DEPENDENCY_SATISFIED,
        dependency_id=dependency_id,
        downstream=dependency.downstream,
        depends_on=dependency.depends_on,
        trigger_when=dependency.trigger_when,
        name=dependency.name,
        satisfied_by=list(met.values()),
        count=dependency.count,
    )
    which = {} if list(met) == dependency.depends_on else {"met": list(met)}
    data = ids.canonical({"depends_on": dependency.depends_on, **which})
    deliver(
        scribe, run.workflow, satisfied.event_id, dependency.name, LEDGER, dependency.downstream, data,
        origin=dependency.agent,
    )  # fmt: skip
    return True


def expire(book: PartitionState, run: Run, dependency_id: str, scribe: FactBuilder) -> None:
    """The deadline of a dependency has come: DependencyExpired, and the supervisor of the agent that waits in vain
    hears of it. Without one the run, whose work cannot go on, ends."""
    dependency = run.dependencies[dependency_id]
    met = {term: event_id for term in dependency.depends_on if (event_id := _met_by(run, term, None))}
    expired = scribe.write(
        DependencyEvent,
        kinds.DEPENDENCY_EXPIRED,
        dependency_id=dependency_id,
        downstream=dependency.downstream,
        depends_on=dependency.depends_on,
        trigger_when=dependency.trigger_when,
        name=dependency.name,
        satisfied_by=list(met.values()),
        count=dependency.count,
    )
    missing = [term for term in dependency.depends_on if term not in met]
    story: dict[str, Any] = {
        "agent": dependency.downstream,
        "cause": EXPIRED,
        "name": dependency.name,
        "dependency_id": dependency_id,
        "depends_on": dependency.depends_on,
        "missing": missing,
    }
    if scribe.marks or apart(run):
        story[WORDS_OF] = dict.fromkeys(("name", "depends_on", "missing"), dependency.agent)
    if dead_letters.escalate(book, run, expired.event_id, story, scribe) == dead_letters.OPERATOR:
        gone = [term for term in (dependency.downstream, *missing) if absent(book, term)]
        end(run, scribe, kinds.RUN_FAILED, why=_why(run, dependency, missing, gone, marks=scribe.marks))


def _why(run: Run, dependency: Dependency, missing: list[str], gone: list[str], *, marks: bool) -> Why:
    """Why a dependency that was not met ends the run. The names of its terms are its declarer's words."""
    late, waited = "the deadline of its dependency has passed", f"agent {dependency.downstream!r} waited in vain"
    if apart(run):
        why = f"{', '.join(map(repr, gone))} removed" if gone else late
        code = "agent_removed" if gone else "dependency_expired"
        return Why(code, f"{waited}: {why}", ", ".join(missing)[:TEXT_LIMIT], dependency.agent if missing else "")
    terms = ", ".join(map(quoted, missing)) if marks else ", ".join(missing)
    why = f"removed: {', '.join(gone)}" if gone else late
    return Why(reason=f"{waited} for {terms}: {why}")


def _cycle(run: Run, downstream: str, depends_on: list[str]) -> list[str]:
    """The agents on a cycle that the new edges would close, downstream first and last; empty for none. A loop, not a
    recursion: a chain of dependencies may be longer than Python's stack."""
    upstream: dict[str, set[str]] = {}
    for dependency in run.dependencies.values():
        upstream.setdefault(dependency.downstream, set()).update(dependency.depends_on)
    came_from = dict.fromkeys(sorted(depends_on), downstream)
    frontier = list(came_from)
    for agent in frontier:
        if agent == downstream:
            break
        for other in sorted(upstream.get(agent, ())):
            if other not in came_from:
                came_from[other] = agent
                frontier.append(other)
    if downstream not in came_from:
        return []
    path = [downstream, came_from[downstream]]
    while path[-1] != downstream:
        path.append(came_from[path[-1]])
    return path[::-1]
