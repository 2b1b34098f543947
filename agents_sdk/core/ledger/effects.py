"""Steps: a handler's own effects, on the record as calls of their caller. Pure; see ``decide`` for the law.

A safe step is one command, when it has ended: its intent, what its models used and its outcome are facts together.
An unsafe one is claimed first. When its process ends in between, whether the effect happened is not known. Then the
next attempt settles it: it says the outcome, or claims the effect again, once nobody else may still have it.

Laws: a step has one outcome, and gives it to each attempt. One claim of an unsafe step holds at a time. Another
attempt gets the next one when the time of the last is over, by the broker's clock.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import artifacts, bounds, ids, kinds
from agents_sdk.core.commands import AttemptBody, Command, EffectBody
from agents_sdk.core.facts import AttemptEvent, CallEvent
from agents_sdk.core.ids import CallId
from agents_sdk.core.ledger import failed_calls, room
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Answer, Call, PartitionState, Run
from agents_sdk.core.money import NO_LIMIT

SAFE, UNSAFE = "safe", "unsafe"
LOOK, CLAIM, END = "look", "claim", "end"
MODES: Final = (LOOK, CLAIM, END)
PREFIX: Final = "step:"
"""Of a step's name in the field ``capability``: no capability has it."""
USAGES_LIMIT: Final = 64
"""Answers of models that one step tells of."""
STEP_FAILED: Final = "step_failed"
CODES: Final = (STEP_FAILED, failed_calls.OUTCOME_UNKNOWN)
CLAIMS_LIMIT: Final = 100
"""Claims of one unsafe step."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The usage of one answer of a model, as a step tells it."""

    provider: str = ""
    model: str = ""
    prompt_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    tier: str = ""
    cost_nano_usd: int = 0
    price_id: str = ""
    latency_us: int = 0
    started_at: int = 0


