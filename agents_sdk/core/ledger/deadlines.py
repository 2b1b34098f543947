"""The effects of a timer that is due. Pure; see ``decide`` for the law, ``timers`` for how timers are set and
stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import StateEvent
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger import dead_letters, dependencies, handlers
from agents_sdk.core.ledger.agents import REMOVED
from agents_sdk.core.ledger.deliveries import EXPIRED, HANDLER_TIMEOUT, TIMED_OUT
from agents_sdk.core.ledger.ending import end
from agents_sdk.core.ledger.rules import apart
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState, Run, current
from agents_sdk.core.ledger.timers import DEPENDENCY, GONE, HANDLER, MESSAGE, RUN, STATE
from agents_sdk.core.words import Why


def fire(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """TimerFired → what the timer is for. Nothing where it was stopped or set again meanwhile. A refusal where it is
    not due yet by the broker's clock, which is the one that counts: it is sent again."""
    body = command.timer
    assert body is not None
    if run.timers.get(body.name) != body.due_at:
        return
    if scribe.at < body.due_at:
        message = f"timer {body.name!r} is due in {body.due_at - scribe.at} µs by the broker's clock"
        raise Refusal("invalid_command", message, field="due_at")
    what, _, of = body.name.partition("/")
    FIRES[what](book, run, of, scribe)


def _run_is_late(book: PartitionState, run: Run, _: str, scribe: FactBuilder) -> None:
    end(run, scribe, kinds.RUN_FAILED, why=Why("deadline", "the deadline of the run has passed"))


def _value_expires(_: PartitionState, run: Run, key: str, scribe: FactBuilder) -> None:
    newest = current(run, key)
    assert newest is not None
    scribe.write(StateEvent, kinds.STATE_EXPIRED, key=key, version=newest.version + 1)


def _message_is_late(book: PartitionState, run: Run, rest: str, scribe: FactBuilder) -> None:
    delivery_id = DeliveryId(rest)
    text = "the deadline of the message has passed"
    error = {"code": EXPIRED, "reason": text} if apart(run) else {"error_message": text}
    dead_letters.bury(book, run, delivery_id, run.deliveries[delivery_id], EXPIRED, error, scribe)


def _agent_is_gone(book: PartitionState, run: Run, rest: str, scribe: FactBuilder) -> None:
    delivery_id = DeliveryId(rest)
    text = f"agent {run.deliveries[delivery_id].recipient!r} was removed"
    error = {"code": REMOVED, "reason": text} if apart(run) else {"error_message": text}
    dead_letters.bury(book, run, delivery_id, run.deliveries[delivery_id], REMOVED, error, scribe)


def _handler_is_late(book: PartitionState, run: Run, attempt: str, scribe: FactBuilder) -> None:
    name, _, number = attempt.rpartition("/")
    message = "the process that ran it neither ended nor gave it up in time"
    error = handlers.of_ledger(run, TIMED_OUT, message)
    handlers.fail_attempt(book, run, DeliveryId(name), int(number), HANDLER_TIMEOUT, error, scribe=scribe)


def _dependency_is_late(book: PartitionState, run: Run, dependency_id: str, scribe: FactBuilder) -> None:
    dependencies.expire(book, run, dependency_id, scribe)


FIRES: Final[dict[str, Callable[[PartitionState, Run, str, FactBuilder], None]]] = {
    RUN: _run_is_late,
    STATE: _value_expires,
    MESSAGE: _message_is_late,
    HANDLER: _handler_is_late,
    DEPENDENCY: _dependency_is_late,
    GONE: _agent_is_gone,
}
"""First part of a timer's name → what happens when it is due, given the rest of the name."""
