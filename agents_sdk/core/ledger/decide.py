"""``decide(book, command, offset, at, proof) → facts``: what a command causes, or why it is refused.

Lives here: one decider per kind of command, in a table. Not here: changes to the book (``evolve``), clocks, ids made
from chance, I/O, logging. Law: the same book, command, offset, time and proof always give the same facts, and nothing
is changed by asking.
"""

# long because: one way of a command through all checks to its decider

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import BODY_OF_KIND, Command, RunBody
from agents_sdk.core.facts import DecisionEvent, Fact, RefusalEvent, RunEvent
from agents_sdk.core.identity import CODES, EXECUTOR, LEDGER, Proof
from agents_sdk.core.ids import CallId
from agents_sdk.core.kinds import FactKind
from agents_sdk.core.ledger import (
    agents,
    breakers,
    calls,
    children,
    contracts,
    deadlines,
    dependencies,
    discards,
    divergence,
    effects,
    fingerprints,
    handlers,
    identity,
    memory,
    messages,
    payloads,
    references,
    refusals,
    registration,
    requests,
    resuming,
    rights,
    room,
    seen_commands,
    skips,
    states,
    timers,
)
from agents_sdk.core.ledger.deliveries import deliver
from agents_sdk.core.ledger.ending import ENDS_WORK, complete_when_idle, end
from agents_sdk.core.ledger.rules import DURABLE, RULES, apart, check, subscribers
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Call, ChildWait, PartitionState, Request, Run, WaitingClient, current
from agents_sdk.core.words import Why

Decider = Callable[[PartitionState, Run, Command, FactBuilder], None]
ONLY_FROM: Final = {
    **dict.fromkeys(kinds.BY_EXECUTOR, EXECUTOR),
    **dict.fromkeys((kinds.TIMER_FIRED, kinds.REPORT_CHILD), LEDGER),
}
"""Kinds that only one of the platform's own parts may send."""
RECORDS_ATTEMPT: Final = frozenset({kinds.RECORD_ATTEMPT, kinds.COMPLETE_CALL, kinds.FAIL_CALL})
"""Kinds that may tell of an attempt which was made, to be paid for whatever became of its run."""
SAID_BY_LEDGER: Final = frozenset({kinds.CANCEL_RUN, kinds.REPORT_CHILD})
"""Kinds that the ledger sends on account of another run, which may come after the end of this one."""
DISCARDS: Final = frozenset({kinds.DISCARD, kinds.DISCARD_CALL})
"""Kinds that may be about a run which has ended: they change nothing of it."""
NAME_LIMIT: Final = 500
"""Characters."""
PAYLOADS_OF_KIND: Final = {
    kinds.START_RUN: ("input",),
    kinds.START_CHILD: ("input",),
    **dict.fromkeys((kinds.COMPLETE_RUN, kinds.FAIL_RUN, kinds.CANCEL_RUN, kinds.REPORT_CHILD), ("result",)),
    kinds.SET_STATE: ("value",),
    kinds.RESTORE_STATE: ("value",),
    kinds.RESEND: ("data",),
    kinds.PUBLISH: ("data",),
    kinds.SEND_MESSAGE: ("data",),
    kinds.ASK: ("data",),
    kinds.CALL_CAPABILITY: ("params", "config"),
    **dict.fromkeys((kinds.RECORD_STEP, kinds.SETTLE_STEP), ("params", "result")),
}
"""Fields of the body that hold JSON. Not here: CompleteCall and CompleteHandler, which settle all the same."""


def decide(book: PartitionState, command: Command, offset: int, at: int, proof: Proof = Proof.UNSIGNED) -> list[Fact]:
    """The facts that the command causes, in order. One refusal where it is refused. None where it was applied before
    and its sender only has to be answered again."""
    unwritable = refusals.of_envelope(command, offset, at)
    if unwritable is not None:
        return [unwritable]
    run = book.runs.get(command.run_id)
    if run is None and memory.opens(command):
        run = memory.unopened(command.run_id)
    scribe = FactBuilder(command, offset, at, run.seq if run else None)
    known = run or book.finished.get(command.run_id)
    if known is not None:
        scribe.parent_run_id, scribe.root_run_id = known.parent_run_id, known.root_run_id
    scribe.marks = book.rights_required
    if run is not None:
        scribe.rules = run.rules if run.rules >= DURABLE else 0
        if divergence.marked(run, command):
            scribe.fingerprint = fingerprints.of(command)
    try:
        identity.check(book, command, at, proof)
        rights.check_standing(book, command)
        if run is not None and command.delivery_id:
            divergence.check_attempt(run, command)
        if not _repeated(book, run, command, scribe):
            _check_first_time(book, command)
            _decide(book, run, command, scribe)
    except divergence.Diverged as diverged:
        assert run is not None
        _write_diverged(book, run, command, diverged, scribe)
    except Refusal as refusal:
        scribe.facts.clear()
        scribe.seq = run.seq if run and refusal.code not in CODES else None
        _refuse(scribe, command, refusal)
    return scribe.facts