def record(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """RecordStep → nothing (it is asked for); its claim; or the whole step."""
    body = command.effect
    assert body is not None
    _check(run, command, body)
    if body.mode == LOOK:
        return
    room.check_open(run, 1)
    call_id = CallId(command.command_id)
    if body.unsafe != (body.mode == CLAIM):
        raise Refusal("invalid_command", "an unsafe step is claimed first, and a safe one never", field="mode")
    scribe.write(
        CallEvent,
        kinds.CALL_REQUESTED,
        call_id=call_id,
        capability=PREFIX + body.name,
        params=body.params or "{}",
        artifacts=artifacts.named(body.params),
        budget_nano_usd=NO_LIMIT,
        local=True,
        effect=UNSAFE if body.unsafe else SAFE,
    )
    if body.mode == CLAIM:
        _write_claim(body, call_id, 1, scribe)
        return
    usages = _usages(body, call_id)
    _write_usages(usages, scribe)
    _write_end(body, call_id, usages, scribe)


def settle(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """SettleStep → the outcome of a claimed step, or its next claim."""
    body = command.effect
    assert body is not None
    _check(run, command, body)
    call = run.calls.get(body.call_id)
    if call is None or not call.effect or call.capability != PREFIX + body.name:
        raise Refusal("unknown_call", f"the run has no claimed step {body.call_id!r}", call_id=body.call_id)
    if call.agent != command.agent or call.delivery_id != command.delivery_id:
        message = f"the step is one of {call.agent!r}, in another delivery or agent than the sender's"
        raise Refusal("scope", message, rule="asker")
    if call.settled:
        raise Refusal("call_settled", f"step {body.call_id} has its outcome already", call_id=body.call_id)
    if body.mode == CLAIM:
        _check_claim(body, call, scribe.at)
        _write_claim(body, body.call_id, body.attempt, scribe)
        return
    newest = max(call.started, default=0)
    if body.holder != call.started.get(newest, ""):
        _check_over(body, call, newest, scribe.at)
    usages = _usages(body, body.call_id)
    _write_usages(usages, scribe)
    failed = _write_end(body, body.call_id, usages, scribe)
    if failed is not None and failed.report:
        failed_calls.tell(book, run, call, failed, scribe)


def settle_left(book: PartitionState, run: Run, scribe: FactBuilder) -> None:
    """A handler that has ended leaves a claimed step without an outcome: nobody will say it, so it is unknown."""
    if not run.open_calls or any(fact.kind in kinds.RUN_ENDS for fact in scribe.facts):
        return
    ended = [f for f in scribe.facts if f.kind in (kinds.HANDLER_COMPLETED, kinds.MESSAGE_DEAD_LETTERED)]
    for fact in ended:
        for command_id in run.issued.get(fact.delivery_id, ()):  # type: ignore[attr-defined]  # MessageEvents
            call = run.calls.get(CallId(command_id))
            if call is not None and call.effect and not call.settled:
                body = EffectBody(
                    name=call.capability.removeprefix(PREFIX),
                    mode=END,
                    error_code=failed_calls.OUTCOME_UNKNOWN,
                    unsafe=True,
                )
                failed = _write_end(body, CallId(command_id), [], scribe)
                assert failed is not None
                failed_calls.tell(book, run, call, failed, scribe)


def claimed(call: Call, at: int) -> Answer:
    """The answer about a step that is claimed and has no outcome yet: who holds it, and for how long."""
    newest = max(call.started, default=0)
    detail = {
        "attempt": newest,
        "holder": call.started.get(newest, ""),
        "lease_us": max(call.leased_until.get(newest, 0) - at, 0),
    }
    return Answer(code=CLAIM, detail=ids.canonical(detail))


def _check(run: Run, command: Command, body: EffectBody) -> None:
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None or delivery.recipient != command.agent:
        raise Refusal("invalid_command", "only the handler of a delivery has steps", field="delivery_id")
    if not body.name:
        raise Refusal("invalid_command", "the step has no name", field="name")
    allowed = MODES if command.kind == kinds.RECORD_STEP else MODES[1:]
    if body.mode not in allowed:
        raise Refusal("invalid_command", f"mode is one of {list(allowed)}, not {body.mode!r}", field="mode")
    if body.error_code and body.error_code not in CODES:
        raise Refusal("invalid_command", f"error_code is one of {list(CODES)}, or empty", field="error_code")
    if body.mode == CLAIM and not body.holder:
        raise Refusal("invalid_command", "a claim names its holder", field="holder")


def _check_claim(body: EffectBody, call: Call, at: int) -> None:
    newest = max(call.started, default=0)
    if body.attempt != newest + 1 or body.attempt > CLAIMS_LIMIT:
        message = f"the next claim of the step is the {newest + 1}., and {CLAIMS_LIMIT} is the limit"
        raise Refusal("attempt_taken", message, call_id=body.call_id, attempt=newest)
    if call.started.get(newest) != body.holder:  # its holder may claim again at once: it knows that nothing happened
        _check_over(body, call, newest, at)


def _check_over(body: EffectBody, call: Call, newest: int, at: int) -> None:
    left = call.leased_until.get(newest, 0) - at
    if left > 0:
        message = f"the effect may still be had by another attempt, for {left // 1_000} ms"
        raise Refusal("attempt_taken", message, call_id=body.call_id, attempt=newest, lease_us=left)


def _write_claim(body: EffectBody, call_id: CallId, attempt: int, scribe: FactBuilder) -> None:
    scribe.write(
        AttemptEvent,
        kinds.ATTEMPT_STARTED,
        call_id=call_id,
        attempt=attempt,
        capability=PREFIX + body.name,
        started_at=body.started_at,
        executor=body.holder,
        assignment=attempt,
        lease_ms=body.lease_ms,
        fencing_token=attempt,
    )


def _usages(body: EffectBody, call_id: CallId) -> list[AttemptBody]:
    """The usages of its models, as attempts. Raises Refusal."""
    if not body.usages:
        return []
    try:
        told = msgspec.json.decode(body.usages, type=list[Usage])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refusal("invalid_command", f"usages are no list of what models used: {error}", field="usages") from error
    if len(told) > USAGES_LIMIT:
        raise Refusal("invalid_command", f"{len(told)} usages; {USAGES_LIMIT} is the limit", field="usages")
    found = []
    for number, each in enumerate(told, 1):
        attempt = AttemptBody(
            call_id=call_id, attempt=number, capability=PREFIX + body.name, **msgspec.structs.asdict(each)
        )
        broken = bounds.body_excess("attempt", attempt)
        if broken is not None:
            raise Refusal("invalid_command", broken.message, field=f"usages[{number - 1}].{broken.field}")
        found.append(attempt)
    return found


def _write_usages(usages: list[AttemptBody], scribe: FactBuilder) -> None:
    for each in usages:
        scribe.write(AttemptEvent, kinds.ATTEMPT_SUCCEEDED, **msgspec.structs.asdict(each))


def _write_end(body: EffectBody, call_id: CallId, usages: list[AttemptBody], scribe: FactBuilder) -> CallEvent | None:
    """The outcome; the fact of a failure, else None."""
    fields: dict[str, Any] = {
        "capability": PREFIX + body.name,
        "provider": usages[-1].provider if usages else "",
        "attempts": body.attempts,
        "cost_nano_usd": sum(each.cost_nano_usd for each in usages),
        "latency_us": body.latency_us,
        "local": True,
        "effect": UNSAFE if body.unsafe else SAFE,
    }
    if not body.error_code:
        result = body.result or "null"
        scribe.write(
            CallEvent,
            kinds.CALL_COMPLETED,
            call_id=call_id,
            result=result,
            artifacts=artifacts.named(result),
            **fields,
        )
        return None
    unknown = body.error_code == failed_calls.OUTCOME_UNKNOWN
    reason = "whether its effect happened is not known" if unknown else "the step raised an exception"
    cause = {"attempts": [], "cause": body.error_code}
    return scribe.write(
        CallEvent,
        kinds.CALL_FAILED,
        call_id=call_id,
        error_class="unknown",
        error_code=body.error_code,
        error_message=reason,
        said=body.error_message[:TEXT_LIMIT],
        said_by=scribe.agent if body.error_message else "",
        report=ids.canonical(cause) if unknown else "",
        **fields,
    )
