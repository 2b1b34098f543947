"""Deciders of the message and handler commands. Pure; see ``decide`` for the law."""

from __future__ import annotations

from agents_sdk.core.commands import Command, HandlerBody, MessageBody
from agents_sdk.core.facts import MessageEvent, RunEvent
from agents_sdk.core.ledger.deliveries import checked_name, deliver, known_agent
from agents_sdk.core.ledger.rules import allows, subscribers
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, Refusal, Scribe
from agents_sdk.core.ledger.state import Book, Delivery, Run, state_hash


def _checked(book: Book, command: Command) -> MessageBody:
    body = command.message
    assert body is not None
    checked_name(body.name)
    spec = book.agents.get(command.agent)
    if spec is not None and not allows(spec.publishes, body.name):
        allowed = list(spec.publishes)
        raise Refusal(
            "scope",
            f"agent {command.agent!r} may not publish {body.name!r}: its publishes are {allowed}",
            rule="publishes",
            name=body.name,
            allowed=allowed,
        )
    return body


def publish(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """Publish → MessagePublished and a MessageDelivered for each subscriber."""
    body = _checked(book, command)
    recipients = list(subscribers(book, body.name, run.workflow))
    message = scribe.write(
        MessageEvent,
        "MessagePublished",
        name=body.name,
        workflow=run.workflow,
        sender=command.agent,
        data=body.data,
        recipients=len(recipients),
    )
    for recipient in recipients:
        deliver(scribe, run.workflow, message.event_id, body.name, command.agent, recipient, body.data)


def send(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """SendMessage → MessageSent and its MessageDelivered."""
    body = _checked(book, command)
    recipient = known_agent(book, body.recipient)
    message = scribe.write(
        MessageEvent,
        "MessageSent",
        name=body.name,
        workflow=run.workflow,
        sender=command.agent,
        recipient=recipient,
        data=body.data,
        recipients=1,
    )
    deliver(scribe, run.workflow, message.event_id, body.name, command.agent, recipient, body.data)


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


def complete_handler(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """CompleteHandler → HandlerCompleted."""
    delivery, body = _handled(run, command)
    scribe.write(
        MessageEvent,
        "HandlerCompleted",
        name=delivery.name,
        message_id=delivery.message_id,
        delivery_id=command.delivery_id,
        workflow=run.workflow,
        sender=delivery.sender,
        recipient=delivery.recipient,
        attempt=body.attempt,
    )


def fail_handler(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """FailHandler → HandlerFailed, then the next attempt, or the dead letter and the end of the run."""
    delivery, body = _handled(run, command)
    error = {"error_type": body.error_type[:200], "error_message": body.error_message[:TEXT_LIMIT]}
    common = {
        "name": delivery.name,
        "message_id": delivery.message_id,
        "delivery_id": command.delivery_id,
        "workflow": run.workflow,
        "sender": delivery.sender,
        "recipient": delivery.recipient,
    }
    scribe.write(MessageEvent, "HandlerFailed", **common, attempt=body.attempt, **error)
    if body.attempt < delivery.attempt:
        return  # an earlier attempt, reported late by a worker that lost the inbox: a newer one is under way
    spec = book.agents.get(delivery.recipient)
    if delivery.attempt < (spec.max_deliveries if spec else 1):
        scribe.write(MessageEvent, "MessageDelivered", **common, data=delivery.data, attempt=delivery.attempt + 1)
        return
    scribe.write(MessageEvent, "MessageDeadLettered", **common, data=delivery.data, attempt=delivery.attempt, **error)
    reason = f"agent {delivery.recipient!r} failed {delivery.attempt} times on {delivery.name!r}: {error['error_type']}"
    scribe.write(
        RunEvent,
        "RunFailed",
        workflow=run.workflow,
        reason=f"{reason}: {error['error_message']}",
        state_hash=state_hash(run),
    )
