"""How a handler's attempt ends: completed, failed and tried again, or for good. Pure; see ``decide`` for the law."""

from __future__ import annotations

from typing import Any, Final

from agents_sdk.core import kinds
from agents_sdk.core.bounds import YEAR_MS
from agents_sdk.core.commands import Command, HandlerBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger import dead_letters, divergence, payloads, requests, retry, timers
from agents_sdk.core.ledger.deliveries import HANDLER_FAILED, HANDLER_TIMEOUT, TIMED_OUT, about, first_at
from agents_sdk.core.ledger.references import check_artifacts
from agents_sdk.core.ledger.rules import apart
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Delivery, PartitionState, Run

ERROR_TYPE_LIMIT: Final = 200
"""Characters."""
TRACEBACK_LIMIT: Final = 8_000
"""Characters; the sender of a longer one cuts it in the middle."""
GRACE_MS: Final = 1_000
"""The ledger gives a handler this much beyond its timeout, in which a living process has failed it itself."""


def _handled(run: Run, command: Command) -> tuple[Delivery, HandlerBody]:
    body = command.handler
    assert body is not None
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None:
        raise Refusal("invalid_command", f"the run has no delivery {command.delivery_id!r}", field="delivery_id")
    if delivery.recipient != command.agent:
        raise Refusal("scope", f"the delivery is {delivery.recipient!r}'s, not {command.agent!r}'s", rule="recipient")
    if not 1 <= body.attempt <= delivery.attempt:
        message = f"the delivery is at attempt {delivery.attempt}, no attempt {body.attempt} was made"
        raise Refusal("invalid_command", message, field="attempt")
    return delivery, body


def start(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """StartHandler → HandlerStarted, which arms the timer of the attempt; none for an agent without a timeout or an
    attempt that is over. The process that runs the handler is to notice first: it can stop it."""
    delivery, body = _handled(run, command)
    spec = book.agents.get(delivery.recipient)
    timeout_ms = spec.handler_timeout_ms if spec is not None and body.attempt == delivery.attempt else 0
    timeout_ms = min(timeout_ms, YEAR_MS)  # of an agent registered before there was a bound
    scribe.write(
        MessageEvent,
        kinds.HANDLER_STARTED,
        **about(run, command.delivery_id, delivery),
        attempt=body.attempt,
        deadline_at=scribe.at + (timeout_ms + GRACE_MS) * timers.MICROS_A_MS if timeout_ms else 0,
    )


def complete(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """CompleteHandler → HandlerCompleted, and RequestAnswered where somebody waits for the result. A result that cannot
    be recorded fails the attempt: a refusal would leave the delivery open and its asker waiting."""
    delivery, body = _handled(run, command)
    divergence.check_all_asked(run, command, body)
    if body.result:
        try:
            payloads.check(book.limits, "result", body.result)
            if book.rights_required:
                check_artifacts(book, run, command, body.result)
        except Refusal as broken:
            error = of_ledger(run, broken.code, broken.message)
            fail_attempt(book, run, command.delivery_id, body.attempt, HANDLER_FAILED, error, scribe=scribe)
            return
    fields = about(run, command.delivery_id, delivery)
    scribe.write(MessageEvent, kinds.HANDLER_COMPLETED, **fields, attempt=body.attempt, result=body.result)
    if delivery.request_id:
        requests.answer(run, command.delivery_id, delivery, body.result, scribe)


def fail(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """FailHandler → HandlerFailed, then the next attempt or the dead letter."""
    _, body = _handled(run, command)
    if body.difference and body.error_type == divergence.HANDLER_DIVERGED:
        divergence.told(book, run, command, body, scribe)
        return
    error = {"error_type": body.error_type[:ERROR_TYPE_LIMIT], "error_message": body.error_message[:TEXT_LIMIT]}
    if apart(run):
        error["said_by"] = command.agent
    cause = HANDLER_TIMEOUT if body.error_type == TIMED_OUT else HANDLER_FAILED
    fail_attempt(book, run, command.delivery_id, body.attempt, cause, error, body.traceback, scribe=scribe)


def of_ledger(run: Run, code: str, reason: str) -> dict[str, Any]:
    """The fields of a failure that the ledger itself has found, in its own words."""
    if not apart(run):
        return {"error_type": code[:ERROR_TYPE_LIMIT], "error_message": reason[:TEXT_LIMIT]}
    return {"code": HANDLER_TIMEOUT if code == TIMED_OUT else code, "reason": reason[:TEXT_LIMIT]}


def fail_attempt(
    book: PartitionState,
    run: Run,
    delivery_id: DeliveryId,
    attempt: int,
    cause: str,
    error: dict[str, Any],
    traceback: str = "",
    *,
    scribe: FactBuilder,
) -> None:
    """An attempt failed, by any reporter. ``error`` are the fields of the fact that say how."""
    delivery = run.deliveries[delivery_id]
    fields = about(run, delivery_id, delivery)
    where: dict[str, Any] = {"traceback": traceback[:TRACEBACK_LIMIT]} if traceback else {}
    scribe.write(MessageEvent, kinds.HANDLER_FAILED, **fields, attempt=attempt, cause=cause, **error, **where)
    if attempt < delivery.attempt:
        return  # an earlier attempt, reported late by a worker that lost the inbox: a newer one is under way
    spec = book.agents.get(delivery.recipient)
    policy = retry.policy_for(spec.retries, spec.subscriptions, delivery.name) if spec else retry.AT_ONCE
    if attempt >= (policy.attempts or spec.max_deliveries if spec else 1):
        dead_letters.bury(book, run, delivery_id, delivery, cause, error, scribe)
        return
    wait = retry.wait_ms(policy, attempt, delivery_id)
    scribe.write(
        MessageEvent,
        kinds.MESSAGE_DELIVERED,
        **fields,
        data=delivery.data,
        attempt=attempt + 1,
        deadline_at=delivery.deadline_at,
        not_before=scribe.at + wait * timers.MICROS_A_MS if wait else 0,
        restarts=delivery.restarts,
        rules=scribe.rules,
        first_at=first_at(run, delivery),
    )
