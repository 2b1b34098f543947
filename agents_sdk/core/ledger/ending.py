"""How a run ends: with whatever was open told so, in the facts before the last one. Pure; see ``decide`` for the law.

Nothing that is open is dropped silently, and all that others must do about it follows from these facts alone: an agent
stops the handler, an executor the call, the ledger the child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RunEvent
from agents_sdk.core.ledger import budgets
from agents_sdk.core.ledger.scribe import Scribe
from agents_sdk.core.ledger.state import Delivery, Run, state_hash


def end(run: Run, scribe: Scribe, kind: str, *, result: str = "", reason: str = "") -> None:
    """Writes the end of the run, and before it a fact for each thing that it leaves open: DeliveryCancelled for each
    delivery but the one whose handler ends the run, CallCancelled for each call, ChildOrphaned for each child."""
    before = list(scribe.facts)
    for delivery_id, delivery in _open_deliveries(run, before):
        if delivery_id != scribe.delivery_id:
            _cancel_delivery(run, delivery_id, delivery, scribe)
    settled = {fact.call_id for fact in before if isinstance(fact, CallEvent)}
    for call_id, call in run.calls.items():
        if not call.settled and call_id not in settled:
            scribe.write(CallEvent, "CallCancelled", call_id=call_id, capability=call.capability)
    reported = {fact.child_run_id for fact in before if isinstance(fact, RunEvent)}
    for child_run_id, child in run.children.items():
        if child.outcome is None and child_run_id not in reported:
            why = f"its parent ended first: {kind}"
            scribe.write(RunEvent, "ChildOrphaned", workflow=child.workflow, reason=why, child_run_id=child_run_id)
    spent, reserved = budgets.at_end(run, before)
    scribe.write(
        RunEvent,
        kind,
        workflow=run.workflow,
        result=result,
        reason=reason,
        state_hash=state_hash(run),
        spent_nano_usd=spent,
        reserved_nano_usd=reserved,
    )


def _open_deliveries(run: Run, before: list[Fact]) -> Iterator[tuple[str, Delivery | MessageEvent]]:
    """The deliveries that are open after the facts that the command caused so far."""
    deliveries: dict[str, Any] = dict(run.deliveries)
    for fact in before:
        if fact.kind == "MessageDelivered":
            deliveries[fact.delivery_id] = fact  # type: ignore[attr-defined]  # the kind says it is a MessageEvent
        elif fact.kind in ("HandlerCompleted", "MessageDeadLettered"):
            deliveries.pop(fact.delivery_id, None)  # type: ignore[attr-defined]  # here too
    yield from deliveries.items()


def _cancel_delivery(run: Run, delivery_id: str, delivery: Delivery | MessageEvent, scribe: Scribe) -> None:
    scribe.write(
        MessageEvent,
        "DeliveryCancelled",
        name=delivery.name,
        message_id=delivery.message_id,
        delivery_id=delivery_id,
        workflow=run.workflow,
        sender=delivery.sender,
        recipient=delivery.recipient,
        attempt=delivery.attempt,
    )
