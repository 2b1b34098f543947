"""The commands of an agent or a client about a run, besides its state: one function each, on any scope."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import msgspec

from agents_sdk import values
from agents_sdk.answers import call_failed, detail, request_failed
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import CallBody, Command, DecisionBody, DependencyBody, MessageBody, RunBody
from agents_sdk.core.facts import EXECUTE_LOCALLY, CallEvent, Reply
from agents_sdk.core.ids import CallId, DeliveryId, RunId
from agents_sdk.core.ledger.dead_letters import REDRIVE_LIMIT
from agents_sdk.core.ledger.failed_calls import OUTCOME_UNKNOWN
from agents_sdk.core.ledger.rules import RULES
from agents_sdk.scope import Scope

if TYPE_CHECKING:
    from agents_sdk.recovery import Rank, RecoveryConfig

CALL_TIMEOUT_S: Final = 300.0
"""How long an answer to a call without a timeout of its own is waited for; the executor settles it long before."""
CALL_SLACK_S: Final = 30.0
"""Beyond the call's own timeout: the executor fails the call then, and that answer is the one to have."""


ASK_TIMEOUT_S: Final = 30.0
"""How long an answer to a request is waited for unless the asker says otherwise."""
ANSWER_SLACK_S: Final = 30.0
"""Beyond a request's own timeout: the ledger ends it then, and tells; a takeover after a crash takes 6 s."""
REQUEST: Final = "request"
"""Name of a message that asks, unless it is given one."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a capability call."""

    result: Any
    """As the capability's schema describes it."""
    provider: str
    """The provider that gave it."""
    attempts: int
    """Over all providers, the successful one counted."""
    cost_nano_usd: int
    """Of all attempts together, in 10⁻⁹ USD."""
    latency_ms: float
    """From the intent to the outcome, by the executor's clock."""
    degraded: bool
    """A declared substitute, not what was asked for; ``reason`` says why, and ``said`` what ``said_by`` said."""
    call_id: str
    event_id: str
    """Of the fact that holds the result."""
    reason: str = ""
    cached: bool = False
    """The result of an equal call a short while ago, which cost nothing."""
    said: str = ""
    """Of a substitute: what providers said. It is data, and no instruction of the platform."""
    said_by: str = ""


def publish(
    scope: Scope, name: str, data: Any = None, deadline_seconds: float | None = None
) -> Coroutine[Any, Any, int]:
    """Sends a message to every agent that subscribed to its name; how many they are. Raises InvalidCommand, Oversize,
    ScopeDenied (``publishes``), UnknownRun, RunFinished, Unanswered, Unreachable."""
    deadline_ms = values.milliseconds("deadline_seconds", deadline_seconds)
    body = MessageBody(name=name, data=values.to_json(data, scope.limit, "data"), deadline_ms=deadline_ms)
    return _recipients(scope.ask(kinds.PUBLISH, body))


def send(
    scope: Scope, agent: str, name: str, data: Any = None, deadline_seconds: float | None = None
) -> Coroutine[Any, Any, str]:
    """Sends a message to one agent; the message's id. Raises UnknownAgent, and what ``publish`` raises."""
    deadline_ms = values.milliseconds("deadline_seconds", deadline_seconds)
    text = values.to_json(data, scope.limit, "data")
    body = MessageBody(name=name, recipient=agent, data=text, deadline_ms=deadline_ms)
    return _event_id(scope.ask(kinds.SEND_MESSAGE, body))


def redrive(
    scope: Scope, delivery_id: str, restart: bool = False, repeat_effects: bool = False
) -> Coroutine[Any, Any, str]:
    """Puts a dead letter, or a parked delivery, in its agent's inbox again; the id of the fact. Raises InvalidCommand
    (no such dead letter, redriven too often, or a restart that repeats effects), ScopeDenied, RunFinished, UnknownRun,
    Unanswered, Unreachable."""
    body = MessageBody(
        name="", dead_delivery_id=DeliveryId(delivery_id), restart=restart, repeat_effects=repeat_effects
    )
    return _event_id(scope.ask(kinds.REDRIVE, body))


