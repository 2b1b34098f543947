"""Deciders of the capability calls: intent, attempts, outcome. Pure; see ``decide`` for the law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agents_sdk.core import artifacts, kinds
from agents_sdk.core.commands import AttemptBody, CallBody, Command, OutcomeBody
from agents_sdk.core.facts import AttemptEvent, CallEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.ids import CallId
from agents_sdk.core.ledger import budgets, failed_calls, payloads, reports, room
from agents_sdk.core.ledger.dead_letters import REDRIVE_LIMIT
from agents_sdk.core.ledger.references import check_artifacts, check_supervisor
from agents_sdk.core.ledger.rules import apart, check, supervisor_of
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Call, EndedRun, PartitionState, Run
from agents_sdk.core.words import Why

CAPABILITY_LIMIT = 200
"""Characters."""


def request(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """CallCapability → CallRequested, the intent that executors act on."""
    body = command.call
    assert body is not None
    if not 0 < len(body.capability) <= CAPABILITY_LIMIT:
        message = f"a capability's name has 1 to {CAPABILITY_LIMIT} characters, not {len(body.capability)}"
        raise Refusal("invalid_command", message, field="capability")
    check(book, command.agent, "capabilities", "call", capability=body.capability)
    if body.config:
        failed_calls.check_fallbacks(book, command, body)
    if body.redrives > REDRIVE_LIMIT:
        raise _redriven_too_often(body.redrives - 1)
    again = run.failed_calls.get(body.dead_call_id)
    if again is not None:
        _check_again(book, command, again)
    ask(book, run, command, body, scribe, redrive_of=body.dead_call_id, redrives=max(body.redrives, 0))
    if again is not None:
        _write_redriven(command, body.dead_call_id, again, max(body.redrives, 0), scribe)


def _redriven_too_often(redrives: int) -> Refusal:
    message = f"the call was redriven {redrives} times and failed each time; mend what it dies of"
    return Refusal("invalid_command", message, field="dead_call_id", redrives=redrives)


def ask(book: PartitionState, run: Run, command: Command, body: CallBody, scribe: FactBuilder, **more: Any) -> None:
    """CallRequested, for a call or its redrive; ``more`` are further fields of the fact. A caller that makes the
    attempts itself does not wait for the outcome, but says it and is answered."""
    room.check_open(run, 1)
    scribe.write(
        CallEvent,
        kinds.CALL_REQUESTED,
        call_id=CallId(command.command_id),
        capability=body.capability,
        params=body.params or "{}",
        timeout_ms=max(body.timeout_ms, 0),
        budget_nano_usd=budgets.for_call(book, run, command.agent, body.capability, body.budget_nano_usd),
        config=body.config,
        artifacts=artifacts.named(body.params),
        reply_to="" if body.local else command.reply_to,
        reply_partition=0 if body.local else command.reply_partition,
        local=body.local,
        **more,
    )


def redrive(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """RedriveCall → the repeated call, as CallRequested that names the one it repeats, and CallRedriven that names
    it."""
    body = command.call
    assert body is not None
    dead = run.failed_calls.get(body.dead_call_id)
    if dead is None:
        message = f"the run has no failed call {body.dead_call_id!r}, or it was redriven"
        raise Refusal("invalid_command", message, field="dead_call_id")
    if book.rights_required:
        check_supervisor(book, run, command, dead.agent)
        check(book, command.agent, "capabilities", "call", capability=dead.capability)
        check_artifacts(book, run, command, dead.params, bare=True)
    elif command.agent in book.agents and command.agent != supervisor_of(book, dead.agent):
        message = f"agent {command.agent!r} is not the supervisor of {dead.agent!r}"
        raise Refusal("scope", message, rule="supervisor")
    _check_known(dead)
    if dead.redrives >= REDRIVE_LIMIT:
        raise _redriven_too_often(dead.redrives)
    again = CallBody(capability=dead.capability, params=dead.params, config=dead.config, timeout_ms=dead.timeout_ms)
    ask(book, run, command, again, scribe, redrive_of=body.dead_call_id, redrives=dead.redrives + 1)
    _write_redriven(command, body.dead_call_id, dead, dead.redrives + 1, scribe)


def _check_again(book: PartitionState, command: Command, dead: Call) -> None:
    """The caller of a call may ask again when it failed. Where rights are granted, who controls the run may too, which
    the table of references has checked by then. Raises Refusal."""
    if not book.rights_required and command.agent in book.agents and command.agent != dead.agent:
        raise Refusal("scope", f"the failed call is {dead.agent!r}'s, not {command.agent!r}'s", rule="asker")
    _check_known(dead)


def _check_known(dead: Call) -> None:
    if dead.cause == failed_calls.OUTCOME_UNKNOWN:
        message = "whether its effect happened is not known; look, and call anew if it did not"
        raise Refusal("invalid_command", message, field="dead_call_id", cause=dead.cause)


def _write_redriven(command: Command, call_id: CallId, dead: Call, redrives: int, scribe: FactBuilder) -> None:
    scribe.write(
        CallEvent,
        kinds.CALL_REDRIVEN,
        call_id=call_id,
        capability=dead.capability,
        redriven_as=CallId(command.command_id),
        redrives=redrives,
    )


def await_again(command: Command, call: Call, scribe: FactBuilder) -> None:
    """The caller came back from another address: note where the outcome has to go now."""
    scribe.write(
        CallEvent,
        kinds.CALL_AWAITED,
        call_id=CallId(command.command_id),
        capability=call.capability,
        reply_to=command.reply_to,
        reply_partition=command.reply_partition,
    )


def _open_call(run: Run, call_id: CallId) -> Call:
    call = run.calls.get(call_id)
    if call is None:
        raise Refusal("unknown_call", f"the run has no call {call_id!r}", call_id=call_id)
    if call.settled:
        raise Refusal("call_settled", f"call {call_id} has its outcome already", call_id=call_id)
    return call


def is_callers(call: Call, command: Command) -> bool:
    """Whether who asks for the call with this command is to make its attempts."""
    return bool(call.local) and not call.settled and command.call is not None and command.call.local


def own_report(run: Run, command: Command) -> bool:
    """Whether the command reports on a call by its own caller, which makes the attempts itself. Claims are not among
    them: nothing unsafe is done in an agent's process."""
    about = [body.call_id for body in (command.attempt, command.outcome) if body is not None]
    call = run.calls.get(about[0]) if about and command.kind != kinds.START_ATTEMPT else None
    return call is not None and bool(call.local) and call.agent == command.agent and len(set(about)) == 1


