"""``evolve(book, fact)``: the fold. Changes the book it is given, and nothing else; refuses nothing, since a fact has
happened.

Laws: folding the facts of ``decide`` in order gives the state the next decision needs (recovery is nothing else). A
fact folded twice changes nothing: a run skips facts up to its ``seq``, an agent those up to its registration. A fold
that raises has changed nothing: all changes go through ``Changes``, which takes them back.
"""

# long because: one short fold for each kind of fact, in one table; apart, nobody would see what a fact changes

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any, Final

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.facts import (
    AgentEvent,
    AttemptEvent,
    BreakerEvent,
    CallEvent,
    ContractEvent,
    DependencyEvent,
    Fact,
    MessageEvent,
    RefusalEvent,
    RunEvent,
    StateEvent,
)
from agents_sdk.core.ids import CallId, CommandId, DeliveryId
from agents_sdk.core.ledger import (
    agents,
    breakers,
    budgets,
    contracts,
    failed_calls,
    identity,
    memory,
    references,
    rights,
    seen_commands,
    timers,
)
from agents_sdk.core.ledger.answers import answer_to, attempt_to_make, of_child, outcome, read_along, request_outcome
from agents_sdk.core.ledger.calls import attempt_key
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.deliveries import ENDED_RUN
from agents_sdk.core.ledger.divergence import DIVERGED
from agents_sdk.core.ledger.rules import BOUNDED_HISTORY
from agents_sdk.core.ledger.state import (
    DEAD_LIMIT,
    FINISHED_LIMIT,
    FORGOTTEN_TOGETHER,
    HISTORY_CHARS,
    HISTORY_LIMIT,
    LARGE_ANSWER,
    LARGE_RECENT_LIMIT,
    RECENT_LIMIT,
    AgentSpec,
    Answer,
    Call,
    Child,
    ChildWait,
    Delivery,
    Dependency,
    EndedRun,
    PartitionState,
    Request,
    Run,
    Version,
    WaitingClient,
    redriven_key,
)

UNANSWERED: Final = frozenset(
    {
        *(kinds.RUN_AWAITED, kinds.CHILD_AWAITED, kinds.DELIVERY_CANCELLED, kinds.CALL_CANCELLED, kinds.CHILD_ORPHANED),
        *(kinds.REQUEST_CANCELLED, kinds.DEPENDENCY_CANCELLED),
    }
)
"""Kinds that are no answer to the command that caused them: that comes later, or is another of its facts."""


class Gap(Exception):
    """A fact of a run came before its predecessor: facts were lost or read out of order; the fold cannot go on."""

    def __init__(self, fact: Fact, seq: int) -> None:
        super().__init__(f"run {fact.run_id} is at run_seq {seq}, {fact.kind} has {fact.run_seq}")


def evolve(book: PartitionState, fact: Fact, changes: Changes | None = None) -> None:
    """Folds one fact into the book. Raises Gap when the run's previous fact is missing; then, as after any other
    exception, the book is as it was. A caller that gives ``changes`` takes back more than this fact, by itself."""
    if changes is not None:
        _fold(book, fact, changes)
        return
    changes = Changes()
    try:
        _fold(book, fact, changes)
    except BaseException:
        changes.take_back()
        raise


def _fold(book: PartitionState, fact: Fact, changes: Changes) -> None:
    if fact.run_seq == 0:
        _about_no_run(book, fact, changes)
    elif fact.kind == kinds.RUN_STARTED:
        _start(book, fact, changes)
    else:
        run = book.runs.get(fact.run_id)
        if run is None and memory.is_memory(fact.run_id):
            run = memory.unopened(fact.run_id)
            changes.put(book.runs, fact.run_id, run)
        if run is None:
            finished = book.finished.get(fact.run_id)
            if finished is not None and fact.run_seq == finished.seq + 1:
                changes.assign(finished, "seq", fact.run_seq)
                if type(fact) is AttemptEvent:  # pragma: no branch — nothing else happens to a run that has ended
                    changes.add(finished.attempted, attempt_key(fact))
        elif fact.run_seq > run.seq:
            _advance(book, run, fact, changes)
    if fact.command_offset > book.applied:
        changes.assign(book, "applied", fact.command_offset)


