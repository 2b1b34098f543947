"""The way of a message that nobody handled: the dead letter, and the ladder of escalations. Pure; see ``decide`` for
the law.

The ladder: the agent itself has had its attempts; then its declared supervisor, as a message with the whole story; then
the operator. A failure that reaches the operator ends the run; a message that only came too late, or whose agent the
operator removed, does not. A waiting asker gets the failure as its answer instead. Nothing is dropped: the letter stays
until it is redriven.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger import requests
from agents_sdk.core.ledger.agents import REMOVED
from agents_sdk.core.ledger.deliveries import EXPIRED, about, deliver, known_agent
from agents_sdk.core.ledger.ending import end
from agents_sdk.core.ledger.references import check_supervisor
from agents_sdk.core.ledger.reports import WORDS_OF
from agents_sdk.core.ledger.rules import apart, supervisor_of
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Delivery, PartitionState, Run, redriven_key
from agents_sdk.core.words import Why, quoted

OPERATOR: Final = "operator"
"""The last rung: no agent, but the person that runs the platform."""
ESCALATION: Final = "escalation.raised"
REDRIVE_LIMIT: Final = 10
"""Redrives of one message to one agent: a supervisor that redrives what fails for ever is stopped."""


def bury(
    book: PartitionState,
    run: Run,
    delivery_id: DeliveryId,
    delivery: Delivery,
    cause: str,
    error: dict[str, Any],
    scribe: FactBuilder,
    *,
    difference: str = "",
) -> None:
    """MessageDeadLettered, and the news for the asker, the supervisor, or the operator."""
    letter = scribe.write(
        MessageEvent,
        kinds.MESSAGE_DEAD_LETTERED,
        **about(run, delivery_id, delivery),
        data=delivery.data,
        attempt=delivery.attempt,
        cause=cause,
        **error,
        difference=difference,
    )
    if delivery.request_id:
        requests.fail(run, delivery_id, delivery, cause, error, scribe)
        return
    story = story_of(run, delivery_id, delivery, cause, error, scribe)
    last = delivery.name == ESCALATION and delivery.sender == LEDGER
    told = escalate(book, run, letter.event_id, story, scribe, last=last)
    if told == OPERATOR and cause not in (EXPIRED, REMOVED):
        end(run, scribe, kinds.RUN_FAILED, why=_why(run, delivery, cause, error, scribe))


def story_of(
    run: Run, delivery_id: DeliveryId, delivery: Delivery, cause: str, error: dict[str, Any], scribe: FactBuilder
) -> dict[str, Any]:
    """The failure, as its supervisor or the operator reads it."""
    story: dict[str, Any] = {
        "agent": delivery.recipient,
        "cause": cause,
        "name": delivery.name,
        "sender": delivery.sender,
        "delivery_id": delivery_id,
        "attempts": delivery.attempt,
        "redrives": run.redriven.get(redriven_key(delivery), 0),
        **{field: text for field, text in error.items() if field != "said_by"},
        "data": msgspec.Raw(delivery.data.encode() or b"null"),
    }
    if scribe.marks or apart(run):
        # what the ledger itself says, of a deadline for instance, is its own
        own = ("code", "reason", "said_by") if apart(run) else error if scribe.agent == LEDGER else ()
        story[WORDS_OF] = {
            **{field: error.get("said_by", delivery.recipient) for field in error if field not in own},
            "data": delivery.sender,
        }
    return story


def _why(run: Run, delivery: Delivery, cause: str, error: dict[str, Any], scribe: FactBuilder) -> Why:
    """Why a message that could not be handled ends the run."""
    reason = f"agent {delivery.recipient!r} failed {delivery.attempt} times on {delivery.name!r}"
    said = ": ".join(text for field in ("error_type", "error_message") if (text := error.get(field, "")))
    if apart(run):
        own, speaker = error.get("reason", ""), error.get("said_by", delivery.recipient)
        return Why(cause, f"{reason}: {own}" if own else reason, said, speaker if said else "")
    said = f"{error['error_type']}: {error['error_message']}"
    # in quotes where deliveries say whose words they are: the rest of the reason is the platform's
    return Why(reason=f"{reason}; it said {quoted(said)}" if scribe.marks else f"{reason}: {said}")


def escalate(
    book: PartitionState, run: Run, event_id: str, story: dict[str, Any], scribe: FactBuilder, *, last: bool = False
) -> str:
    """EscalationRaised about the fact ``event_id``, and a message to the next rung where that is an agent; who it is.
    ``last``: no agent is left for the news."""
    supervisor = "" if last else supervisor_of(book, story["agent"])
    told = supervisor if supervisor in book.agents and supervisor != story["agent"] else OPERATOR
    data = ids.canonical(story)
    raised = scribe.write(
        MessageEvent,
        kinds.ESCALATION_RAISED,
        name=story["name"],
        message_id=event_id,
        delivery_id=story.get("delivery_id", ""),
        workflow=run.workflow,
        sender=story["agent"],
        recipient=told,
        data=data,
        cause=story["cause"],
    )
    if told != OPERATOR:
        deliver(scribe, run.workflow, raised.event_id, ESCALATION, LEDGER, told, data, origin=story["agent"])
    return told


def redrive(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Redrive → MessageRedriven and a new delivery, with attempts of its own."""
    body = command.message
    assert body is not None
    delivery = run.dead.get(body.dead_delivery_id)
    if delivery is None:
        message = f"the run has no dead letter of delivery {body.dead_delivery_id!r}, or it was redriven"
        raise Refusal("invalid_command", message, field="dead_delivery_id")
    known_agent(book, delivery.recipient)
    if book.rights_required:
        check_supervisor(book, run, command, delivery.recipient)
    elif command.agent in book.agents and command.agent != supervisor_of(book, delivery.recipient):
        message = f"agent {command.agent!r} is not the supervisor of {delivery.recipient!r}"
        raise Refusal("scope", message, rule="supervisor")
    redrives = run.redriven.get(redriven_key(delivery), 0)
    if redrives >= REDRIVE_LIMIT:
        message = (
            f"the message was redriven {redrives} times and never handled; mend what it dies of, then send it anew"
        )
        raise Refusal("invalid_command", message, field="dead_delivery_id", redrives=redrives)
    fields = {**about(run, body.dead_delivery_id, delivery), "request_id": ""}
    scribe.write(MessageEvent, kinds.MESSAGE_REDRIVEN, **fields)
    name, sender, recipient = delivery.name, delivery.sender, delivery.recipient
    deliver(scribe, run.workflow, delivery.message_id, name, sender, recipient, delivery.data, origin=command.agent)
