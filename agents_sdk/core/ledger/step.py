"""``apply``: one command decided, folded, answered and encoded, or nothing of it. The step of the ledger's shell and of
the replay. Pure but for the book, which it advances.

Law: ``apply`` raises nothing. After any failure of one command the book is as it was before, and the step is one short
refusal. So the next command can be decided, and a replay comes to the same end.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from agents_sdk.core import bounds, ids, kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RefusalEvent, Reply, RunEvent
from agents_sdk.core.identity import Proof
from agents_sdk.core.ids import CallId, CommandId, RunId
from agents_sdk.core.ledger import calls, effects, sizes
from agents_sdk.core.ledger.answers import (
    execute_locally,
    of_child,
    of_finished,
    outcome,
    refused,
    registered,
    reply,
    request_outcome,
)
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.decide import decide
from agents_sdk.core.ledger.divergence import DIVERGED
from agents_sdk.core.ledger.evolve import evolve
from agents_sdk.core.ledger.issued import issued
from agents_sdk.core.ledger.refusals import passed_over
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, Refusal
from agents_sdk.core.ledger.state import Answer, Call, ChildWait, PartitionState, Request, Run, WaitingClient
from agents_sdk.core.ledger.timers import set_by

TOLD_LATER: Final = frozenset(
    {
        kinds.CALL_REQUESTED,
        kinds.CALL_AWAITED,
        kinds.REQUEST_SENT,
        kinds.REQUEST_AWAITED,
        kinds.RUN_AWAITED,
        kinds.CHILD_AWAITED,
    }
)
"""Kinds of facts whose command is answered when something else ends."""
INTERNAL_ERROR: Final = "internal_error"
"""Code of the refusal of a command that made the core raise."""
Check: TypeAlias = Callable[[list[Fact]], None]
"""Looks at the facts of a command before they are folded; whatever it raises refuses the command."""


class AddressedReply(msgspec.Struct, frozen=True, gc=False):
    """A reply and the partition of bp.replies its client listens to."""

    partition: int
    reply: Reply
    agent: str = ""
    """The asker that proved itself: by its key the answer is proven. Empty: nobody proved to have asked."""
    generation: int = -1
    """Of the key that the command was signed with; -1: any that is valid."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why a command could not be applied: a fault of the code, or a record that cannot be written."""

    stage: str
    """decide, measure, encode, outcomes, evolve, answers, issued or timers."""
    exception: str
    """Name of the exception's type."""
    message: str
    trace: str = ""
    """The last lines of its traceback, for the log and the dead letter."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """The consequences of one command."""

    facts: list[Fact]
    replies: list[AddressedReply]
    issued: list[list[Command]] = []
    """For each fact, the commands for other runs that follow from it."""
    timers: list[tuple[RunId, str, int]] = []
    """Run, name and time (microseconds UTC) of each timer that the facts set."""
    failure: Failure | None = None
    """Set where the step is the refusal of a command that raised; the shell logs it and writes a dead letter."""


def apply(
    book: PartitionState,
    command: Command,
    offset: int,
    at: int,
    proof: Proof = Proof.UNSIGNED,
    *,
    check: Check | None = None,
    failed: RefusalEvent | None = None,
) -> Step:
    """Decides the command at ``offset`` of bp.commands, appended at ``at`` (microseconds UTC), and folds its facts into
    the book. ``proof`` is what its signature proves. The same book and arguments always give the same step.

    Raises nothing: an exception anywhere leaves the book as it was, and gives one refusal with the code
    ``internal_error``. ``check`` is called with the facts before they are folded: the shell encodes them there, and
    holds them against what the broker takes. A Refusal that it raises counts as the core's own. ``failed`` is a refusal
    with that code from the record. It is written again instead of deciding, so that a replay comes to the same end."""
    if failed is not None:
        detail = msgspec.json.decode(failed.detail, type=dict[str, Any]) if failed.detail else {}
        return _refused(book, command, offset, at, INTERNAL_ERROR, failed.message, detail, None, proof)
    changes, stage = Changes(), ["decide"]
    try:
        return _applied(book, command, offset, at, proof, check, changes, stage)
    except (KeyboardInterrupt, SystemExit):
        changes.take_back()
        raise
    except Refusal as refusal:  # what it causes is more than may be written
        changes.take_back()
        return _refused(book, command, offset, at, refusal.code, refusal.message, refusal.detail, None, proof)
    except BaseException as error:  # noqa: BLE001  # a library written in Rust panics with a BaseException
        changes.take_back()
        failure = _failure(stage[0], error)
    detail = {"stage": failure.stage, "exception": failure.exception}
    message = f"the ledger failed at it in {failure.stage}: {failure.exception}: {failure.message}; nothing changed"
    return _refused(book, command, offset, at, INTERNAL_ERROR, message, detail, failure, proof)


def _applied(
    book: PartitionState,
    command: Command,
    offset: int,
    at: int,
    proof: Proof,
    check: Check | None,
    changes: Changes,
    stage: list[str],
) -> Step:
    """As ``apply``; raises what its parts raise, while ``stage`` holds the name of the part."""
    run = book.runs.get(command.run_id)
    facts = decide(book, command, offset, at, proof)
    stage[0] = "measure"
    sizes.check(book.limits, facts)
    if check is not None:
        stage[0] = "encode"
        check(facts)
    stage[0] = "outcomes"
    # before the fold, which forgets requests, and calls whose handler has ended: the waiters hear of it all the same
    outcomes = _outcomes(run, facts) + _waits_for_child(run, facts) if run is not None else []
    stage[0] = "evolve"
    for fact in facts:
        evolve(book, fact, changes)
    changes.assign(book, "applied", max(book.applied, offset))
    stage[0] = "answers"
    run = run or book.runs.get(command.run_id)
    replies = _replies(book, run, command, at, facts, outcomes, proof is Proof.GOOD)
    stage[0] = "issued"
    follow = [issued(fact) for fact in facts]
    stage[0] = "timers"
    timers = [(fact.run_id, *timer) for fact in facts if (timer := set_by(fact)) is not None]
    return Step(facts, _room_for(book, replies), follow, timers)


def _room_for(book: PartitionState, replies: list[AddressedReply]) -> list[AddressedReply]:
    """As many of the answers as may be sent for one command. A waiter for another one asks again and is answered
    alone."""
    if len(replies) < 2:
        return replies
    left = book.limits.max_caused_bytes // sizes.UTF8_BYTES
    for index, told in enumerate(replies):
        left -= len(told.reply.value) + len(told.reply.message) + len(told.reply.detail) + 1_000
        if left < 0 and index:
            return replies[:index]
    return replies


def _failure(stage: str, error: BaseException) -> Failure:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # an exception whose text cannot be made either
        message = "no message"
    trace = "".join(traceback.format_tb(error.__traceback__)[-8:])
    return Failure(stage, type(error).__name__, sizes.writable(message, TEXT_LIMIT), sizes.writable(trace, 8_000))


def _refused(
    book: PartitionState,
    command: Command,
    offset: int,
    at: int,
    code: str,
    message: str,
    detail: dict[str, Any],
    failure: Failure | None,
    proof: Proof,
) -> Step:
    """The step of a command that cannot be applied: one refusal, as short as can be, about no run. It changes nothing
    but the offset, so that nothing can go wrong with it."""
    fact = passed_over(command, offset, at, code, message, detail)
    book.applied = max(book.applied, offset)
    told = []
    if _addressed(command):
        own = reply(refused(fact), fact.command_id, fact.run_id, command.reply_to, command.issued_at)
        told.append(_to_sender(command, own, proven=proof is Proof.GOOD))
    try:
        follow = issued(fact)
    except BaseException:  # noqa: BLE001  # it may be this that failed
        follow = []
    return Step([fact], told, [follow], failure=failure)


def _to_sender(command: Command, own: Reply, *, proven: bool) -> AddressedReply:
    if not proven:
        return AddressedReply(command.reply_partition, own)
    return AddressedReply(command.reply_partition, own, command.agent, command.key_generation)


def _outcomes(run: Run, facts: list[Fact]) -> list[AddressedReply]:
    """Answers to the waiters for a call or a request that the facts settle."""
    told = []
    for fact in facts:
        waiting: Call | Request
        if type(fact) is CallEvent and fact.kind in kinds.CALL_OUTCOMES and fact.call_id in run.calls:
            waiting, answer, asked = run.calls[fact.call_id], outcome(fact), CommandId(fact.call_id)
        elif type(fact) is MessageEvent and fact.kind in kinds.REQUEST_ENDS:
            waiting, asked = run.requests[fact.request_id], fact.request_id
            answer = request_outcome(fact, waiting)
        else:
            continue
        if waiting.reply_to:
            answered = reply(answer, asked, run.run_id, waiting.reply_to)
            told.append(AddressedReply(waiting.reply_partition, answered, _asker(waiting)))
    return told


def _asker(waiting: Call | Request | ChildWait | WaitingClient) -> str:
    return waiting.asker if isinstance(waiting, Request) else waiting.agent


def _waits_for_child(run: Run, facts: list[Fact]) -> list[AddressedReply]:
    """Answers to the waiters for the child that has ended by these facts."""
    ended = facts[0] if facts else None
    if type(ended) is not RunEvent or ended.kind != kinds.CHILD_ENDED:
        return []
    told = of_child(ended)
    return [
        AddressedReply(wait.reply_partition, reply(told, command_id, run.run_id, wait.reply_to), wait.agent)
        for command_id, wait in run.child_waits.items()
        if wait.child_run_id == ended.child_run_id and wait.reply_to
    ]


def undecodable(partition: int, key: bytes | None, offset: int, at: int, code: str, message: str) -> RefusalEvent:
    """The fact about a record of bp.commands that is no command. Its id derives from its place in the log. The key does
    not stand for the partition: a client may write any key to any partition."""
    shown = (key or b"")[:200].decode(errors="replace")
    name = ids.derive("undecodable", f"{at}/{partition}/{offset}/{shown}")
    return of_no_command(name, offset, at, code, message, {"key": shown})


def of_no_command(name: str, offset: int, at: int, code: str, message: str, detail: dict[str, Any]) -> RefusalEvent:
    """The refusal of a record that is no command, or that is not decided; ``name`` is its own."""
    return RefusalEvent(
        event_id=ids.derive(name, "0"),
        kind=kinds.COMMAND_REFUSED,
        run_id=RunId(""),
        run_seq=0,
        correlation_id="",
        causation_id="",
        agent="",
        at=at,
        command_id=CommandId(name),
        command_offset=offset,
        command_kind="",
        code=code,
        message=message[:TEXT_LIMIT],
        detail=ids.canonical(detail),
    )


def _replies(
    book: PartitionState,
    run: Run | None,
    command: Command,
    at: int,
    facts: list[Fact],
    outcomes: list[AddressedReply],
    proven: bool,
) -> list[AddressedReply]:
    replies = []
    if _addressed(command):
        answer = _own_answer(book, run, command, at, facts)
        if answer is not None:
            own = reply(answer, command.command_id, command.run_id, command.reply_to, command.issued_at)
            replies.append(_to_sender(command, own, proven=proven))
    replies += outcomes
    if run is not None and facts and facts[-1].kind in kinds.RUN_ENDS:
        replies += _farewells(book, run)
    return replies


def _addressed(command: Command) -> bool:
    """Whether the command has an address that an answer can go to."""
    if not command.reply_to:
        return False
    fits = max(len(command.command_id), len(command.reply_to), len(command.run_id)) <= bounds.ID_LIMIT
    return fits and 0 <= command.reply_partition <= bounds.COUNT_LIMIT


def _own_answer(book: PartitionState, run: Run | None, command: Command, at: int, facts: list[Fact]) -> Answer | None:
    """The present answer to the command's sender; None where it comes later."""
    if facts and isinstance(facts[0], RefusalEvent) and (not facts[0].run_seq or facts[0].code == DIVERGED):
        # About no live run: nothing remembers it. It comes first, since a forged command may have the id of a true one,
        # and its forger must not get that one's answer.
        return refused(facts[0])
    if run is not None:
        own = run.answered_as(command.command_id, command.agent) if book.rights_required else command.command_id
        if own in run.answers:
            return run.answers[own]
        if own != command.command_id:
            return Answer(event_id=facts[0].event_id, run_seq=facts[0].run_seq) if facts else Answer()
    ended = book.finished.get(command.run_id)
    sender = command.agent if book.rights_required else ""
    told = ended.answer_to(command.command_id, sender) if ended is not None else None
    if told is not None:
        return told
    call = run.calls.get(CallId(command.command_id)) if run is not None else None
    if call is not None and calls.is_callers(call, command):
        return execute_locally(call)
    if call is not None and call.effect:
        return effects.claimed(call, at)
    if command.kind == kinds.REGISTER_AGENT and command.registration is not None:
        return registered(book, command.registration.name, facts)
    if facts:
        if facts[0].kind in TOLD_LATER:
            return None
        return Answer(event_id=facts[0].event_id, run_seq=facts[0].run_seq)
    if ended is not None:
        return of_finished(ended) if command.kind == kinds.AWAIT_RUN else Answer(run_seq=ended.seq)
    if run is not None and any(
        command.command_id in open_ for open_ in (run.calls, run.requests, run.waiting, run.child_waits)
    ):
        return None
    return Answer()  # nothing to do: a registration that is known, an attempt recorded long ago


def _farewells(book: PartitionState, run: Run) -> list[AddressedReply]:
    """Tells those who wait for the run that it ended, and those who wait for its open calls, requests and children that
    no outcome comes."""
    finished = book.finished[run.run_id]
    end = of_finished(finished)
    told = [
        AddressedReply(waiting.reply_partition, reply(end, command_id, run.run_id, waiting.reply_to), waiting.agent)
        for command_id, waiting in run.waiting.items()
        if waiting.reply_to
    ]
    gone = Answer(
        status="refused",
        code="run_finished",
        message=f"run {run.run_id} ended ({finished.status}) before there was an outcome",
        detail=ids.canonical({"run_id": run.run_id, "status": finished.status}),
    )
    unsettled: dict[CommandId, Call | Request | ChildWait] = {
        CommandId(id_): call for id_, call in run.calls.items() if not call.settled
    }
    for command_id, wait in (unsettled | run.requests | run.child_waits).items():
        if wait.reply_to:
            answered = reply(gone, command_id, run.run_id, wait.reply_to)
            told.append(AddressedReply(wait.reply_partition, answered, _asker(wait)))
    return told
