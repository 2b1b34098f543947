"""Goes on from a run that has ended, in a run of its own that names it.

The id of the new run, and of every command that makes it, derive from the ended run's. So a second resumption gets the
same new run, and a client that died on the way is finished by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from agents_sdk import values
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, DependencyBody, MessageBody, RunBody, StateBody
from agents_sdk.core.facts import RunEvent
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.rules import RULES
from agents_sdk.core.resumption import NotResumable, Resumption, resumption
from agents_sdk.errors import IdTaken, InvalidCommand, RunExists, RunFinished, UnknownRun
from agents_sdk.scope import Scope
from agents_sdk.topics import DEPENDENCIES, MESSAGES, RUNS, STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents_sdk.transport import Transport

FACTS_BEHIND_S: Final = 3.0
"""The longest wait for the end of a run that seems to go on: its facts may lag its starter's knowledge."""
IDS_TRIED: Final = 16
AT_ONCE: Final = 200
"""Commands on their way at a time."""


def resumed_as(run_id: str, taken: int = 0) -> str:
    """The id of the run that goes on from this one; ``taken``: how many such ids other runs have."""
    return ids.derive(run_id, f"resumed/{taken}" if taken else "resumed")


async def resume(
    transport: Transport, scope_of: Callable[[str], Scope], run_id: str, budget: str | None = None
) -> Scope:
    """Starts the run that goes on from ``run_id``, or finds it; the scope of the new one. ``budget`` in place of what
    was left of the old one's. Raises UnknownRun, InvalidCommand (the run goes on or has completed), UnknownAgent,
    Unanswered, Unreachable."""
    plan = await asyncio.to_thread(_read, transport, run_id)
    if budget is not None:
        plan = msgspec.structs.replace(plan, budget_nano_usd=values.nano_usd("budget", budget))
    scope, ours = await _started(transport, scope_of, plan)
    if not ours:
        return scope  # the ids of all that follows are theirs
    waiting = list(commands(scope, plan))
    try:
        for at in range(0, len(waiting), AT_ONCE):
            sent = [scope.sent(command) for command in waiting[at : at + AT_ONCE]]
            for result in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
    except RunFinished:
        pass  # it was resumed before, and has ended since
    except InvalidCommand as refused:
        if refused.fields.get("field") != "kind":
            raise
        # all of it was there: it was resumed before, and goes on
    return scope


async def _started(transport: Transport, scope_of: Callable[[str], Scope], plan: Resumption) -> tuple[Scope, bool]:
    """The scope of the new run, and whether this client started it. Anybody who may start runs may give one of them the
    id that follows from the ended run's. One that does not go on from it is passed over. Raises RunExists."""
    for taken in range(IDS_TRIED):
        scope = scope_of(resumed_as(plan.run_id, taken))
        key = transport.signer.keys.get(scope.agent)
        scope.ids_key = key.ids if key is not None else b""
        try:
            await scope.sent(_start(scope, plan))
        except (IdTaken, RunExists):
            if await asyncio.to_thread(_resumes, transport, scope.run_id) == plan.run_id:
                return scope, False
        else:
            return scope, True
    raise RunExists(f"runs of other kinds have the ids that run {plan.run_id} would be resumed under")


def _resumes(transport: Transport, run_id: str) -> str:
    """Which run a run goes on from; empty: none."""
    from agents_sdk.history import read_run

    facts = read_run(transport.settings, transport.codec, run_id, (RUNS,), until_ended_s=0.0)
    if not facts:
        facts = read_run(transport.settings, transport.codec, run_id, (RUNS,), until_ended_s=FACTS_BEHIND_S)
    return next(
        (fact.resumed_from for fact in facts if isinstance(fact, RunEvent) and fact.kind == kinds.RUN_STARTED), ""
    )


def _read(transport: Transport, run_id: str) -> Resumption:
    from agents_sdk.history import read_run

    topics = (RUNS, STATE, MESSAGES, DEPENDENCIES)
    facts = read_run(transport.settings, transport.codec, run_id, topics, until_ended_s=0.0)
    if facts and not any(fact.kind.startswith("Run") and fact.kind != kinds.RUN_STARTED for fact in facts):
        facts = read_run(transport.settings, transport.codec, run_id, topics, until_ended_s=FACTS_BEHIND_S)
    if not facts:
        raise UnknownRun(f"no run {run_id!r} is on record", run_id=run_id)
    try:
        return resumption(facts)
    except NotResumable as problem:
        raise InvalidCommand(str(problem), field="run_id", run_id=run_id) from problem


def _start(scope: Scope, plan: Resumption) -> Command:
    body = RunBody(
        workflow=plan.workflow,
        input=plan.input,
        complete_when=plan.complete_when,
        deadline_ms=plan.deadline_ms,
        budget_nano_usd=plan.budget_nano_usd,
        rules=RULES,
        resumed_from=plan.run_id,
        completed=plan.completed,
        published=plan.published,
    )
    # of the run's id alone: a second resumption learns of the first one, by its own command
    start = scope.command(kinds.START_RUN, body, ids.derive(scope.run_id, "start"))
    return msgspec.structs.replace(start, causation_id=plan.ended)


def commands(scope: Scope, plan: Resumption) -> Iterator[Command]:
    """The commands that make the new run go on, in order: state, messages, waiters, and that this is all."""
    for number, kept in enumerate(plan.state):
        state = StateBody(key=kept.key, value=kept.value, version=kept.version, ttl_ms=kept.ttl_ms)
        yield _command(scope, kinds.RESTORE_STATE, state, f"state/{number}", plan.ended)
    for message in plan.messages:
        sent = MessageBody(
            name=message.name,
            recipient=message.recipient,
            data=message.data,
            sender=message.sender,
            dead_delivery_id=message.delivery_id,
        )
        yield _command(scope, kinds.RESEND, sent, f"message/{message.delivery_id}", message.event_id)
    for one in plan.dependencies:
        fields = {name: getattr(one, name) for name in DependencyBody.__struct_fields__}
        yield _command(
            scope, kinds.DECLARE_DEPENDENCY, DependencyBody(**fields), f"dependency/{one.dependency_id}", plan.ended
        )
    yield _command(scope, kinds.RESUME_RUN, RunBody(resumed_from=plan.run_id), "resume", plan.ended)


def _command(
    scope: Scope, kind: CommandKind, body: RunBody | StateBody | DependencyBody | MessageBody, name: str, cause: str
) -> Command:
    made = scope.command(kind, body, scope.id_of(scope.run_id, name))
    return msgspec.structs.replace(made, causation_id=cause)
