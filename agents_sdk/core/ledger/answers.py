"""Answers to the sender of a command, as a function of the fact that answers it and the run after it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.facts import (
    EXECUTE_LOCALLY,
    AttemptEvent,
    CallEvent,
    DependencyEvent,
    Fact,
    MessageEvent,
    RefusalEvent,
    Reply,
    RunEvent,
    StateEvent,
)
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.memory import scoped
from agents_sdk.core.ledger.rights import withheld
from agents_sdk.core.ledger.rules import holds
from agents_sdk.core.ledger.state import (
    Answer,
    Call,
    Delivery,
    EndedRun,
    PartitionState,
    Request,
    Run,
    Version,
    at_version,
)


def answer_to(book: PartitionState, run: Run, fact: Fact) -> Answer:
    """The answer that ``fact``, the first one of its command, is."""
    answer = Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    if type(fact) is StateEvent:
        _state(book, run, fact, answer)
    elif type(fact) is RefusalEvent:
        return refused(fact)
    elif type(fact) is RunEvent and fact.kind == kinds.CHILD_STARTED:
        answer.detail = ids.canonical({"child_run_id": fact.child_run_id})
    elif (type(fact) is MessageEvent and fact.kind == kinds.MESSAGE_PUBLISHED) or type(fact) is RunEvent:
        answer.detail = ids.canonical({"recipients": fact.recipients})
    elif type(fact) is MessageEvent and fact.kind in (kinds.HANDLER_STARTED, kinds.HANDLER_FAILED):
        delivery = run.deliveries[fact.delivery_id]
        if delivery.attempt > fact.attempt:
            answer.detail = attempt_to_make(delivery, fact.at)
    elif type(fact) is AttemptEvent and fact.fencing_token:
        answer.detail = ids.canonical({"fencing_token": fact.fencing_token})
    elif type(fact) is DependencyEvent:
        answer.detail = ids.canonical({"dependency_id": fact.dependency_id, "satisfied": False})
    return answer


def registered(book: PartitionState, name: str, facts: list[Fact]) -> Answer:
    """The answer to a registration: the part of the declaration that was not granted, if any."""
    missing = withheld(book, name)
    event_id = facts[0].event_id if facts else ""
    return Answer(event_id=event_id, detail=ids.canonical({"not_granted": missing}) if missing else "")


def attempt_to_make(delivery: Delivery, now: int) -> str:
    """The handler's news of its open attempt: the fields of its MessageDelivered, and ``wait_us``, how long after
    ``now`` it is to be made."""
    told: dict[str, Any] = {"attempt": delivery.attempt, "event_id": delivery.events[-1], "at": delivery.at}
    told["run_seq"] = delivery.seq
    if delivery.first_at:
        told["first_at"] = delivery.first_at
    if delivery.restarts:
        told["restarts"] = delivery.restarts
    if delivery.not_before:
        told |= {"not_before": delivery.not_before, "wait_us": max(delivery.not_before - now, 0)}
    return ids.canonical(told)


def refused(fact: RefusalEvent) -> Answer:
    """The answer to a refused command."""
    return Answer(
        status="refused",
        event_id=fact.event_id,
        run_seq=fact.run_seq,
        code=fact.code,
        message=fact.message,
        detail=fact.detail,
    )


def _state(book: PartitionState, run: Run, fact: StateEvent, answer: Answer) -> None:
    answer.version = fact.version
    match fact.kind:
        case kinds.STATE_READ:
            found = at_version(run, fact.key, fact.version) if fact.version else None
            if fact.batch:
                answer.version, answer.value = 0, f"[{entry(fact.key, found)}]"
            else:
                answer.value = found.value if found else ""
        case kinds.STATE_LISTED:
            listed = [
                {"key": key, "version": kept[-1].version}
                for key, kept in sorted(run.state.items())
                if key.startswith(fact.key)
                and not kept[-1].deleted
                and holds(book, fact.agent, "reads", scoped(run.run_id, key))
            ]
            _within(book, answer, listed)
        case kinds.HISTORY_READ:
            _within(book, answer, [_version(kept) for kept in run.state.get(fact.key, ())])


def entry(key: str, found: Version | None) -> str:
    """A key as an answer about several keys tells it; without ``value`` where it has none."""
    value = f',"value":{found.value}' if found and found.value else ""
    return f'{{"key":{ids.canonical(key)}{value},"version":{found.version if found else 0}}}'


def read_along(run: Run, fact: StateEvent, changes: Changes) -> None:
    """Adds a key to the answer of the command that read it, unless it is the command's first: that one begins it."""
    answer = run.answers.get(fact.command_id) if fact.batch else None
    if answer is not None:
        found = at_version(run, fact.key, fact.version) if fact.version else None
        changes.grow(answer, "value", f"{answer.value[:-1]},{entry(fact.key, found)}]")


