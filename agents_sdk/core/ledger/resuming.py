"""How a run goes on from one that has ended: what it takes over. Pure; see ``decide`` for the law, and
``agents_sdk.core.resumption`` for what is taken over.

The ended run stays as it is. The new one names it, gets its state with the versions that it had, then the messages that
were not handled to their end. Nothing of it counts as complete before all of that is there. All is said by commands, so
a client that dies on the way says the rest when it is asked again.
"""

from __future__ import annotations

from typing import Any

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.facts import MessageEvent, RunEvent, StateEvent
from agents_sdk.core.ledger import room, states
from agents_sdk.core.ledger.deliveries import checked_name, deliver, known_agent
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState, Run, current
from agents_sdk.core.ledger.timers import due_at


def check_start(book: PartitionState, command: Command, body: RunBody) -> None:
    """Raises Refusal where this run may not go on from another one."""
    if not body.resumed_from:
        return
    if command.agent in book.agents:
        raise Refusal("scope", f"agent {command.agent!r} may not resume runs: only a client may", rule="resume")
    if body.resumed_from == command.run_id:
        raise Refusal("invalid_command", "a run is not resumed under its own id", field="resumed_from")


def _check(book: PartitionState, run: Run, command: Command) -> None:
    if command.agent in book.agents:
        message = f"agent {command.agent!r} may not send {command.kind}: only a client may"
        raise Refusal("scope", message, rule="resume")
    if not run.resuming:
        message = f"run {run.run_id} is not being resumed, and takes no {command.kind}"
        raise Refusal("invalid_command", message, field="kind")


def restore_state(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """RestoreState → StateWritten, with the version that the key had in the run before."""
    _check(book, run, command)
    body = command.state
    assert body is not None
    if not 0 < len(body.key) <= states.KEY_LIMIT:
        message = f"a key has 1 to {states.KEY_LIMIT} characters, not {len(body.key)}"
        raise Refusal("invalid_command", message, field="key")
    if not body.value or body.version < 1:
        raise Refusal("invalid_command", "RestoreState needs a value and its version", field="value")
    if current(run, body.key) is not None:
        raise Refusal("invalid_command", f"state {body.key!r} is there already", field="key")
    scribe.write(
        StateEvent,
        kinds.STATE_WRITTEN,
        key=body.key,
        version=body.version,
        value=body.value,
        size=len(body.value.encode()),
        value_hash=ids.sha256(body.value),
        expires_at=due_at(scribe.at, body.ttl_ms, "ttl_ms"),
    )


def resend(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Resend → MessageSent and its MessageDelivered, from the one who had sent it in the run before."""
    _check(book, run, command)
    body = command.message
    assert body is not None
    room.check_open(run, 1)
    name, recipient = checked_name(body.name), known_agent(book, body.recipient)
    sender = body.sender or command.agent
    fields: dict[str, Any] = {"workflow": run.workflow, "sender": sender, "data": body.data}
    sent = scribe.write(MessageEvent, kinds.MESSAGE_SENT, name=name, recipient=recipient, recipients=1, **fields)
    deliver(scribe, run.workflow, sent.event_id, name, sender, recipient, body.data, origin=command.agent)


def resume(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """ResumeRun → RunResumed: all is there that the run takes over."""
    _check(book, run, command)
    body = command.run
    assert body is not None
    scribe.write(RunEvent, kinds.RUN_RESUMED, workflow=run.workflow, resumed_from=body.resumed_from)
