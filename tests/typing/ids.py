"""Ids of different things are told apart: each line that mixes them up says so, and no other line is an error."""

from __future__ import annotations

from agents_sdk.core import kinds
from agents_sdk.core.commands import AttemptBody, CallBody, Command, MessageBody, RunBody
from agents_sdk.core.facts import CallEvent, MessageEvent, Reply
from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId
from agents_sdk.core.ledger import timers
from agents_sdk.core.ledger.scribe import FactBuilder
from agents_sdk.core.ledger.state import PartitionState, Run
from backplane.ledger.alarms import Alarms
from backplane.recovery.outcome import AttemptRequest


def looked_up(book: PartitionState, run: Run, command: Command, call: CallEvent, delivered: MessageEvent) -> None:
    """In the ledger's knowledge."""
    run.calls[call.call_id]
    run.calls[delivered.delivery_id]  # type: ignore[index]
    run.calls[CallId(command.command_id)]
    run.calls[command.command_id]  # type: ignore[index]
    run.deliveries[delivered.delivery_id]
    run.deliveries[call.call_id]  # type: ignore[index]
    run.deliveries[delivered.event_id]  # type: ignore[index]
    run.requests[delivered.request_id]
    run.requests[delivered.delivery_id]  # type: ignore[index]
    run.answers[command.command_id]
    run.answers[command.run_id]  # type: ignore[index]
    run.children[RunId(command.run_id)]
    run.children[command.correlation_id]  # type: ignore[index]
    book.runs[command.run_id]
    book.runs[call.call_id]  # type: ignore[index]
    book.finished[command.command_id]  # type: ignore[index]


def written(scribe: FactBuilder, command: Command, run_id: RunId, delivery_id: DeliveryId, call_id: CallId) -> None:
    """In commands, facts, answers and requests to providers."""
    Command(command_id=command.command_id, kind="Ask", run_id=run_id, agent="a", correlation_id="")
    Command(command_id=run_id, kind="Ask", run_id=run_id, agent="a", correlation_id="")  # type: ignore[arg-type]
    Command(command_id=CommandId("c"), kind="Ask", run_id=call_id, agent="a", correlation_id="")  # type: ignore[arg-type]
    RunBody(child_run_id=run_id, parent_run_id=command.command_id)  # type: ignore[arg-type]
    MessageBody(name="m", dead_delivery_id=delivery_id)
    MessageBody(name="m", dead_delivery_id=call_id)  # type: ignore[arg-type]
    CallBody(capability="c", dead_call_id=call_id)
    CallBody(capability="c", dead_call_id=delivery_id)  # type: ignore[arg-type]
    AttemptBody(call_id=call_id)
    AttemptBody(call_id=run_id)  # type: ignore[arg-type]
    Reply(command_id=command.command_id, reply_to="", status="ok", run_id=run_id)
    Reply(command_id=call_id, reply_to="", status="ok")  # type: ignore[arg-type]
    scribe.write(CallEvent, kinds.CALL_CANCELLED, call_id=call_id, capability="c")
    scribe.write(CallEvent, kinds.CALL_CANCELLED, call_id=delivery_id, capability="c")  # type: ignore[arg-type]
    AttemptRequest(call_id=call_id, run_id=run_id, agent="a", attempt=1, params={}, timeout_seconds=1)
    AttemptRequest(call_id=run_id, run_id=run_id, agent="a", attempt=1, params={}, timeout_seconds=1)  # type: ignore[arg-type]


def timed(alarms: Alarms, run_id: RunId, delivery_id: DeliveryId) -> None:
    """In timers."""
    alarms.set(run_id, timers.handler(delivery_id, 1), 0)
    alarms.set(delivery_id, timers.handler(delivery_id, 1), 0)  # type: ignore[arg-type]
    timers.handler(run_id, 1)  # type: ignore[arg-type]