def _within(book: PartitionState, answer: Answer, rows: list[dict[str, Any]]) -> None:
    """Puts the rows in the answer, unless they are more than a record may carry."""
    value = ids.canonical(rows)
    size, limit = len(value.encode()), book.limits.max_value_bytes
    if size <= limit:
        answer.value = value
        return
    answer.status, answer.code = "refused", "oversize"
    answer.message = f"the answer has {size} bytes, the limit is {limit}; ask for less, or ask bp.state"
    answer.detail = ids.canonical({"size": size, "limit": limit})


def _version(kept: Version) -> dict[str, Any]:
    fields = {name: getattr(kept, name) for name in ("version", "agent", "at", "value_hash", "event_id", "deleted")}
    return {**fields, "size": len(kept.value.encode())}


def outcome(fact: CallEvent) -> Answer:
    """The caller's answer about a call that is settled."""
    answer = Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    detail: dict[str, Any] = {
        "provider": fact.provider,
        "attempts": fact.attempts,
        "cost_nano_usd": fact.cost_nano_usd,
        "latency_us": fact.latency_us,
    }
    if fact.report:
        detail["report"] = msgspec.Raw(fact.report.encode())
    if fact.effect:
        detail["at"] = fact.at
    if fact.kind == kinds.CALL_COMPLETED:
        answer.value = fact.result
        detail["degraded"] = fact.degraded
        if fact.degraded and fact.report:
            detail |= {"reason": fact.error_message, **_said(fact)}
        if fact.cached:
            detail["cached"] = True
    else:
        answer.status, answer.code, answer.message = "failed", fact.error_code, fact.error_message
        detail |= {"error_class": fact.error_class, **_said(fact)}
        if fact.asked_nano_usd:
            left = fact.budget_nano_usd - fact.cost_nano_usd
            detail |= {"budget": "call", "asked_nano_usd": fact.asked_nano_usd, "left_nano_usd": left}
            detail["limit_nano_usd"] = fact.budget_nano_usd
    answer.detail = ids.canonical(detail)
    return answer


def execute_locally(call: Call) -> Answer:
    """The answer to a caller that makes the attempts of its call itself. The intent is recorded, the attempts may cost
    so much, and these were made before."""
    detail = {"attempts": call.attempts, "budget_nano_usd": call.budget, "spent_nano_usd": call.spent}
    return Answer(event_id=call.local, code=EXECUTE_LOCALLY, detail=ids.canonical(detail))


def request_outcome(fact: MessageEvent, request: Request) -> Answer:
    """The asker's answer about a request that is answered or never will be."""
    answer = Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    detail: dict[str, Any] = {
        "agent": fact.recipient,
        "name": fact.name,
        "waited_ms": (fact.at - request.asked_at) // 1_000,
    }
    if fact.kind == kinds.REQUEST_ANSWERED:
        answer.value = fact.result
    else:
        answer.status = "failed"
        answer.code = "request_expired" if fact.kind == kinds.REQUEST_EXPIRED else "request_failed"
        answer.message = fact.reason
        detail |= {"cause": fact.cause, "error_type": fact.error_type}
        if fact.error_message:
            detail |= {"said": fact.error_message, "said_by": fact.said_by or fact.recipient}
    answer.detail = ids.canonical(detail)
    return answer


def of_finished(finished: EndedRun) -> Answer:
    """The answer to a waiter for a run when it has ended."""
    return Answer(
        status=finished.status,
        value=finished.result,
        code=finished.code,
        message=finished.reason,
        event_id=finished.event_id,
        run_seq=finished.seq,
        detail=ids.canonical({"state_hash": finished.state_hash, **_said(finished)}),
    )


def of_child(fact: RunEvent) -> Answer:
    """The answer to a waiter for a child when it has ended."""
    return Answer(
        status=fact.status,
        value=fact.result,
        code=fact.code,
        message=fact.reason,
        event_id=fact.event_id,
        run_seq=fact.run_seq,
        detail=ids.canonical({"state_hash": fact.state_hash, **_said(fact)}),
    )


def _said(by: EndedRun | RunEvent | CallEvent) -> dict[str, str]:
    """The words of somebody else, and whose they are; nothing where there are none."""
    return {"said": by.said, "said_by": by.said_by} if by.said else {}


def reply(answer: Answer, command_id: CommandId, run_id: RunId, reply_to: str, issued_at: int = 0) -> Reply:
    """The record that carries an answer to its client; ``issued_at`` is that of the command, where it is answered at
    once."""
    return Reply(
        command_id=command_id,
        reply_to=reply_to,
        run_id=run_id,
        status=answer.status,
        version=answer.version,
        value=answer.value,
        event_id=answer.event_id,
        run_seq=answer.run_seq,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        issued_at=issued_at,
    )
