"""``apply``: one command decided, folded and answered. What the ledger's shell and the replay both run. Pure but for
the book, which it advances."""

from __future__ import annotations

from typing import Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RefusalEvent, Reply, RunEvent
from agents_sdk.core.identity import Proof
from agents_sdk.core.ledger import calls
from agents_sdk.core.ledger.answers import of_child, of_finished, outcome, refused, reply, request_outcome, yours
from agents_sdk.core.ledger.decide import decide
from agents_sdk.core.ledger.evolve import ENDED, evolve
from agents_sdk.core.ledger.scribe import TEXT_LIMIT
from agents_sdk.core.ledger.state import Answer, Book, Call, ChildWait, Request, Run

TOLD_LATER: Final = frozenset(
    {"CallRequested", "CallAwaited", "RequestSent", "RequestAwaited", "RunAwaited", "ChildAwaited"}
)
"""Kinds of facts whose command is answered when something else ends."""


class Addressed(msgspec.Struct, frozen=True, gc=False):
    """A reply and the partition of bp.replies its client listens to."""

    partition: int
    reply: Reply


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one command caused."""

    facts: list[Fact]
    replies: list[Addressed]


def apply(book: Book, command: Command, offset: int, at: int, proof: Proof = Proof.UNSIGNED) -> Step:
    """Decides the command at ``offset`` of bp.commands, appended at ``at`` (microseconds UTC), and folds its facts into
    the book; ``proof`` is what its signature proves. The same book and arguments always give the same step."""
    run = book.runs.get(command.run_id)
    facts = decide(book, command, offset, at, proof)
    # before the fold, which forgets requests, and calls whose handler has ended: who waits is told all the same
    outcomes = _outcomes(run, facts) + _waits_for_child(run, facts) if run is not None else []
    for fact in facts:
        evolve(book, fact)
    book.applied = max(book.applied, offset)
    return Step(facts, _replies(book, run or book.runs.get(command.run_id), command, facts, outcomes))


def _outcomes(run: Run, facts: list[Fact]) -> list[Addressed]:
    """What those are told who wait for a call or a request that the facts settle."""
    told = []
    for fact in facts:
        waiting: Call | Request
        if type(fact) is CallEvent and fact.kind in ("CallCompleted", "CallFailed"):
            waiting, answer, asked = run.calls[fact.call_id], outcome(fact), fact.call_id
        elif type(fact) is MessageEvent and fact.kind in ("RequestAnswered", "RequestFailed", "RequestExpired"):
            waiting, asked = run.requests[fact.request_id], fact.request_id
            answer = request_outcome(fact, waiting)
        else:
            continue
        if waiting.reply_to:
            told.append(Addressed(waiting.reply_partition, reply(answer, asked, run.run_id, waiting.reply_to)))
    return told


def _waits_for_child(run: Run, facts: list[Fact]) -> list[Addressed]:
    """What those are told who wait for the child that has ended by these facts."""
    ended = facts[0] if facts else None
    if type(ended) is not RunEvent or ended.kind != "ChildEnded":
        return []
    told = of_child(ended)
    return [
        Addressed(wait.reply_partition, reply(told, command_id, run.run_id, wait.reply_to))
        for command_id, wait in run.child_waits.items()
        if wait.child_run_id == ended.child_run_id and wait.reply_to
    ]


def undecodable(key: bytes | None, offset: int, at: int, code: str, message: str) -> RefusalEvent:
    """The fact about a record of bp.commands that is no command; its id derives from its place in the log (the key
    stands for the partition)."""
    shown = (key or b"")[:200].decode(errors="replace")
    name = ids.derive("undecodable", f"{at}/{offset}/{shown}")
    return RefusalEvent(
        event_id=ids.derive(name, "0"),
        kind="CommandRefused",
        run_id="",
        run_seq=0,
        correlation_id="",
        causation_id="",
        agent="",
        at=at,
        command_id=name,
        command_offset=offset,
        command_kind="",
        code=code,
        message=message[:TEXT_LIMIT],
        detail=ids.canonical({"key": shown}),
    )


def _replies(
    book: Book, run: Run | None, command: Command, facts: list[Fact], outcomes: list[Addressed]
) -> list[Addressed]:
    replies = []
    if command.reply_to:
        answer = _own_answer(book, run, command, facts)
        if answer is not None:
            own = reply(answer, command.command_id, command.run_id, command.reply_to)
            replies.append(Addressed(command.reply_partition, own))
    replies += outcomes
    if run is not None and facts and facts[-1].kind in ENDED:
        replies += _farewells(book, run)
    return replies


def _own_answer(book: Book, run: Run | None, command: Command, facts: list[Fact]) -> Answer | None:
    """What the command's sender is told now; None where it is told later."""
    if facts and isinstance(facts[0], RefusalEvent) and not facts[0].run_seq:
        # About no live run: nothing remembers it. It comes first, since a forged command may have the id of a true one,
        # and whoever forged it must not be told that one's answer.
        return refused(facts[0])
    if run is not None and command.command_id in run.answers:
        return run.answers[command.command_id]
    ended = book.finished.get(command.run_id)
    if ended is not None and command.command_id in ended.answers:
        return ended.answers[command.command_id]
    call = run.calls.get(command.command_id) if run is not None else None
    if call is not None and calls.is_callers(call, command):
        return yours(call)
    if facts:
        if facts[0].kind in TOLD_LATER:
            return None
        return Answer(event_id=facts[0].event_id, run_seq=facts[0].run_seq)
    if ended is not None:
        return of_finished(ended) if command.kind == "AwaitRun" else Answer(run_seq=ended.seq)
    if run is not None and any(
        command.command_id in open_ for open_ in (run.calls, run.requests, run.waiting, run.child_waits)
    ):
        return None
    return Answer()  # nothing to do: a registration that is known, an attempt recorded long ago


def _farewells(book: Book, run: Run) -> list[Addressed]:
    """Tells those who wait for the run that it ended, and those who wait for its open calls, requests and children that
    no outcome comes."""
    finished = book.finished[run.run_id]
    end = of_finished(finished)
    told = [
        Addressed(waiting.reply_partition, reply(end, command_id, run.run_id, waiting.reply_to))
        for command_id, waiting in run.waiting.items()
        if waiting.reply_to
    ]
    gone = Answer(
        status="refused",
        code="run_finished",
        message=f"run {run.run_id} ended ({finished.status}) before there was an outcome",
        detail=ids.canonical({"run_id": run.run_id, "status": finished.status}),
    )
    unsettled: dict[str, Call | Request | ChildWait] = {
        id_: call for id_, call in run.calls.items() if not call.settled
    }
    for command_id, wait in (unsettled | run.requests | run.child_waits).items():
        if wait.reply_to:
            told.append(Addressed(wait.reply_partition, reply(gone, command_id, run.run_id, wait.reply_to)))
    return told