def _about_no_run(book: PartitionState, fact: Fact, changes: Changes) -> None:
    if type(fact) is AgentEvent:
        if fact.kind == kinds.AGENT_REGISTERED:
            _registered(book, fact, changes)
        elif fact.kind == kinds.AGENT_REMOVED:
            agents.fold(book, fact, changes)
        elif fact.kind in (kinds.RIGHTS_GRANTED, kinds.GRANTS_REQUIRED):
            rights.fold(book, fact, changes)
        else:
            identity.fold(book, fact, changes)
    elif type(fact) is ContractEvent:
        contracts.fold(book, fact, changes)
    elif type(fact) is RefusalEvent:
        identity.count(book, fact, changes)
    elif type(fact) is BreakerEvent:
        breakers.fold(book, fact, changes)
    elif fact.run_id in book.finished:  # a letter of an ended run was discarded
        told = Answer(event_id=fact.event_id, agent=fact.agent)
        changes.put(book.finished[fact.run_id].answers, fact.command_id, told)
    if type(fact) is not RefusalEvent and fact.command_offset > book.applied:
        seen_commands.remember(book.spent, fact.command_id, fact.agent, fact.at, changes)


def _registered(book: PartitionState, fact: AgentEvent, changes: Changes) -> None:
    known = book.agents.get(fact.name)
    if fact.command_offset > (known.command_offset if known is not None else book.removed.get(fact.name, -1)):
        fields = {name: _frozen(getattr(fact, name)) for name in AgentSpec.__struct_fields__}
        changes.put(book.agents, fact.name, AgentSpec(**fields))
        seen_commands.remember(book.spent, fact.command_id, fact.agent, fact.at, changes)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _start(book: PartitionState, fact: Fact, changes: Changes) -> None:
    if fact.run_id in book.runs or fact.run_id in book.finished or not isinstance(fact, RunEvent):
        return
    own = fact.run_id
    # Equal strings are kept once: a tenth of what an idle run takes.
    run = Run(
        run_id=own,
        workflow=intern(fact.workflow),
        correlation_id=own if fact.correlation_id == own else fact.correlation_id,
        start_command=fact.command_id,
        complete_when=intern(fact.complete_when),
        parent_run_id=fact.parent_run_id,
        root_run_id=own if fact.root_run_id == own else fact.root_run_id,
        seq=fact.run_seq,
        budget=fact.budget_nano_usd,
        rules=fact.rules,
        resuming=bool(fact.resumed_from),
        completed=dict.fromkeys(fact.completed, fact.event_id),
        published=dict.fromkeys(fact.published, fact.event_id),
        started_by=fact.started_by or fact.agent,
    )
    changes.put(book.runs, own, run)
    timers.fold(run, fact, changes)
    told = answer_to(book, run, fact)
    told.agent = fact.agent
    changes.put(run.answers, fact.command_id, told)


def _advance(book: PartitionState, run: Run, fact: Fact, changes: Changes) -> None:
    if fact.run_seq != run.seq + 1:
        raise Gap(fact, run.seq)
    changes.assign(run, "seq", fact.run_seq)
    references.fold(run, fact, changes)  # before a request, a call or a delivery is forgotten by it
    fold = FOLDS.get(fact.kind)
    if fold is not None:
        fold(run, fact, changes)
    timers.fold(run, fact, changes)
    if fact.kind in kinds.RUN_ENDS and isinstance(fact, RunEvent):
        _finish(book, run, fact, changes)
    else:
        own = run.answered_as(fact.command_id, fact.agent)
        if own not in run.answers and (CallId(own) not in run.calls and own not in run.requests):
            _remember(book, run, fact, own, changes)
    _forget_old(book, run, fact.at, changes)


