"""Deciders of the message, handler and dependency commands. Pure; see ``decide`` for the law."""

from __future__ import annotations

import re
from difflib import get_close_matches

from agents_sdk.core import ids
from agents_sdk.core.commands import Command, HandlerBody, MessageBody
from agents_sdk.core.facts import DependencyEvent, MessageEvent
from agents_sdk.core.ledger import contracts
from agents_sdk.core.ledger.ending import end
from agents_sdk.core.ledger.rules import LEDGER, check, subscribers
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, Refusal, Scribe
from agents_sdk.core.ledger.state import Book, Delivery, Dependency, Run, work_done

NAME_LIMIT = 200
"""Characters."""
NAME = re.compile(r"[a-z0-9_]+([.-][a-z0-9_]+)*", re.ASCII)
MET = "dependency.satisfied"


def deliver(
    scribe: Scribe, workflow: str, message_id: str, name: str, sender: str, recipient: str, data: str
) -> MessageEvent:
    """The first attempt to bring a message to one agent; its event id is the delivery's identity."""
    return scribe.write(
        MessageEvent,
        "MessageDelivered",
        name=name,
        message_id=message_id,
        delivery_id=scribe.next_event_id(),
        workflow=workflow,
        sender=sender,
        recipient=recipient,
        data=data,
        attempt=1,
    )


def _checked_name(name: str) -> str:
    if len(name) > NAME_LIMIT or not NAME.fullmatch(name):
        message = f"a message name is like search.completed, at most {NAME_LIMIT} characters, not {name!r}"
        raise Refusal("invalid_command", message, field="name")
    return name


def _checked(book: Book, command: Command) -> MessageBody:
    body = command.message
    assert body is not None
    _checked_name(body.name)
    check(book, command.agent, "publishes", "publish", name=body.name)
    contracts.check_message(book, body.name, body.data)
    return body