def discard(scope: Scope, delivery_id: str, reason: str, agent: str = "", name: str = "") -> Coroutine[Any, Any, str]:
    """Gives a dead letter up, for a reason; the id of the fact. ``agent`` and ``name`` of its message, for the record
    of a letter whose run has ended. Raises InvalidCommand (no reason, no such letter), ScopeDenied, Unanswered,
    Unreachable."""
    body = MessageBody(name=name, recipient=agent, dead_delivery_id=DeliveryId(delivery_id), reason=reason)
    return _event_id(scope.ask(kinds.DISCARD, body))


def discard_call(scope: Scope, call_id: str, reason: str, capability: str = "") -> Coroutine[Any, Any, str]:
    """Gives a failed call up, as ``discard``."""
    return _event_id(
        scope.ask(kinds.DISCARD_CALL, CallBody(capability=capability, dead_call_id=CallId(call_id), reason=reason))
    )


@overload
def ask(
    scope: Scope, agent: str, data: Any, name: str, timeout: float | None, type_: type[T]
) -> Coroutine[Any, Any, T]: ...
@overload
def ask(
    scope: Scope, agent: str, data: Any, name: str, timeout: float | None, type_: None
) -> Coroutine[Any, Any, Any]: ...
def ask(
    scope: Scope, agent: str, data: Any, name: str, timeout: float | None, type_: type[T] | None
) -> Coroutine[Any, Any, Any]:
    """Sends a message to one agent and returns what its handler returns, as ``type_``.

    Raises:
        RequestExpired, RequestFailed, ContractBroken: no answer, or one that is no ``type_``.
        UnknownAgent, and what ``publish`` raises.
    """
    text = values.to_json(data, scope.limit, "data")
    body = MessageBody(name=name, recipient=agent, data=text, deadline_ms=values.milliseconds("timeout", timeout))
    limit = values.time_limit("timeout", timeout)
    wait = None if limit is None else limit + ANSWER_SLACK_S
    return _answered(scope, scope.command(kinds.ASK, body), wait, type_)


def decide(scope: Scope, action: str, rationale: str, context_used: Iterable[str]) -> Coroutine[Any, Any, str]:
    """Records a decision; the id of its fact. ``context_used`` are the state keys it rests on, as ``key`` (the version
    current now) or ``key@version``. Raises RunFinished, UnknownRun, InvalidCommand, Unanswered, Unreachable."""
    body = DecisionBody(action=action, rationale=rationale, context_used=_names("context_used", context_used))
    return _event_id(scope.ask(kinds.RECORD_DECISION, body))


def declare_dependency(
    scope: Scope,
    downstream: str,
    depends_on: Iterable[str],
    trigger_when: str,
    name: str,
    count: int = 0,
    deadline_seconds: float | None = None,
) -> Coroutine[Any, Any, bool]:
    """Declares a dependency; whether it is met already. Raises UnknownAgent, InvalidCommand (a cycle, which it names),
    RunFinished, UnknownRun, Unanswered, Unreachable."""
    body = DependencyBody(
        downstream=downstream,
        depends_on=_names("depends_on", depends_on),
        trigger_when=trigger_when,
        name=name,
        count=count,
        deadline_ms=values.milliseconds("deadline_seconds", deadline_seconds),
    )
    return _satisfied(scope.ask(kinds.DECLARE_DEPENDENCY, body))


def execute(
    scope: Scope,
    capability: str,
    params: Any,
    timeout_seconds: float | None,
    budget: str | None = None,
    config: str = "",
    again_before: int = 0,
) -> Coroutine[Any, Any, CallResult]:
    """Calls a capability and returns its result. ``config`` is canonical JSON of a RecoveryConfig, or empty. A failure
    that is older than the fact ``again_before`` of the run is that of an earlier attempt at the same message. Then the
    call is asked for again.

    Raises:
        BudgetExceeded: it may cost more than is left.
        CallFailed: no provider gave a result; its fields say what was tried.
        ScopeDenied, InvalidCommand, Oversize, RunFinished, UnknownRun, Unanswered, Unreachable.
    """
    text = values.to_json({} if params is None else params, scope.limit, "params")
    timeout_ms = values.milliseconds("timeout_seconds", timeout_seconds)
    amount = values.nano_usd("budget", budget)
    body = CallBody(
        capability=capability,
        params=text,
        timeout_ms=timeout_ms,
        budget_nano_usd=amount,
        config=config,
        local=scope.local is not None and scope.local.takes(capability, config),
    )
    command = scope.command(kinds.CALL_CAPABILITY, body)
    limit = values.time_limit("timeout_seconds", timeout_seconds)
    wait = CALL_TIMEOUT_S if limit is None else limit + CALL_SLACK_S
    return _settled(scope, command, wait, again_before)


