"""The event that a handler is given: one delivery of one message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from agents_sdk import values
from agents_sdk.core.facts import MessageEvent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """A message as it reached an agent."""

    name: str
    """The message's name, e.g. ``search.completed``."""
    data: Any
    """The data of the message, from JSON."""
    sender: str
    """The agent or client that sent it; ``bp.ledger`` for a dependency that was met."""
    run_id: str
    workflow: str
    message_id: str
    """The same for every recipient of one message."""
    delivery_id: str
    """The same for every attempt to bring the message to this agent."""
    attempt: int
    """1 for the first delivery."""
    at: int
    """When it was delivered, microseconds UTC, by the broker's clock."""
    wants_answer: bool = False
    """Its sender waits for what the handler returns."""
    deadline_at: int = 0
    """When it expires if it is not handled by then, microseconds UTC; 0: never."""
    origin: str = ""
    """Where the platform speaks, whose doing it tells of: who failed, declared the dependency, started the child run or
    put the message back. Its data may hold that agent's text. Empty: the sender's own."""

    def data_as(self, type_: type[T]) -> T:
        """``data`` as a pydantic model, dataclass or any other type. Raises ContractBroken naming the field."""
        return values.converted(self.data, type_, f"data of message {self.name!r}")


def event_of(delivery: MessageEvent) -> Event:
    """The event for a MessageDelivered fact."""
    return Event(
        name=delivery.name,
        data=values.from_json(delivery.data) if delivery.data else None,
        sender=delivery.sender,
        run_id=delivery.run_id,
        workflow=delivery.workflow,
        message_id=delivery.message_id,
        delivery_id=delivery.delivery_id,
        attempt=delivery.attempt,
        at=delivery.at,
        wants_answer=bool(delivery.request_id),
        deadline_at=delivery.deadline_at,
        origin=delivery.origin,
    )
