"""Deciders of the message commands. Pure; see ``decide`` for the law."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command, MessageBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.ids import CommandId
from agents_sdk.core.kinds import FactKind
from agents_sdk.core.ledger import contracts, room, timers
from agents_sdk.core.ledger.deliveries import checked_name, deliver, known_agent
from agents_sdk.core.ledger.rules import check, subscribers
from agents_sdk.core.ledger.scribe import FactBuilder
from agents_sdk.core.ledger.state import PartitionState, Run


def checked(book: PartitionState, run: Run, command: Command) -> MessageBody:
    """The message that the command sends in the run. Raises Refusal for a name that is none, or not the
    sender's to publish."""
    body = command.message
    assert body is not None
    checked_name(body.name)
    check(book, command.agent, "publishes", "publish", name=body.name)
    contracts.check_message(book, body.name, body.data, run.workflow)
    return body


def sent(
    run: Run,
    command: Command,
    scribe: FactBuilder,
    kind: FactKind,
    recipients: Iterable[str],
    *,
    request_id: CommandId | None = None,
    **more: Any,
) -> None:
    """Writes ``kind``, the fact that a message was sent, and its delivery to each recipient; ``more`` are further
    fields of the first."""
    body = command.message
    assert body is not None
    to = list(recipients)
    room.check_open(run, len(to))
    deadline_at = timers.due_at(scribe.at, body.deadline_ms)
    message = scribe.write(
        MessageEvent,
        kind,
        name=body.name,
        workflow=run.workflow,
        sender=command.agent,
        data=body.data,
        recipients=len(to),
        deadline_at=deadline_at,
        request_id=request_id,
        **more,
    )
    for recipient in to:
        deliver(
            scribe, run.workflow, message.event_id, body.name, command.agent, recipient, body.data,
            deadline_at=deadline_at, request_id=request_id,
        )  # fmt: skip


def publish(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Publish → MessagePublished and a MessageDelivered for each subscriber."""
    body = checked(book, run, command)
    sent(run, command, scribe, kinds.MESSAGE_PUBLISHED, subscribers(book, body.name, run.workflow))


def send(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """SendMessage → MessageSent and its MessageDelivered."""
    body = checked(book, run, command)
    recipient = known_agent(book, body.recipient)
    sent(run, command, scribe, kinds.MESSAGE_SENT, [recipient], recipient=recipient)