def _known_agent(book: Book, name: str) -> str:
    if name not in book.agents:
        near = get_close_matches(name, sorted(book.agents), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Refusal("unknown_agent", f"no agent is registered as {name!r}{hint}", agent=name, nearest=near)
    return name


def publish(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """Publish → MessagePublished and a MessageDelivered for each subscriber."""
    body = _checked(book, command)
    recipients = list(subscribers(book, body.name, run.workflow))
    message = scribe.write(
        MessageEvent,
        "MessagePublished",
        name=body.name,
        workflow=run.workflow,
        sender=command.agent,
        data=body.data,
        recipients=len(recipients),
    )
    for recipient in recipients:
        deliver(scribe, run.workflow, message.event_id, body.name, command.agent, recipient, body.data)


def send(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """SendMessage → MessageSent and its MessageDelivered."""
    body = _checked(book, command)
    recipient = _known_agent(book, body.recipient)
    message = scribe.write(
        MessageEvent,
        "MessageSent",
        name=body.name,
        workflow=run.workflow,
        sender=command.agent,
        recipient=recipient,
        data=body.data,
        recipients=1,
    )
    deliver(scribe, run.workflow, message.event_id, body.name, command.agent, recipient, body.data)


def _handled(run: Run, command: Command) -> tuple[Delivery, HandlerBody]:
    body = command.handler
    assert body is not None
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None:
        raise Refusal("invalid_command", f"the run has no delivery {command.delivery_id!r}", field="delivery_id")
    if delivery.recipient != command.agent:
        raise Refusal("scope", f"the delivery is {delivery.recipient!r}'s, not {command.agent!r}'s", rule="recipient")
    if not 1 <= body.attempt <= delivery.attempt:
        message = f"the delivery is at attempt {delivery.attempt}, no attempt {body.attempt} was made"
        raise Refusal("invalid_command", message, field="attempt")
    return delivery, body


def complete_handler(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """CompleteHandler → HandlerCompleted and whatever this triggers."""
    delivery, body = _handled(run, command)
    completed = scribe.write(
        MessageEvent,
        "HandlerCompleted",
        name=delivery.name,
        message_id=delivery.message_id,
        delivery_id=command.delivery_id,
        workflow=run.workflow,
        sender=delivery.sender,
        recipient=delivery.recipient,
        attempt=body.attempt,
    )
    if run.pending.get(delivery.recipient) == 1:
        _trigger(run, delivery.recipient, completed.event_id, scribe)


def _trigger(run: Run, agent: str, event_id: str, scribe: Scribe) -> None:
    """Fires the dependencies that ``agent``, having just completed its work, is the last to meet."""
    for dependency_id, dependency in run.dependencies.items():
        if dependency.satisfied or agent not in dependency.depends_on:
            continue
        if all(other == agent or work_done(run, other) for other in dependency.depends_on):
            by = [event_id if other == agent else run.completed[other] for other in dependency.depends_on]
            _satisfy(run, dependency_id, dependency, by, scribe)


def _satisfy(run: Run, dependency_id: str, dependency: Dependency, by: list[str], scribe: Scribe) -> None:
    met = scribe.write(
        DependencyEvent,
        "DependencySatisfied",
        dependency_id=dependency_id,
        downstream=dependency.downstream,
        depends_on=dependency.depends_on,
        trigger_when="all_completed",
        name=dependency.name,
        satisfied_by=by,
    )
    data = ids.canonical({"depends_on": dependency.depends_on})
    deliver(scribe, run.workflow, met.event_id, dependency.name, LEDGER, dependency.downstream, data)


def fail_handler(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """FailHandler → HandlerFailed, then the next attempt, or the dead letter and the end of the run."""
    delivery, body = _handled(run, command)
    error = {"error_type": body.error_type[:200], "error_message": body.error_message[:TEXT_LIMIT]}
    common = {
        "name": delivery.name,
        "message_id": delivery.message_id,
        "delivery_id": command.delivery_id,
        "workflow": run.workflow,
        "sender": delivery.sender,
        "recipient": delivery.recipient,
    }
    scribe.write(MessageEvent, "HandlerFailed", **common, attempt=body.attempt, **error)
    if body.attempt < delivery.attempt:
        return  # an earlier attempt, reported late by a worker that lost the inbox: a newer one is under way
    spec = book.agents.get(delivery.recipient)
    if delivery.attempt < (spec.max_deliveries if spec else 1):
        scribe.write(MessageEvent, "MessageDelivered", **common, data=delivery.data, attempt=delivery.attempt + 1)
        return
    scribe.write(MessageEvent, "MessageDeadLettered", **common, data=delivery.data, attempt=delivery.attempt, **error)
    reason = f"agent {delivery.recipient!r} failed {delivery.attempt} times on {delivery.name!r}: {error['error_type']}"
    end(run, scribe, "RunFailed", reason=f"{reason}: {error['error_message']}")


def declare_dependency(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """DeclareDependency → DependencyDeclared, and at once DependencySatisfied where the upstream work is done."""
    body = command.dependency
    assert body is not None
    if body.trigger_when != "all_completed":
        raise Refusal(
            "invalid_command", f"trigger_when is {body.trigger_when!r}; use all_completed", field="trigger_when"
        )
    if not body.depends_on or len(set(body.depends_on)) != len(body.depends_on):
        raise Refusal("invalid_command", "depends_on needs at least one agent, each once", field="depends_on")
    for agent in (body.downstream, *body.depends_on):
        _known_agent(book, agent)
    cycle = _cycle(run, body.downstream, body.depends_on)
    if cycle:
        raise Refusal("invalid_command", f"this closes a cycle: {' → '.join(cycle)}", field="depends_on", cycle=cycle)
    name = _checked_name(body.name or MET)
    if name != MET:
        check(book, command.agent, "publishes", "have published", name=name)
    scribe.write(
        DependencyEvent,
        "DependencyDeclared",
        dependency_id=command.command_id,
        downstream=body.downstream,
        depends_on=body.depends_on,
        trigger_when=body.trigger_when,
        name=name,
    )
    if all(work_done(run, agent) for agent in body.depends_on):
        dependency = Dependency(downstream=body.downstream, depends_on=body.depends_on, name=name)
        _satisfy(run, command.command_id, dependency, [run.completed[agent] for agent in body.depends_on], scribe)


def _cycle(run: Run, downstream: str, depends_on: list[str]) -> list[str]:
    """The agents on a cycle that the new edges would close, downstream first and last; empty for none. A loop, not a
    recursion: a chain of dependencies may be longer than Python's stack."""
    upstream: dict[str, set[str]] = {}
    for dependency in run.dependencies.values():
        upstream.setdefault(dependency.downstream, set()).update(dependency.depends_on)
    came_from = dict.fromkeys(sorted(depends_on), downstream)
    frontier = list(came_from)
    for agent in frontier:
        if agent == downstream:
            break
        for other in sorted(upstream.get(agent, ())):
            if other not in came_from:
                came_from[other] = agent
                frontier.append(other)
    if downstream not in came_from:
        return []
    path = [downstream, came_from[downstream]]
    while path[-1] != downstream:
        path.append(came_from[path[-1]])
    return path[::-1]
