"""Requests: a message whose sender waits for what its handler returns. Pure; see ``decide`` for the law.

A request lives exactly as long as its delivery. It is answered when the handler completes, fails with its last attempt,
and expires with the message. Its id is that of the command that asked, so an asker that restarted asks again and gets
the same answer. An asker that waits no longer says so, which changes nothing for the answering agent.
"""

from __future__ import annotations

from typing import Any

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.ids import CommandId, DeliveryId
from agents_sdk.core.ledger.deliveries import EXPIRED, about, known_agent
from agents_sdk.core.ledger.messages import checked, sent
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Delivery, PartitionState, Request, Run


def ask(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Ask → RequestSent and its MessageDelivered. Refused where the asker would wait for itself."""
    body = checked(book, run, command)
    recipient = known_agent(book, body.recipient)
    _check_waiting(run, command, recipient)
    sent(
        run, command, scribe, kinds.REQUEST_SENT, [recipient], recipient=recipient,
        request_id=command.command_id, reply_to=command.reply_to, reply_partition=command.reply_partition,
    )  # fmt: skip


def _check_waiting(run: Run, command: Command, recipient: str) -> None:
    """Raises Refusal where the recipient can only answer when the asker has. An agent handles a run's deliveries one
    after the other, so one that waits handles nothing else."""
    if command.delivery_id not in run.deliveries:
        return
    came_from = {recipient: command.agent}
    frontier = [recipient]
    waited_for = _waited_for(run)
    for agent in frontier:
        if agent == command.agent:
            break
        for request_id, request in run.requests.items():
            if request_id in waited_for and request.asker == agent and request.recipient not in came_from:
                came_from[request.recipient] = agent
                frontier.append(request.recipient)
    if command.agent not in came_from:
        return
    cycle = [command.agent, came_from[command.agent]]
    while cycle[-1] != command.agent:
        cycle.append(came_from[cycle[-1]])
    cycle.reverse()
    message = f"{command.agent!r} would wait for itself: {' → '.join(cycle)}"
    raise Refusal("invalid_command", message, field="recipient", cycle=cycle)


def _waited_for(run: Run) -> set[CommandId]:
    """Requests whose askers are still waiting, as far as is known: not those that were withdrawn. A handler that has
    said something else since has perhaps given the answer up. Or it does both side by side, and then the deadline of
    the request ends the cycle: so one without a deadline counts. The last questions were perhaps asked together."""
    open_ = {
        id_: request
        for id_, request in run.requests.items()
        if request.asked_in in run.deliveries and not request.withdrawn
    }
    found = {request_id for request_id, request in open_.items() if not request.deadline_at}
    for delivery_id in {request.asked_in for request in open_.values()}:
        for command_id in reversed(run.issued.get(delivery_id, ())):
            if command_id not in run.requests:
                break
            found.add(command_id)
    return found & open_.keys()


def withdraw(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """WithdrawRequest → RequestWithdrawn; nothing where it is answered meanwhile. The asked agent goes on, and its
    answer is kept for an asker that comes back."""
    body = command.message
    assert body is not None
    request = run.requests.get(body.request_id)
    if request is None or request.withdrawn:
        return
    if (request.asker, request.asked_in) != (command.agent, command.delivery_id):
        raise Refusal("scope", f"only who asked may withdraw request {body.request_id}", rule="asker")
    scribe.write(MessageEvent, kinds.REQUEST_WITHDRAWN, **_of(request), request_id=body.request_id)


def await_again(command: Command, request: Request, scribe: FactBuilder) -> None:
    """The asker came back, from another address or having withdrawn it: note where the answer has to go now."""
    scribe.write(
        MessageEvent,
        kinds.REQUEST_AWAITED,
        **_of(request),
        request_id=command.command_id,
        reply_to=command.reply_to,
        reply_partition=command.reply_partition,
    )


def _of(request: Request) -> dict[str, Any]:
    return {"name": request.name, "sender": request.asker, "recipient": request.recipient}


def answer(run: Run, delivery_id: DeliveryId, delivery: Delivery, result: str, scribe: FactBuilder) -> None:
    """The handler of a request has returned: RequestAnswered."""
    scribe.write(MessageEvent, kinds.REQUEST_ANSWERED, **about(run, delivery_id, delivery), result=result or "null")


def fail(
    run: Run, delivery_id: DeliveryId, delivery: Delivery, cause: str, error: dict[str, Any], scribe: FactBuilder
) -> None:
    """No answer will come: RequestFailed, or RequestExpired where its time was up."""
    fields = {**about(run, delivery_id, delivery), "cause": cause, **error}
    if cause == EXPIRED:
        scribe.write(MessageEvent, kinds.REQUEST_EXPIRED, **fields)
    else:
        scribe.write(MessageEvent, kinds.REQUEST_FAILED, **fields)
