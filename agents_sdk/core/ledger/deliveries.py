"""Deliveries: how a message gets into one agent's inbox. Pure; see ``decide`` for the law."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from agents_sdk.core import kinds
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger.rules import DURABLE
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Delivery, PartitionState, Run

HANDLER_FAILED = "handler_failed"
HANDLER_TIMEOUT = "handler_timeout"
EXPIRED = "expired"
"""Causes of a dead letter."""
ENDED_RUN = "ended_run"
"""Cause of a HandlerCompleted: the handler ended its run, and nothing it does afterwards counts."""
RUN_ENDED = "run_ended"
"""Cause of a RequestCancelled."""
TIMED_OUT = "HandlerTimedOut"
"""The error type of a handler that took longer than its agent allows, by any observer."""
NAME_LIMIT = 200
"""Characters."""
NAME = re.compile(r"[a-z0-9_]+([.-][a-z0-9_]+)*", re.ASCII)


def deliver(
    scribe: FactBuilder,
    workflow: str,
    message_id: str,
    name: str,
    sender: str,
    recipient: str,
    data: str,
    *,
    origin: str = "",
    **more: Any,
) -> MessageEvent:
    """The first attempt to bring a message to one agent; its event id is the delivery's identity. ``origin``: whose
    doing it is, where the sender is not; ``more`` are further fields of the fact."""
    return scribe.write(
        MessageEvent,
        kinds.MESSAGE_DELIVERED,
        name=name,
        message_id=message_id,
        delivery_id=DeliveryId(scribe.next_event_id()),
        workflow=workflow,
        sender=sender,
        recipient=recipient,
        data=data,
        attempt=1,
        origin=origin if scribe.marks and origin != sender else "",
        rules=scribe.rules,
        **more,
    )


def about(run: Run, delivery_id: DeliveryId, delivery: Delivery) -> dict[str, Any]:
    """The fields of every fact about the delivery."""
    return {
        "name": delivery.name,
        "message_id": delivery.message_id,
        "delivery_id": delivery_id,
        "workflow": run.workflow,
        "sender": delivery.sender,
        "recipient": delivery.recipient,
        "request_id": delivery.request_id,
    }


def checked_name(name: str) -> str:
    """The name of a message. Raises Refusal for one that would fit no glob or topic."""
    if len(name) > NAME_LIMIT or not NAME.fullmatch(name):
        message = f"a message name is like search.completed, at most {NAME_LIMIT} characters, not {name!r}"
        raise Refusal("invalid_command", message, field="name")
    return name


def known_agent(book: PartitionState, name: str) -> str:
    """The name of a registered agent. Raises Refusal naming those that may be meant."""
    if name not in book.agents:
        near = get_close_matches(name, sorted(book.agents), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Refusal("unknown_agent", f"no agent is registered as {name!r}{hint}", agent=name, nearest=near)
    return name


def first_at(run: Run, delivery: Delivery) -> int:
    """When the first attempt at a delivery was put in the inbox, for its next one. Runs by older rules do not tell it:
    0."""
    return (delivery.first_at or delivery.at) if run.rules >= DURABLE else 0