def _decide(book: PartitionState, run: Run | None, command: Command, scribe: FactBuilder) -> None:
    kind = command.kind
    refusals.check_bounds(command)
    if kind in WITHOUT_RUN:
        WITHOUT_RUN[kind](book, command, scribe)
        return
    body = BODY_OF_KIND.get(kind)
    if body is None:
        raise Refusal("invalid_command", f"no command has the kind {kind!r}", field="kind")
    if getattr(command, body) is None:
        raise Refusal("invalid_command", f"{kind} needs the body {body!r}", field=body)
    memory.check(command)
    if run is not None or kind == kinds.START_RUN:
        references.check_all(book, run, command)
    if kind == kinds.START_RUN:
        _start_run(book, run, command, scribe)
    elif run is None:
        _without_run(book, command, scribe)
    else:
        _in_run(book, run, command, scribe)


def _in_run(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    kind = command.kind
    if command.delivery_id and command.delivery_id in run.settled:
        raise Refusal("delivery_settled", f"delivery {command.delivery_id} was handled before")
    only = ONLY_FROM.get(kind, command.agent)
    if command.agent != only and not (only == EXECUTOR and calls.own_report(run, command)):
        raise Refusal("scope", f"only {only} may send {kind}, not {command.agent!r}", rule=only.removeprefix("bp."))
    _check_payloads(book, command)
    DECIDERS[kind](book, run, command, scribe)
    effects.settle_left(book, run, scribe)
    dependencies.trigger(run, scribe)
    if kind in ENDS_WORK or (kind == kinds.DISCARD and _buries(scribe)):
        complete_when_idle(run, scribe)


def _repeated(book: PartitionState, run: Run | None, command: Command, scribe: FactBuilder) -> bool:
    """Whether the command was seen before. A caller that asks again for an open call (it restarted: another address) is
    noted as the receiver of the outcome."""
    command_id = command.command_id
    if book.rights_required:
        rights.check_id(book, run, command)
    if run is None:
        finished = book.finished.get(command.run_id)
        sender = command.agent if book.rights_required else ""
        known = finished.answer_to(command_id, sender) if finished is not None else None
        return identity.repeated(book, command) or known is not None
    own = run.answered_as(command_id, command.agent) if book.rights_required else command_id
    known = run.answers.get(own)
    if known is not None:
        divergence.check_same(run, command, known, scribe.fingerprint)
        return True
    if own != command_id:
        return False
    asked = (
        run.calls.get(CallId(command_id))
        or run.requests.get(command_id)
        or run.waiting.get(command_id)
        or run.child_waits.get(command_id)
    )
    if asked is None:
        return False
    if not isinstance(asked, WaitingClient):
        divergence.check_same(run, command, asked, scribe.fingerprint)
    if isinstance(asked, Call) and (asked.effect or calls.is_callers(asked, command)):
        return True
    elsewhere = (asked.reply_to, asked.reply_partition) != (command.reply_to, command.reply_partition)
    if command.reply_to and (elsewhere or (isinstance(asked, Request) and asked.withdrawn)):
        if isinstance(asked, Call):
            calls.await_again(command, asked, scribe)
        elif isinstance(asked, ChildWait):
            children.await_again(run, command, asked.child_run_id, scribe)
        elif isinstance(asked, Request):
            requests.await_again(command, asked, scribe)
        else:
            _await_run(book, run, command, scribe)
    return True


def _check_first_time(book: PartitionState, command: Command) -> None:
    """A record copied from the log may come when the answer to it is forgotten. A registration is not refused here:
    it is sent again where its answer was lost, and the same declaration changes nothing."""
    if (
        book.identity_required
        and command.kind != kinds.REGISTER_AGENT
        and seen_commands.seen(book.spent, command.command_id, command.agent)
    ):
        raise seen_commands.replayed(command)


def _write_diverged(
    book: PartitionState, run: Run, command: Command, diverged: divergence.Diverged, scribe: FactBuilder
) -> None:
    """The refusal, and what becomes of the delivery: its run may have nothing left to do where it fails."""
    scribe.facts.clear()
    scribe.seq = run.seq
    _refuse(scribe, command, diverged)
    divergence.settle(book, run, command, diverged, scribe)
    if scribe.facts[-1].kind not in kinds.RUN_ENDS and _buries(scribe):
        dependencies.trigger(run, scribe)
        complete_when_idle(run, scribe)


def _buries(scribe: FactBuilder) -> bool:
    return any(fact.kind == kinds.MESSAGE_DEAD_LETTERED for fact in scribe.facts)


def _refuse(scribe: FactBuilder, command: Command, refusal: Refusal) -> None:
    if command.kind == kinds.START_RUN and command.agent == LEDGER and command.run is not None:
        refusal.detail["parent_run_id"] = command.run.parent_run_id  # the receiver of the news: see ``issued``
    scribe.write(
        RefusalEvent,
        kinds.COMMAND_REFUSED,
        command_kind=_short(command.kind),
        code=refusal.code,
        message=refusal.message[:TEXT_LIMIT],
        detail=ids.canonical({name: _short(value) for name, value in refusal.detail.items()}) if refusal.detail else "",
    )


def _short(value: Any) -> Any:
    """The value with long texts and lists cut: a refusal that quotes a huge command must still fit into a record."""
    if isinstance(value, str):
        return value[:NAME_LIMIT]
    return [_short(part) for part in value[:50]] if isinstance(value, list) else value


def _without_run(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    if command.kind in SAID_BY_LEDGER and command.agent == LEDGER:
        return  # the run ended meanwhile, perhaps so long ago that it is forgotten: there is nothing left to do
    finished = book.finished.get(command.run_id)
    if command.kind in DISCARDS:
        discards.discard_late(book, command, scribe)
        return
    if finished is None:
        raise Refusal("unknown_run", f"no run has the id {command.run_id!r}", run_id=command.run_id)
    if command.kind != kinds.COMPLETE_HANDLER:
        references.check_finished(book, finished, command)
    if command.kind in (kinds.AWAIT_RUN, kinds.COMPLETE_HANDLER, kinds.WITHDRAW_REQUEST):
        return  # answered from what is remembered of the run; a handler that ended its run has nothing to add
    if command.attempt is not None and command.kind in RECORDS_ATTEMPT and command.agent == EXECUTOR:
        scribe.seq = finished.seq
        calls.record_late(finished, command, scribe)
        return
    raise Refusal(
        "run_finished",
        f"run {command.run_id} has ended: {finished.status}",
        run_id=command.run_id,
        status=finished.status,
    )


def _check_payloads(book: PartitionState, command: Command) -> None:
    """Checked before anything else is decided on them."""
    body: Any = getattr(command, BODY_OF_KIND[command.kind])
    for field in PAYLOADS_OF_KIND.get(command.kind, ()):
        text: str = getattr(body, field)
        if text:
            payloads.check(book.limits, field, text)


def _start_run(book: PartitionState, run: Run | None, command: Command, scribe: FactBuilder) -> None:
    body = command.run
    assert body is not None
    if run is not None:
        raise Refusal("run_exists", f"run {command.run_id} was started before", run_id=command.run_id)
    finished = book.finished.get(command.run_id)
    if finished is not None:
        raise Refusal("run_exists", f"run {command.run_id} was started before and has ended", run_id=command.run_id)
    if not command.run_id:
        raise Refusal("invalid_command", "StartRun needs a run_id", field="run_id")
    if body.parent_run_id and command.agent != LEDGER:
        message = f"only {LEDGER} may start a run for another one, not {command.agent!r}; use StartChild"
        raise Refusal("scope", message, rule=LEDGER.removeprefix("bp."))
    children.check_start(body)
    resuming.check_start(book, command, body)
    _check_payloads(book, command)
    deadline_at = body.deadline_at if body.parent_run_id else timers.due_at(scribe.at, body.deadline_ms)
    scribe.seq = 0
    scribe.rules = min(body.rules, RULES) if body.rules >= DURABLE else 0
    scribe.parent_run_id = body.parent_run_id
    scribe.root_run_id = body.root_run_id if body.parent_run_id else command.run_id
    recipients = [] if body.resumed_from else list(subscribers(book, "run.started", body.workflow))
    started = scribe.write(
        RunEvent,
        kinds.RUN_STARTED,
        workflow=body.workflow,
        input=body.input,
        complete_when=body.complete_when,
        recipients=len(recipients),
        deadline_at=deadline_at,
        budget_nano_usd=body.budget_nano_usd,
        rules=min(max(body.rules, 0), RULES),
        resumed_from=body.resumed_from,
        completed=body.completed,
        published=body.published,
        tags=body.tags,
        started_by=body.started_by,
    )
    told = (started.event_id, "run.started", command.agent)
    for recipient in recipients:
        deliver(scribe, body.workflow, *told, recipient, body.input, origin=body.started_by)


ENDING: Final[dict[str, FactKind]] = {
    kinds.COMPLETE_RUN: kinds.RUN_COMPLETED,
    kinds.FAIL_RUN: kinds.RUN_FAILED,
    kinds.CANCEL_RUN: kinds.RUN_CANCELLED,
}


def _end_run(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    body = command.run
    assert body is not None
    if body.parent_run_id and body.parent_run_id != run.parent_run_id:
        raise Refusal("scope", f"run {run.run_id} is no child of {body.parent_run_id!r}", rule="parent")
    end(run, scribe, ENDING[command.kind], result=body.result, why=_why_asked(run, command, body))


def _why_asked(run: Run, command: Command, body: RunBody) -> Why:
    """The ledger says why a child is to end in fields of its own; a reason that anybody else gives is that one's."""
    if not apart(run):
        return Why(reason=body.reason)
    if command.agent == LEDGER:
        return Why(body.code, body.reason, body.said, body.said_by)
    verb = {kinds.FAIL_RUN: "failed", kinds.CANCEL_RUN: "cancelled"}.get(command.kind)
    reason = f"{command.agent!r} {verb} the run" if verb else ""
    return Why("asked", reason, body.reason, command.agent if body.reason else "")


def _await_run(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    if command.command_id not in run.waiting:
        room.check_waits(run)
    scribe.write(
        RunEvent,
        kinds.RUN_AWAITED,
        workflow=run.workflow,
        reply_to=command.reply_to,
        reply_partition=command.reply_partition,
    )


def _record_decision(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """The grounds of the decision are pinned to versions: a key without one means the version current now."""
    body = command.decision
    assert body is not None
    pinned = []
    for used in body.context_used:
        key, _, pin = used.rpartition("@")
        check(book, command.agent, "reads", "rest on state", key=key if key and pin.isdecimal() else used)
        version = current(run, used)
        pinned.append(used if key and pin.isdecimal() else f"{used}@{version.version if version else 0}")
    scribe.write(
        DecisionEvent, kinds.DECISION_RECORDED, action=body.action, rationale=body.rationale, context_used=pinned
    )


WITHOUT_RUN: Final[dict[str, Callable[[PartitionState, Command, FactBuilder], None]]] = {
    kinds.REGISTER_AGENT: registration.register,
    kinds.REMOVE_AGENT: agents.remove,
    kinds.APPLY_CONTRACT: contracts.apply,
    kinds.REMOVE_CONTRACT: contracts.remove,
    **dict.fromkeys(identity.SENDERS, identity.manage),
    **dict.fromkeys(rights.SENDERS, rights.manage),
    **dict.fromkeys(breakers.KINDS, breakers.decide) | {skips.KIND: skips.decide},
}
"""Deciders of what is about no run."""

DECIDERS: Final[dict[str, Decider]] = {
    kinds.COMPLETE_RUN: _end_run,
    kinds.FAIL_RUN: _end_run,
    kinds.CANCEL_RUN: _end_run,
    kinds.AWAIT_RUN: _await_run,
    kinds.START_CHILD: children.start,
    kinds.AWAIT_CHILD: children.await_end,
    kinds.CANCEL_CHILD: children.cancel,
    kinds.REPORT_CHILD: children.report,
    kinds.RESUME_RUN: resuming.resume,
    kinds.SET_STATE: states.write,
    kinds.DELETE_STATE: states.delete,
    kinds.GET_STATE: states.read,
    kinds.GET_STATES: states.read_many,
    kinds.LIST_STATE: states.list_keys,
    kinds.GET_HISTORY: states.read_history,
    kinds.RESTORE_STATE: resuming.restore_state,
    kinds.PUBLISH: messages.publish,
    kinds.SEND_MESSAGE: messages.send,
    kinds.ASK: requests.ask,
    kinds.WITHDRAW_REQUEST: requests.withdraw,
    kinds.REDRIVE: divergence.redrive,
    kinds.RESEND: resuming.resend,
    **dict.fromkeys(DISCARDS, divergence.discard),
    kinds.START_HANDLER: handlers.start,
    kinds.COMPLETE_HANDLER: handlers.complete,
    kinds.FAIL_HANDLER: handlers.fail,
    kinds.DECLARE_DEPENDENCY: dependencies.declare,
    kinds.RECORD_DECISION: _record_decision,
    kinds.CALL_CAPABILITY: calls.request,
    kinds.REDRIVE_CALL: calls.redrive,
    kinds.START_ATTEMPT: calls.start_attempt,
    kinds.RECORD_ATTEMPT: calls.record_attempt,
    kinds.COMPLETE_CALL: calls.with_attempt(calls.complete),
    kinds.FAIL_CALL: calls.with_attempt(calls.fail),
    kinds.RECORD_STEP: effects.record,
    kinds.SETTLE_STEP: effects.settle,
    kinds.TIMER_FIRED: deadlines.fire,
}