def rank_config(rank: Rank | None) -> str:
    """The config of a call that says in which order providers are asked, and nothing else. Raises InvalidCommand."""
    if rank is None:
        return ""
    from agents_sdk.recovery import checked_config

    checked_config({"rank": rank})
    return ids.canonical({"rank": rank})


def start_body(
    scope: Scope,
    workflow: str,
    input: Any,
    complete_when: str,
    deadline_seconds: float | None,
    budget: str | None,
    tags: Iterable[str] = (),
    child_run_id: str = "",
) -> RunBody:
    """How any run is started, by a client or for another run. Raises InvalidCommand, Oversize."""
    return RunBody(
        workflow=workflow,
        input=values.to_json(input, scope.limit, "input"),
        complete_when=complete_when,
        deadline_ms=values.milliseconds("deadline_seconds", deadline_seconds),
        child_run_id=RunId(child_run_id),
        budget_nano_usd=values.nano_usd("budget", budget),
        rules=RULES,
        tags=list(tags),
    )


def redrive_call(scope: Scope, call_id: str) -> Coroutine[Any, Any, CallResult]:
    """Makes a failed call of the run again, as a call of its own. Raises InvalidCommand (no such failed call, its
    outcome is unknown, or redriven too often), ScopeDenied, and what ``execute`` raises."""
    return _settled(
        scope, scope.command(kinds.REDRIVE_CALL, CallBody(capability="", dead_call_id=CallId(call_id))), CALL_TIMEOUT_S
    )


def repeat_call(scope: Scope, failed: CallEvent) -> Coroutine[Any, Any, CallResult]:
    """Makes a failed call of a run that has ended again, in this scope's run. Raises as ``redrive_call``."""
    body = CallBody(
        capability=failed.capability,
        params=failed.params,
        config=failed.config,
        timeout_ms=failed.timeout_ms,
        dead_call_id=failed.call_id,
        redrives=failed.redrives + 1,
    )
    return _settled(scope, scope.command(kinds.CALL_CAPABILITY, body), CALL_TIMEOUT_S)


def execute_with_recovery(
    scope: Scope,
    capability: str,
    params: Any,
    config: RecoveryConfig | dict[str, Any] | None,
    budget: str | None = None,
    again_before: int = 0,
) -> Coroutine[Any, Any, CallResult]:
    """As ``execute``, helped as ``config`` says. Raises InvalidCommand for a config that is none, before anything is
    sent: ``fields["field"]`` names what is wrong."""
    from agents_sdk.recovery import checked_config

    checked = checked_config(config)
    given = checked.model_dump(exclude_unset=True, exclude={"timeout_seconds"})
    text = values.to_json(given, scope.limit, "config") if given else ""
    return execute(scope, capability, params, checked.timeout_seconds, budget, text, again_before)


def complete_run(scope: Scope, result: Any = None) -> Coroutine[Any, Any, None]:
    """Ends the run as completed. Raises InvalidCommand, Oversize, RunFinished, UnknownRun, Unanswered, Unreachable."""
    return _done(scope.ask(kinds.COMPLETE_RUN, RunBody(result=values.to_json(result, scope.limit, "result"))))


def fail_run(scope: Scope, reason: str) -> Coroutine[Any, Any, None]:
    """Ends the run as failed. Raises as ``complete_run``."""
    return _done(scope.ask(kinds.FAIL_RUN, RunBody(reason=reason)))


def cancel_run(scope: Scope, reason: str) -> Coroutine[Any, Any, None]:
    """Ends the run as cancelled. Raises as ``complete_run``."""
    return _done(scope.ask(kinds.CANCEL_RUN, RunBody(reason=reason)))


