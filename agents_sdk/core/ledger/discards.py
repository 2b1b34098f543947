"""Dead letters that are given up: nobody will put them back, and why. Pure; see ``decide`` for the law.

A discard of a letter of a run that has ended is a fact in no record. The record of an ended run stays as it is.
"""

from __future__ import annotations

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, MessageEvent
from agents_sdk.core.ledger.references import check_discard
from agents_sdk.core.ledger.rules import supervisor_of
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState, Run

NAME_LIMIT = 500
"""Characters."""


def discard(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Discard, DiscardCall → MessageDiscarded, CallDiscarded: no redrive follows."""
    if command.call is not None:
        dead_call = run.failed_calls.get(command.call.dead_call_id)
        if dead_call is None:
            message = f"the run has no failed call {command.call.dead_call_id!r}, or it was redriven"
            raise Refusal("invalid_command", message, field="dead_call_id")
        _check(book, run, command, dead_call.agent)
        _write_call(command, dead_call.capability, scribe)
        return
    assert command.message is not None
    dead = run.dead.get(command.message.dead_delivery_id)
    if dead is None:
        message = f"the run has no dead letter of delivery {command.message.dead_delivery_id!r}, or it was redriven"
        raise Refusal("invalid_command", message, field="dead_delivery_id")
    _check(book, run, command, dead.recipient)
    _write_message(command, dead.name, dead.recipient, dead.sender, dead.message_id, scribe)


def discard_late(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """The same for a letter of a run that has ended; the sender, who lists it, says what it is."""
    _check(book, None, command, "")
    if command.call is not None:
        _write_call(command, command.call.capability[:NAME_LIMIT], scribe)
    else:
        assert command.message is not None
        body = command.message
        _write_message(command, body.name[:NAME_LIMIT], body.recipient[:NAME_LIMIT], "", "", scribe)


def _check(book: PartitionState, run: Run | None, command: Command, agent: str) -> None:
    """An agent may discard what it supervises, and nothing else. A reason is asked of everybody."""
    if book.rights_required:
        check_discard(book, run, command, agent)
    elif command.agent in book.agents and command.agent != supervisor_of(book, agent):
        message = f"agent {command.agent!r} is not the supervisor of {agent!r}"
        raise Refusal("scope", message, rule="supervisor")
    body = command.call or command.message
    assert body is not None
    if not body.reason.strip():
        raise Refusal("invalid_command", "a dead letter is discarded for a reason; say which", field="reason")


def _write_call(command: Command, capability: str, scribe: FactBuilder) -> None:
    assert command.call is not None
    scribe.write(
        CallEvent,
        kinds.CALL_DISCARDED,
        call_id=command.call.dead_call_id,
        capability=capability,
        reason=command.call.reason[:TEXT_LIMIT],
    )


def _write_message(
    command: Command, name: str, recipient: str, sender: str, message_id: str, scribe: FactBuilder
) -> None:
    assert command.message is not None
    scribe.write(
        MessageEvent,
        kinds.MESSAGE_DISCARDED,
        name=name,
        message_id=message_id,
        delivery_id=command.message.dead_delivery_id,
        sender=sender,
        recipient=recipient,
        reason=command.message.reason[:TEXT_LIMIT],
    )