def start_attempt(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """StartAttempt → AttemptStarted: the claim before an unsafe effect; an attempt is claimed once."""
    body = command.attempt
    assert body is not None
    call = _open_call(run, body.call_id)
    holder = call.started.get(body.attempt)
    if holder is not None:
        raise Refusal(
            "attempt_taken",
            f"attempt {body.attempt} of call {body.call_id} was started by {holder}",
            call_id=body.call_id,
            executor=holder,
            started_at=call.claimed_at.get(body.attempt, 0),
            asked=call.claimed_for.get(body.attempt, ""),
            **_held_for(call, body, scribe.at),
        )
    scribe.write(
        AttemptEvent,
        kinds.ATTEMPT_STARTED,
        call_id=body.call_id,
        attempt=body.attempt,
        capability=body.capability or call.capability,
        provider=body.provider,
        model=body.model,
        started_at=body.started_at,
        executor=body.executor,
        manifest_version=body.manifest_version,
        assignment=body.assignment,
        lease_ms=body.lease_ms if body.assignment else 0,
        fencing_token=call.fencing_token + 1 if body.assignment else 0,
    )


def _held_for(call: Call, body: AttemptBody, at: int) -> dict[str, int]:
    """The holder of an attempt, for executors that name their assignment: the incarnation, and how long its effect may
    still happen. Both times are the broker's, so that no clock of an executor counts."""
    if not body.assignment:
        return {}
    until = call.leased_until.get(body.attempt)
    return {
        "assignment": call.claimed_in.get(body.attempt, 0),
        "fencing_token": call.fencing_token,
        **({"lease_us": max(until - at, 0)} if until is not None else {}),
    }


def _fenced(call: Call | None, body: OutcomeBody) -> bool:
    """Whether somebody else has claimed the call since the sender's last claim was granted: that one says the end."""
    return call is not None and 0 < body.fencing_token < call.fencing_token


def _check_token(call: Call, body: OutcomeBody) -> None:
    if _fenced(call, body):
        newest = max(call.started, default=0)
        raise Refusal(
            "attempt_taken",
            f"call {body.call_id} was claimed again, by {call.started.get(newest, '')}, after the sender's last claim",
            call_id=body.call_id,
            executor=call.started.get(newest, ""),
            fencing_token=call.fencing_token,
        )


def record_attempt(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """RecordAttempt → AttemptSucceeded or AttemptFailed. An attempt that ended after the call was settled, or even
    forgotten with its handler, is recorded all the same. It cost what it cost, once."""
    body = command.attempt
    assert body is not None
    if attempt_key(body) in run.attempted:
        return
    call = run.calls.get(body.call_id)
    capability = body.capability or (call.capability if call else "")
    if not capability:
        raise Refusal("unknown_call", f"the run has no call {body.call_id!r}", call_id=body.call_id)
    _write_attempt(body, capability, scribe)


def record_late(finished: EndedRun, command: Command, scribe: FactBuilder) -> None:
    """An attempt in a run that has ended meanwhile: recorded, since it was paid for."""
    body = command.attempt
    assert body is not None
    if attempt_key(body) not in finished.attempted:
        _write_attempt(body, body.capability, scribe)


def attempt_key(attempt: AttemptBody | AttemptEvent) -> str:
    """By this an attempt is paid for once, whichever commands report it and however late."""
    return f"{attempt.call_id}/{attempt.attempt}"


def with_attempt(
    settle: Callable[[PartitionState, Run, Command, FactBuilder], None],
) -> Callable[[PartitionState, Run, Command, FactBuilder], None]:
    """The decider of an outcome that may bring the attempt which led to it. It is one command instead of two for a call
    that is answered at once, as most are. The attempt counts where the outcome comes too late."""

    def decide(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
        if command.attempt is None:
            settle(book, run, command, scribe)
            return
        record_attempt(book, run, command, scribe)
        assert command.outcome is not None
        call = run.calls.get(command.outcome.call_id)
        may_settle = call is not None and not call.settled and not _fenced(call, command.outcome)
        if may_settle or not scribe.facts:
            settle(book, run, command, scribe)

    return decide


def _write_attempt(body: AttemptBody, capability: str, scribe: FactBuilder) -> None:
    fields = msgspec.structs.asdict(body)
    fields["capability"] = capability
    fields["error_message"] = body.error_message[:TEXT_LIMIT]
    scribe.write(AttemptEvent, kinds.ATTEMPT_FAILED if body.error_class else kinds.ATTEMPT_SUCCEEDED, **fields)


def complete(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """CompleteCall → CallCompleted, or CallFailed where the result cannot be recorded. A refusal would reach only the
    executor, which has nothing else to say, and leave the caller waiting."""
    body = command.outcome
    assert body is not None
    call = _open_call(run, body.call_id)
    _check_token(call, body)
    try:
        payloads.check(book.limits, "result", body.result)
    except Refusal as unusable:
        code = "oversize" if unusable.code == "oversize" else "invalid_result"
        _write_failed(book, run, command, call, scribe, ("unknown", code), Why(reason=unusable.message))
        return
    scribe.write(
        CallEvent,
        kinds.CALL_COMPLETED,
        call_id=body.call_id,
        capability=call.capability,
        result=body.result,
        provider=body.provider,
        degraded=body.degraded,
        cached=body.cached,
        attempts=body.attempts,
        cost_nano_usd=body.cost_nano_usd,
        latency_us=body.latency_us,
        **_story(book, run, command, body),
        manifest_version=body.manifest_version,
        artifacts=artifacts.named(body.result),
        local=command.agent != EXECUTOR,
    )


def fail(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """FailCall → CallFailed."""
    body = command.outcome
    assert body is not None
    call = _open_call(run, body.call_id)
    _check_token(call, body)
    error_class, error_code = body.error_class or "unknown", body.error_code or "call_failed"
    why = _words(run, command, body, "failed")
    _write_failed(book, run, command, call, scribe, (error_class, error_code), why)


def _words(run: Run, command: Command, body: OutcomeBody, verb: str) -> Why:
    """The platform's words of an outcome, and those of others: all that an agent tells of its own call is its own."""
    if command.agent == EXECUTOR:
        return Why(reason=body.error_message, said=body.said, said_by=body.said_by)
    if not apart(run):
        return Why(reason=body.error_message)
    said = ": ".join(text for text in (body.error_message, body.said) if text)
    reason = f"its caller {command.agent!r}, who made it, says that it {verb}"
    return Why(reason=reason, said=said, said_by=command.agent if said else "")


def _words_of_agent(book: PartitionState, command: Command) -> bool:
    """Whether an agent tells of a call that it made itself: its words are brought to the platform's form."""
    return book.rights_required and command.agent != EXECUTOR


def _story(book: PartitionState, run: Run, command: Command, body: OutcomeBody) -> dict[str, Any]:
    """The thing that a result replaces, or came of: empty where all went well. An executor of before says why a result
    is degraded, but has no report; its facts stay what they were."""
    if not body.report:
        return {}
    why = _words(run, command, body, "did not go well")
    told = {"error_message": why.reason[:TEXT_LIMIT], "said": why.said[:TEXT_LIMIT], "said_by": why.said_by}
    if _words_of_agent(book, command):
        error_class = reports.class_of_agent(body.error_class) if body.error_class else ""
        return {
            "error_class": error_class,
            "error_code": reports.code_of_agent(body.error_code) if body.error_code else "",
            **told,
            "report": reports.of_agent(body.report, command.agent, ""),
        }
    return {
        "error_class": body.error_class,
        "error_code": body.error_code,
        **told,
        "report": failed_calls.report_of(book.limits, body.report),
    }


def _write_failed(
    book: PartitionState,
    run: Run,
    command: Command,
    call: Call,
    scribe: FactBuilder,
    error: tuple[str, str],
    why: Why,
) -> None:
    body = command.outcome
    assert body is not None
    error_class, error_code = error
    report = failed_calls.report_of(book.limits, body.report)
    if _words_of_agent(book, command):
        error_class, error_code = reports.class_of_agent(error_class), reports.code_of_agent(error_code)
        cause = failed_calls.cause_of(error_class, error_code)
        report = reports.of_agent(report, command.agent, cause) if report else ""
    failed = scribe.write(
        CallEvent,
        kinds.CALL_FAILED,
        call_id=body.call_id,
        capability=call.capability,
        provider=body.provider,
        attempts=body.attempts,
        cost_nano_usd=body.cost_nano_usd,
        latency_us=body.latency_us,
        manifest_version=body.manifest_version,
        error_class=error_class,
        error_code=error_code,
        error_message=why.reason[:TEXT_LIMIT],
        said=why.said[:TEXT_LIMIT],
        said_by=why.said_by,
        budget_nano_usd=call.budget,
        asked_nano_usd=max(body.asked_nano_usd, 0),
        report=report,
        local=command.agent != EXECUTOR,
        **(failed_calls.kept(call) if body.report else {}),
    )
    if body.report:
        failed_calls.tell(book, run, call, failed, scribe)