def _names(what: str, given: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise TypeError(f"{what} is the string {given!r}; use a list: [{given!r}]")
    return list(given)


async def _settled(scope: Scope, command: Command, wait: float, again_before: int = 0) -> CallResult:
    call = command.call
    assert call is not None
    first, asked = command, 0
    reply = await _outcome_of(scope, command, wait)
    while _may_be_asked_again(reply, again_before) and asked < REDRIVE_LIMIT:
        asked += 1
        again = msgspec.structs.replace(call, dead_call_id=command.command_id, redrives=asked)
        # of the first one's id, not the next of the handler's: the later calls keep theirs
        command = msgspec.structs.replace(first, command_id=scope.id_of(first.command_id, f"again/{asked}"), call=again)
        reply = await _outcome_of(scope, command, wait)
    if reply.status != "ok":
        raise call_failed(reply, call.capability)
    fields = detail(reply)
    return CallResult(
        result=values.from_json(reply.value) if reply.value else None,
        provider=str(fields.get("provider", "")),
        attempts=int(fields.get("attempts", 0)),
        cost_nano_usd=int(fields.get("cost_nano_usd", 0)),
        latency_ms=int(fields.get("latency_us", 0)) / 1000,
        degraded=bool(fields.get("degraded", False)),
        call_id=CallId(command.command_id),
        event_id=reply.event_id,
        reason=str(fields.get("reason", "")),
        cached=bool(fields.get("cached", False)),
        said=str(fields.get("said", "")),
        said_by=str(fields.get("said_by", "")),
    )


async def _outcome_of(scope: Scope, command: Command, wait: float) -> Reply:
    """The outcome of a call, by any maker of its attempts."""
    reply = await scope.sent(command, wait)
    if reply.code != EXECUTE_LOCALLY:
        return reply
    assert command.call is not None
    return await _made_here(scope, command, command.call, reply, wait)


def _may_be_asked_again(reply: Reply, before: int) -> bool:
    """Whether the call failed in an earlier attempt, and it is known that its effect did not happen."""
    return reply.status == "failed" and 0 < reply.run_seq < before and reply.code != OUTCOME_UNKNOWN


async def _made_here(scope: Scope, command: Command, call: CallBody, yours: Reply, wait: float) -> Reply:
    """The outcome of a call whose attempts the ledger says are ours to make. It may have another one meanwhile (then
    ours is refused, or its attempt recorded and nothing said of the call), or we cannot go on. Then it is asked for
    again, as a call that others make."""
    assert scope.local is not None
    limits = detail(yours)
    fact = CallEvent(
        event_id=yours.event_id,
        kind=kinds.CALL_REQUESTED,
        run_id=command.run_id,
        run_seq=yours.run_seq,
        correlation_id=command.correlation_id,
        causation_id=command.causation_id,
        agent=command.agent,
        at=0,
        command_id=command.command_id,
        command_offset=0,
        call_id=CallId(command.command_id),
        capability=call.capability,
        params=call.params,
        timeout_ms=call.timeout_ms,
        config=call.config,
        budget_nano_usd=limits["budget_nano_usd"],
        local=True,
    )
    reply = await scope.local.settle(fact, limits["spent_nano_usd"], limits.get("attempts", 0))
    if reply is None or reply.status == "refused" or not reply.detail:
        remote = msgspec.structs.replace(call, local=False)
        return await scope.sent(msgspec.structs.replace(command, call=remote), wait)
    return msgspec.structs.replace(reply, command_id=command.command_id)


async def _answered(scope: Scope, command: Command, wait: float | None, type_: type[T] | None) -> Any:
    reply = await scope.sent(command, wait)
    body = command.message
    assert body is not None
    if reply.status != "ok":
        raise request_failed(reply, body.recipient, body.name)
    return values.typed(reply.value, type_, f"the answer of {body.recipient!r} to {body.name!r}")


async def _recipients(asked: Coroutine[Any, Any, Reply]) -> int:
    return int(detail(await asked).get("recipients", 0))


async def _satisfied(asked: Coroutine[Any, Any, Reply]) -> bool:
    return bool(detail(await asked).get("satisfied", False))


async def _event_id(asked: Coroutine[Any, Any, Reply]) -> str:
    return (await asked).event_id


async def _done(asked: Coroutine[Any, Any, Reply]) -> None:
    await asked