def _forget_old(book: PartitionState, run: Run, at: int, changes: Changes) -> None:
    """Forgets the oldest answers to commands outside handlers, and large ones earlier."""
    if len(run.recent) > LARGE_RECENT_LIMIT:
        large = run.recent[-1 - LARGE_RECENT_LIMIT]
        answer = run.answers.get(large)
        if answer is not None and len(answer.value) > LARGE_ANSWER:
            changes.drop(run.answers, large)
    limit = memory.RECENT_LIMIT if memory.is_memory(run.run_id) else RECENT_LIMIT
    # several at a time: the oldest one by one would cost a shift of the whole list each
    if len(run.recent) >= limit + max(limit // FORGOTTEN_TOGETHER, 1):
        for command_id in changes.cut_oldest(run.recent, len(run.recent) - limit):
            sender = run.sender_of(command_id)
            _forget(run, command_id, changes)
            seen_commands.remember(book.spent, command_id, sender, at, changes)


def _delivery_of(run: Run, fact: Fact) -> DeliveryId:
    """The pending delivery whose handler caused the fact; empty for none. The causation of a handler's command is the
    MessageDelivered it handles, whose latest attempt is on record."""
    return run.attempts.get(fact.causation_id, DeliveryId(""))


def _remember(book: PartitionState, run: Run, fact: Fact, own: CommandId, changes: Changes) -> None:
    """Keeps the answer that the fact is, under its own name, for as long as its command may come again."""
    if fact.kind in UNANSWERED or (type(fact) is MessageEvent and fact.cause == ENDED_RUN):
        return
    if type(fact) is RefusalEvent and fact.code == DIVERGED:
        return  # the id is that of another command, or will be that of the attempt which goes on
    delivery_id = _delivery_of(run, fact)
    if delivery_id and fact.causation_id in run.deliveries[delivery_id].superseded:
        return  # it follows from a divergence, and is no answer to the command that diverged
    if type(fact) is CallEvent:  # an outcome, seen by its reporter: what it says is for the caller, unless it is that
        told = outcome(fact) if fact.local else Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    else:
        told = answer_to(book, run, fact)
    told.agent = fact.agent
    told.fingerprint = getattr(fact, "fingerprint", "")
    changes.put(run.answers, own, told)
    _retain(run, own, delivery_id, changes)


def _retain(run: Run, command_id: CommandId, delivery_id: DeliveryId, changes: Changes) -> None:
    if delivery_id:
        changes.append_to(run.issued, delivery_id, command_id)
        return
    changes.append(run.recent, command_id)


def _forget(run: Run, command_id: CommandId, changes: Changes) -> None:
    changes.drop(run.answers, command_id)
    call_id = CallId(command_id)
    call = run.calls.get(call_id)
    if call is not None and call.settled:
        changes.drop(run.calls, call_id)


def _finish(book: PartitionState, run: Run, fact: RunEvent, changes: Changes) -> None:
    changes.drop(book.runs, run.run_id)
    ending = run.answers.get(fact.command_id)
    ending = ending or Answer(event_id=fact.event_id, run_seq=fact.run_seq, agent=fact.agent)
    ended = EndedRun(
        status=kinds.RUN_ENDS[fact.kind],
        result=fact.result,
        reason=fact.reason,
        state_hash=fact.state_hash,
        event_id=fact.event_id,
        seq=fact.run_seq,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        answers={run.start_command: run.answers[run.start_command], fact.command_id: ending},
        attempted=run.attempted,
        workflow=run.workflow,
        started_by=run.started_by,
        code=fact.code,
        said=fact.said,
        said_by=fact.said_by,
    )
    changes.put(book.finished, run.run_id, ended)
    if len(book.finished) > FINISHED_LIMIT:
        for command_id, answer in changes.take_oldest(book.finished).answers.items():
            seen_commands.remember(book.spent, command_id, answer.agent, fact.at, changes)


def _state_changed(run: Run, fact: StateEvent, changes: Changes) -> None:
    version = Version(
        version=fact.version,
        value=fact.value,
        value_hash=fact.value_hash,
        agent=fact.agent,
        at=fact.at,
        event_id=fact.event_id,
    )
    changes.append_to(run.state, fact.key, version)
    if len(run.state[fact.key]) > HISTORY_LIMIT:
        cut = changes.cut(run.state[fact.key], 0)
        if run.rules >= BOUNDED_HISTORY:
            changes.put(run.history_chars, fact.key, run.history_chars.get(fact.key, 0) - len(cut.value))
    if run.rules >= BOUNDED_HISTORY:
        _bound_history(run, fact, changes)


def _bound_history(run: Run, fact: StateEvent, changes: Changes) -> None:
    """Forgets the oldest versions of the key where they are large."""
    kept = run.state[fact.key]
    chars = run.history_chars.get(fact.key, 0) + len(fact.value)
    while len(kept) > 1 and chars - len(fact.value) > HISTORY_CHARS:
        chars -= len(changes.cut(kept, 0).value)
    changes.put(run.history_chars, fact.key, chars)


def _delivered(run: Run, fact: MessageEvent, changes: Changes) -> None:
    if fact.attempt == 1:
        changes.put(run.pending, fact.recipient, run.pending.get(fact.recipient, 0) + 1)
    earlier = run.deliveries.get(fact.delivery_id)
    changes.put(run.attempts, fact.event_id, fact.delivery_id)
    delivery = Delivery(
        recipient=fact.recipient,
        name=fact.name,
        message_id=fact.message_id,
        sender=fact.sender,
        data=fact.data,
        attempt=fact.attempt,
        events=[*(earlier.events if earlier else ()), fact.event_id],
        deadline_at=fact.deadline_at,
        request_id=fact.request_id,
        at=fact.at,
        not_before=fact.not_before,
        seq=fact.run_seq,
        superseded=earlier.superseded if earlier else [],
        restarts=fact.restarts,
        first_at=fact.first_at,
    )
    changes.put(run.deliveries, fact.delivery_id, delivery)
    ended = run.answers.get(fact.command_id) if fact.attempt > 1 else None
    if ended is not None:  # the reporter of the failed attempt gets this one as its answer
        changes.assign(ended, "detail", attempt_to_make(delivery, fact.at))


def _settled(run: Run, fact: MessageEvent, changes: Changes) -> None:
    delivery = changes.take(run.deliveries, fact.delivery_id)
    for event_id in delivery.events:
        changes.drop(run.attempts, event_id)
    changes.drop(run.timers, timers.handler(fact.delivery_id, delivery.attempt))
    changes.add(run.settled, fact.delivery_id)
    changes.put(run.pending, fact.recipient, run.pending[fact.recipient] - 1)
    if fact.kind == kinds.HANDLER_COMPLETED:
        changes.put(run.completed, fact.recipient, fact.event_id)
    else:
        changes.put(run.dead, fact.delivery_id, delivery)
        if len(run.dead) > DEAD_LIMIT:
            changes.take_oldest(run.dead)
    for command_id in changes.drop(run.issued, fact.delivery_id) or ():
        if command_id == fact.command_id:
            changes.append(run.recent, command_id)  # the last word of the handler, whose answer may be lost
        else:
            _forget(run, command_id, changes)


def _parked(run: Run, fact: MessageEvent, changes: Changes) -> None:
    delivery = run.deliveries[fact.delivery_id]
    changes.assign(delivery, "parked", fact.difference)
    changes.assign(delivery, "superseded", list(delivery.events))


def _restarted(run: Run, fact: MessageEvent, changes: Changes) -> None:
    """The effects of the handler's commands stay; calls and requests that are still open end for nobody."""
    delivery = run.deliveries[fact.delivery_id]
    changes.assign(delivery, "superseded", list(delivery.events))
    for command_id in changes.drop(run.issued, fact.delivery_id) or ():
        _forget(run, command_id, changes)
        call = run.calls.get(CallId(command_id))
        if call is not None:
            changes.assign(call, "delivery_id", "")
        if command_id in run.requests:
            changes.assign(run.requests[command_id], "asked_in", "")
    for wait in run.child_waits.values():
        if wait.delivery_id == fact.delivery_id:
            changes.assign(wait, "delivery_id", "")


def _redriven(run: Run, fact: MessageEvent, changes: Changes) -> None:
    key = redriven_key(changes.take(run.dead, fact.delivery_id))
    changes.put(run.redriven, key, run.redriven.get(key, 0) + 1)


def _discarded(run: Run, fact: MessageEvent | CallEvent, changes: Changes) -> None:
    if type(fact) is CallEvent:
        if fact.call_id in run.failed_calls:
            changes.take(run.failed_calls, fact.call_id)
    elif type(fact) is MessageEvent and fact.delivery_id in run.dead:
        changes.take(run.dead, fact.delivery_id)


def _asked(run: Run, fact: MessageEvent, changes: Changes) -> None:
    delivery_id = _delivery_of(run, fact)
    request = Request(
        asker=fact.sender,
        recipient=fact.recipient,
        name=fact.name,
        asked_in=delivery_id,
        asked_at=fact.at,
        deadline_at=fact.deadline_at,
        reply_to=fact.reply_to,
        reply_partition=fact.reply_partition,
        fingerprint=fact.fingerprint,
    )
    changes.put(run.requests, fact.request_id, request)
    if delivery_id:  # a client's is known while it is open, and retained from its end on
        _retain(run, fact.request_id, delivery_id, changes)


def _asked_again(run: Run, fact: MessageEvent, changes: Changes) -> None:
    request = run.requests[fact.request_id]
    changes.assign(request, "reply_to", fact.reply_to)
    changes.assign(request, "reply_partition", fact.reply_partition)
    changes.assign(request, "withdrawn", False)
    issued = run.issued.get(request.asked_in)
    if issued is not None:  # the last command of its asker, which is handled again
        changes.cut(issued, issued.index(fact.request_id))
        changes.append(issued, fact.request_id)


def _request_withdrawn(run: Run, fact: MessageEvent, changes: Changes) -> None:
    request = run.requests[fact.request_id]
    changes.assign(request, "withdrawn", True)
    told = Answer(event_id=fact.event_id, run_seq=fact.run_seq, agent=fact.agent)
    changes.put(run.answers, fact.command_id, told)
    if not request.asked_in:
        changes.append(run.recent, fact.command_id)
    elif request.asked_in in run.issued:  # first, not last: to say so is not to go on with something else
        changes.insert(run.issued[request.asked_in], 0, fact.command_id)
    else:  # pragma: no cover — an open request is among what its delivery has issued
        changes.put(run.issued, request.asked_in, [fact.command_id])


def _request_settled(run: Run, fact: MessageEvent, changes: Changes) -> None:
    request = changes.take(run.requests, fact.request_id)
    if request.asked_in not in run.settled:
        told = request_outcome(fact, request)
        told.agent, told.fingerprint = request.asker, request.fingerprint
        changes.put(run.answers, fact.request_id, told)
        if not request.asked_in:
            changes.append(run.recent, fact.request_id)


def _declared(run: Run, fact: DependencyEvent, changes: Changes) -> None:
    dependency = Dependency(
        downstream=fact.downstream,
        depends_on=fact.depends_on,
        name=fact.name,
        trigger_when=fact.trigger_when,
        count=fact.count,
        agent=fact.agent,
    )
    changes.put(run.dependencies, fact.dependency_id, dependency)
    for term in fact.depends_on:
        changes.append_to(run.awaited, term, fact.dependency_id)


def _published(run: Run, fact: MessageEvent, changes: Changes) -> None:
    if fact.name not in run.published:
        changes.put(run.published, fact.name, fact.event_id)


def _close(run: Run, dependency_id: str, changes: Changes) -> None:
    dependency = run.dependencies[dependency_id]
    changes.assign(dependency, "closed", True)
    for term in dependency.depends_on:
        waiting = run.awaited[term]
        changes.cut(waiting, waiting.index(dependency_id))
        if not waiting:
            changes.drop(run.awaited, term)


def _met(run: Run, fact: DependencyEvent, changes: Changes) -> None:
    _close(run, fact.dependency_id, changes)
    if fact.command_id == fact.dependency_id:  # met as it was declared: the answer to its sender says so
        answer = run.answers[fact.command_id]
        told = ids.canonical({"dependency_id": fact.dependency_id, "satisfied": True})
        changes.assign(answer, "detail", told)


def _expired(run: Run, fact: DependencyEvent, changes: Changes) -> None:
    _close(run, fact.dependency_id, changes)


def _call_requested(run: Run, fact: CallEvent, changes: Changes) -> None:
    delivery_id = _delivery_of(run, fact)
    changes.assign(run, "open_calls", run.open_calls + 1)
    call = Call(
        capability=fact.capability,
        reply_to=fact.reply_to,
        reply_partition=fact.reply_partition,
        delivery_id=delivery_id,
        agent=fact.agent,
        budget=fact.budget_nano_usd,
        params=fact.params,
        config=fact.config,
        timeout_ms=fact.timeout_ms,
        redrives=fact.redrives,
        local=fact.event_id if fact.local and not fact.effect else "",
        effect=fact.effect,
        fingerprint=fact.fingerprint,
    )
    changes.put(run.calls, fact.call_id, call)
    budgets.drawn(run, fact.agent, fact.budget_nano_usd, changes)
    if delivery_id:  # a client's is known while it is open, and retained from its end on
        _retain(run, CommandId(fact.call_id), delivery_id, changes)


def _call_awaited(run: Run, fact: CallEvent, changes: Changes) -> None:
    call = run.calls[fact.call_id]
    changes.assign(call, "reply_to", fact.reply_to)
    changes.assign(call, "reply_partition", fact.reply_partition)


def _call_settled(run: Run, fact: CallEvent, changes: Changes) -> None:
    call, command_id = run.calls[fact.call_id], CommandId(fact.call_id)
    budgets.settled(run, call, changes)
    if fact.kind == kinds.CALL_FAILED and fact.report:
        failed_calls.keep(run, fact, call, DEAD_LIMIT, changes)
    changes.assign(call, "settled", True)
    changes.assign(call, "params", "")
    changes.assign(call, "config", "")
    changes.assign(run, "open_calls", run.open_calls - 1)
    told = outcome(fact)
    told.agent = call.agent
    told.fingerprint = call.fingerprint
    changes.put(run.answers, command_id, told)
    if fact.local and fact.command_id != command_id and fact.command_id in run.answers:  # which its attempt began
        changes.put(run.answers, fact.command_id, msgspec.structs.replace(told, fingerprint=""))
    if not call.delivery_id:
        changes.append(run.recent, command_id)
    elif call.delivery_id in run.settled:
        _forget(run, command_id, changes)


def _call_redriven(run: Run, fact: CallEvent, changes: Changes) -> None:
    if fact.call_id in run.failed_calls:
        changes.take(run.failed_calls, fact.call_id)


def _attempt_started(run: Run, fact: AttemptEvent, changes: Changes) -> None:
    call = run.calls[fact.call_id]
    changes.put(call.started, fact.attempt, fact.executor)
    changes.put(call.claimed_at, fact.attempt, fact.started_at)
    changes.put(call.claimed_for, fact.attempt, f"{fact.capability}/{fact.provider}")
    if fact.assignment:
        changes.put(call.claimed_in, fact.attempt, fact.assignment)
        changes.put(call.leased_until, fact.attempt, fact.at + fact.lease_ms * 1_000)
        changes.assign(call, "fencing_token", fact.fencing_token)


def _attempt_recorded(run: Run, fact: AttemptEvent, changes: Changes) -> None:
    changes.add(run.attempted, attempt_key(fact))
    call = run.calls.get(fact.call_id)
    if call is not None:
        changes.assign(call, "attempts", max(call.attempts, fact.attempt))
    budgets.attempted(run, fact, changes)


def _awaited(run: Run, fact: RunEvent, changes: Changes) -> None:
    changes.put(run.waiting, fact.command_id, WaitingClient(fact.reply_to, fact.reply_partition, fact.agent))


def _resumed(run: Run, fact: RunEvent, changes: Changes) -> None:
    changes.assign(run, "resuming", False)


def _child_started(run: Run, fact: RunEvent, changes: Changes) -> None:
    child = Child(workflow=fact.workflow, agent=fact.agent, budget=fact.budget_nano_usd)
    changes.put(run.children, fact.child_run_id, child)
    budgets.drawn(run, fact.agent, fact.budget_nano_usd, changes)
    changes.assign(run, "open_children", run.open_children + 1)


def _child_awaited(run: Run, fact: RunEvent, changes: Changes) -> None:
    delivery_id = _delivery_of(run, fact)
    wait = ChildWait(fact.child_run_id, delivery_id, fact.reply_to, fact.reply_partition, fact.agent, fact.fingerprint)
    known = run.children[fact.child_run_id].outcome
    if known is None:
        changes.put(run.child_waits, fact.command_id, wait)
    else:
        _told_of_child(run, fact.command_id, wait, known, changes)


def _child_ended(run: Run, fact: RunEvent, changes: Changes) -> None:
    budgets.child_ended(run, fact, changes)
    known = of_child(fact)
    changes.assign(run.children[fact.child_run_id], "outcome", known)
    changes.assign(run, "open_children", run.open_children - 1)
    for command_id in [id_ for id_, wait in run.child_waits.items() if wait.child_run_id == fact.child_run_id]:
        _told_of_child(run, command_id, changes.take(run.child_waits, command_id), known, changes)


def _told_of_child(run: Run, command_id: CommandId, wait: ChildWait, known: Answer, changes: Changes) -> None:
    if not wait.delivery_id or wait.delivery_id not in run.settled:
        changes.put(
            run.answers, command_id, msgspec.structs.replace(known, agent=wait.agent, fingerprint=wait.fingerprint)
        )
        _retain(run, command_id, wait.delivery_id, changes)


FOLDS: Final[dict[str, Callable[[Run, Any, Changes], None]]] = {
    kinds.STATE_WRITTEN: _state_changed,
    kinds.STATE_DELETED: _state_changed,
    kinds.STATE_EXPIRED: _state_changed,
    kinds.STATE_READ: read_along,
    kinds.MESSAGE_PUBLISHED: _published,
    kinds.MESSAGE_DELIVERED: _delivered,
    kinds.HANDLER_COMPLETED: _settled,
    kinds.MESSAGE_DEAD_LETTERED: _settled,
    kinds.MESSAGE_PARKED: _parked,
    kinds.MESSAGE_RESTARTED: _restarted,
    kinds.MESSAGE_REDRIVEN: _redriven,
    kinds.MESSAGE_DISCARDED: _discarded,
    kinds.CALL_DISCARDED: _discarded,
    kinds.REQUEST_SENT: _asked,
    kinds.REQUEST_AWAITED: _asked_again,
    kinds.REQUEST_WITHDRAWN: _request_withdrawn,
    kinds.REQUEST_ANSWERED: _request_settled,
    kinds.REQUEST_FAILED: _request_settled,
    kinds.REQUEST_EXPIRED: _request_settled,
    kinds.DEPENDENCY_DECLARED: _declared,
    kinds.DEPENDENCY_SATISFIED: _met,
    kinds.DEPENDENCY_EXPIRED: _expired,
    kinds.CALL_REQUESTED: _call_requested,
    kinds.CALL_AWAITED: _call_awaited,
    kinds.CALL_COMPLETED: _call_settled,
    kinds.CALL_FAILED: _call_settled,
    kinds.CALL_REDRIVEN: _call_redriven,
    kinds.ATTEMPT_STARTED: _attempt_started,
    kinds.ATTEMPT_SUCCEEDED: _attempt_recorded,
    kinds.ATTEMPT_FAILED: _attempt_recorded,
    kinds.RUN_AWAITED: _awaited,
    kinds.RUN_RESUMED: _resumed,
    kinds.CHILD_STARTED: _child_started,
    kinds.CHILD_AWAITED: _child_awaited,
    kinds.CHILD_ENDED: _child_ended,
}
"""The changes of each kind; kinds that are not here only advance the run's sequence."""


def copy(book: PartitionState) -> PartitionState:
    """A deep copy, by way of the snapshot encoding."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=PartitionState)
