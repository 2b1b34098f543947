"""What becomes of a message that nobody handled. Pure; see ``decide`` for the law."""

from __future__ import annotations

from agents_sdk.core.facts import MessageEvent, RunEvent
from agents_sdk.core.ledger import requests
from agents_sdk.core.ledger.deliveries import EXPIRED, about
from agents_sdk.core.ledger.scribe import Scribe
from agents_sdk.core.ledger.state import Delivery, Run, state_hash


def bury(run: Run, delivery_id: str, delivery: Delivery, cause: str, error: dict[str, str], scribe: Scribe) -> None:
    """MessageDeadLettered. An asker is told; without one a handler's failure is the run's."""
    scribe.write(
        MessageEvent,
        "MessageDeadLettered",
        **about(run, delivery_id, delivery),
        data=delivery.data,
        attempt=delivery.attempt,
        cause=cause,
        **error,
    )
    if delivery.request_id:
        requests.fail(run, delivery_id, delivery, cause, error, scribe)
    elif cause != EXPIRED:
        _fail_run(run, delivery, error, scribe)


def _fail_run(run: Run, delivery: Delivery, error: dict[str, str], scribe: Scribe) -> None:
    reason = f"agent {delivery.recipient!r} failed {delivery.attempt} times on {delivery.name!r}: {error['error_type']}"
    scribe.write(
        RunEvent,
        "RunFailed",
        workflow=run.workflow,
        reason=f"{reason}: {error['error_message']}",
        state_hash=state_hash(run),
    )
