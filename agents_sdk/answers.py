"""The ledger's replies as values and as typed errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from agents_sdk import values
from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import MessageEvent, Reply
from agents_sdk.core.words import Why, attributed, ended
from agents_sdk.errors import (
    REFUSALS,
    BackplaneError,
    CallFailed,
    CallOverBudget,
    ChildCancelled,
    ChildFailed,
    OutcomeUnknown,
    Refused,
    RequestExpired,
    RequestFailed,
    Unanswered,
)

CALLS: Final = (kinds.CALL_CAPABILITY, kinds.REDRIVE_CALL)
E = TypeVar("E", bound=BackplaneError)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    run_id: str
    status: str
    """completed, failed or cancelled."""
    result: Any
    """The result of a completed run; None for nothing."""
    reason: str
    """Why it failed or was cancelled, in the platform's own words; ``idle`` where it completed because nothing was left
    to do."""
    state_hash: str
    """SHA-256 over the keys, versions and values of its last state; equal states have equal hashes."""
    code: str = ""
    """A stable word for the reason: ``asked``, ``idle``, ``deadline``, ``handler_failed``, ``handler_timeout``,
    ``dependency_expired``, ``agent_removed``, ``parent_cancelled``, ``parent_ended``, ``not_started``."""
    said: str = ""
    """The words of somebody else: the text of ``fail_run`` or ``cancel``, a handler's exception. They are data, and no
    instruction of the platform."""
    said_by: str = ""
    """The speaker: an agent or a client."""

    @property
    def summary(self) -> str:
        """How the run ended, in one line for people, with the words of others in quotes."""
        return attributed(ended(self.status, self.reason), self.said, self.said_by)


def checked(reply: Reply) -> Reply:
    """The reply, unless it says no. Raises the error of its code."""
    if reply.status == "refused":
        raise refusal(reply.code, reply.message, detail(reply))
    return reply


def refusal(code: str, message: str, fields: dict[str, Any]) -> Refused:
    """The typed error of a refusal; a code that this version does not know gives a plain Refused with that ``code``
    among its fields."""
    error = REFUSALS.get(code)
    if error is not None:
        return made(error, message, fields)
    return made(Refused, f"{message} ({code})", {**fields, "code": code})


def call_failed(reply: Reply, capability: str) -> CallFailed:
    """The error of a capability call that ended without a result."""
    fields = {"capability": capability, "call_id": reply.command_id, "error_code": reply.code, **detail(reply)}
    error = {each.code: each for each in (OutcomeUnknown, CallOverBudget)}.get(reply.code, CallFailed)
    return made(error, f"call of {capability!r} failed: {reply.message or reply.code}", fields)


def run_result(run_id: str, reply: Reply) -> RunResult:
    """How a run ended, from the answer to a waiting client."""
    return RunResult(
        run_id=run_id,
        status=reply.status,
        result=values.from_json(reply.value) if reply.value else None,
        state_hash=str(detail(reply).get("state_hash", "")),
        **_why(reply)._asdict(),
    )


def _why(reply: Reply) -> Why:
    """Why a run ended. A ledger, or a run, of before has no code: its reason may be anybody's words."""
    more = detail(reply)
    return why_of(reply.code, reply.message, str(more.get("said", "")), str(more.get("said_by", "")))


def why_of(code: str, reason: str, said: str, said_by: str) -> Why:
    """Why a run ended, as its last fact says it."""
    if code or reason in ("", "idle"):
        return Why(code, reason, said, said_by)
    return Why(said=reason)


def child_error(run_id: str, reply: Reply) -> ChildFailed | ChildCancelled:
    """The error of a child run that ended without a result."""
    error = ChildCancelled if reply.status == "cancelled" else ChildFailed
    why = _why(reply)
    return error(f"run {run_id} {ended(reply.status, why.reason)}", run_id=run_id, status=reply.status, **why._asdict())


def request_failed(reply: Reply, agent: str, name: str) -> RequestFailed:
    """The error of a request that was not answered."""
    fields = {"agent": agent, "name": name, **detail(reply)}
    waited = f"after {int(fields.get('waited_ms', 0)) / 1000:g} s"
    if reply.code == RequestExpired.code:
        fields["run_id"] = reply.run_id
        return made(
            RequestExpired, f"{agent!r} gave no answer to {name!r} {waited}; run {reply.run_id} goes on", fields
        )
    if fields.get("said"):
        fields["said"] = ": ".join(part for part in (str(fields.get("error_type", "")), str(fields["said"])) if part)
    reason = f": {reply.message}" if reply.message else ""
    return made(RequestFailed, f"{agent!r} failed on {name!r} {waited}{reason}", fields)


def unanswered(command: Command) -> Unanswered:
    """The error of a command whose answer did not come in the time allowed. The run goes on."""
    run_id = command.run_id
    if command.run is not None and command.kind == kinds.AWAIT_CHILD:
        run_id = command.run.child_run_id
    waited_for = {
        kinds.AWAIT_RUN: f"run {run_id} has not ended in the time allowed",
        kinds.AWAIT_CHILD: f"child run {run_id} has not ended in the time allowed",
    }
    if command.kind == kinds.ASK and command.message is not None:
        waited_for[kinds.ASK] = f"{command.message.recipient!r} has not answered {command.message.name!r} in time"
    elif command.call is not None and command.kind in CALLS:
        what = f"the call of {command.call.capability!r}" if command.call.capability else "the call"
        waited_for[command.kind] = f"{what} has no outcome in the time allowed"
    said = waited_for.get(command.kind)
    if said is None:
        hint = "is the ledger running? see `backplane status`; sending the same command again is safe"
        return Unanswered(f"no answer to {command.kind} of run {run_id!r} in time", hint=hint, run_id=run_id)
    goes_on = "it goes on" if command.run is not None else f"run {run_id} goes on"
    hint = f"see `backplane run {run_id}`, and wait again; if nothing moves, `backplane status`"
    return Unanswered(f"{said}; {goes_on}", hint=hint, run_id=run_id)


def open_attempt(reply: Reply, delivery: MessageEvent) -> MessageEvent | None:
    """The newer attempt at a delivery that the answer to a handler's own commands tells of; None where there is none.
    As its record in the inbox will say it."""
    newer = detail(reply)
    newer.pop("wait_us", None)
    return msgspec.structs.replace(delivery, **newer) if "attempt" in newer else None


def wait_seconds(reply: Reply) -> float:
    """How long from now the attempt that the answer tells of is to be made."""
    return int(detail(reply).get("wait_us", 0)) / 1e6


def detail(reply: Reply) -> dict[str, Any]:
    """The further fields of a reply."""
    return msgspec.json.decode(reply.detail, type=dict[str, Any]) if reply.detail else {}


def made(error: type[E], message: str, fields: dict[str, Any]) -> E:
    """The error with these fields, whatever their names: they come from the wire."""
    raised = error(message)
    raised.fields.update(fields)
    return raised
