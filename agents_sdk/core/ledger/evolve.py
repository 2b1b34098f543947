"""``evolve(book, fact)``: the fold. Changes the book it is given, and nothing else; refuses nothing, since a fact has
happened.

Laws: folding the facts of ``decide`` in order gives the state the next decision needs (recovery is nothing else), and a
fact folded twice changes nothing (a run skips facts up to its ``seq``, an agent those up to its registration).
"""

# long because: one short fold for each kind of fact, in one table; apart, nobody would see what a fact changes

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any, Final

import msgspec

from agents_sdk.core import ids
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
from agents_sdk.core.ledger import agents, breakers, budgets, contracts, failed_calls, identity, memory, spent, timers
from agents_sdk.core.ledger.answers import answer_to, attempt_to_make, of_child, outcome, read_along, request_outcome
from agents_sdk.core.ledger.calls import attempt_key
from agents_sdk.core.ledger.state import (
    DEAD_LIMIT,
    FINISHED_LIMIT,
    HISTORY_LIMIT,
    RECENT_LIMIT,
    AgentSpec,
    Answer,
    Book,
    Call,
    Child,
    ChildWait,
    Delivery,
    Dependency,
    Finished,
    Request,
    Run,
    Version,
    Waiting,
    redriven_key,
)

UNANSWERED: Final = frozenset({"RunAwaited", "ChildAwaited", "DeliveryCancelled", "CallCancelled", "ChildOrphaned"})
"""Kinds that are no answer to the command that caused them: that comes later, or is another of its facts."""
ENDED: Final = {"RunCompleted": "completed", "RunFailed": "failed", "RunCancelled": "cancelled"}


class Gap(Exception):
    """A fact of a run came before its predecessor: facts were lost or read out of order; the fold cannot go on."""

    def __init__(self, fact: Fact, seq: int) -> None:
        super().__init__(f"run {fact.run_id} is at run_seq {seq}, {fact.kind} has {fact.run_seq}")


def evolve(book: Book, fact: Fact) -> None:
    """Folds one fact into the book. Raises Gap when the run's previous fact is missing."""
    if fact.run_seq == 0:
        if type(fact) is AgentEvent:
            if fact.kind == "AgentRegistered":
                _registered(book, fact)
            elif fact.kind == "AgentRemoved":
                agents.fold(book, fact)
            else:
                identity.fold(book, fact)
        elif type(fact) is ContractEvent:
            contracts.fold(book, fact)
        elif type(fact) is RefusalEvent:
            identity.count(book, fact)
        elif type(fact) is BreakerEvent:
            breakers.fold(book, fact)
    elif fact.kind == "RunStarted":
        _start(book, fact)
    else:
        run = book.runs.get(fact.run_id)
        if run is None and memory.is_memory(fact.run_id):
            run = book.runs[fact.run_id] = memory.unopened(fact.run_id)
        if run is None:
            finished = book.finished.get(fact.run_id)
            if finished is not None and fact.run_seq == finished.seq + 1:
                finished.seq = fact.run_seq
                if type(fact) is AttemptEvent:  # nothing else happens to a run that has ended
                    finished.attempted.add(attempt_key(fact))
        elif fact.run_seq > run.seq:
            _advance(book, run, fact)
    book.applied = max(book.applied, fact.command_offset)


def _registered(book: Book, fact: AgentEvent) -> None:
    known = book.agents.get(fact.name)
    if fact.command_offset > (known.command_offset if known is not None else book.removed.get(fact.name, -1)):
        fields = {name: _frozen(getattr(fact, name)) for name in AgentSpec.__struct_fields__}
        book.agents[fact.name] = AgentSpec(**fields)
        spent.note(book.spent, fact.command_id, fact.at)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _start(book: Book, fact: Fact) -> None:
    if fact.run_id in book.runs or fact.run_id in book.finished or not isinstance(fact, RunEvent):
        return
    own = fact.run_id
    # Equal strings are kept once: a tenth of what an idle run takes.
    run = book.runs[own] = Run(
        run_id=own,
        workflow=intern(fact.workflow),
        correlation_id=own if fact.correlation_id == own else fact.correlation_id,
        start_command=fact.command_id,
        complete_when=intern(fact.complete_when),
        parent_run_id=fact.parent_run_id,
        root_run_id=own if fact.root_run_id == own else fact.root_run_id,
        seq=fact.run_seq,
        budget=fact.budget_nano_usd,
    )
    timers.fold(run, fact)
    run.answers[fact.command_id] = answer_to(book, run, fact)


def _advance(book: Book, run: Run, fact: Fact) -> None:
    if fact.run_seq != run.seq + 1:
        raise Gap(fact, run.seq)
    run.seq = fact.run_seq
    fold = FOLDS.get(fact.kind)
    if fold is not None:
        fold(run, fact)
    timers.fold(run, fact)
    if fact.kind in ENDED and isinstance(fact, RunEvent):
        _finish(book, run, fact)
    elif (
        fact.command_id not in run.answers and fact.command_id not in run.calls and fact.command_id not in run.requests
    ):
        _remember(book, run, fact)
    limit = memory.RECENT_LIMIT if memory.is_memory(run.run_id) else RECENT_LIMIT
    while len(run.recent) > limit:
        command_id = run.recent.pop(0)
        _forget(run, command_id)
        spent.note(book.spent, command_id, fact.at)


def _delivery_of(run: Run, fact: Fact) -> str:
    """The pending delivery whose handler caused the fact; empty for none. The causation of a handler's command is the
    MessageDelivered it handles, whose latest attempt is on record."""
    return run.attempts.get(fact.causation_id, "")


def _remember(book: Book, run: Run, fact: Fact) -> None:
    """Keeps the answer that the fact is, for as long as its command may come again."""
    if fact.kind in UNANSWERED:
        return
    if type(fact) is CallEvent:  # an outcome, seen by its reporter: what it says is for the caller, unless it is that
        run.answers[fact.command_id] = (
            outcome(fact) if fact.local else Answer(event_id=fact.event_id, run_seq=fact.run_seq)
        )
    else:
        run.answers[fact.command_id] = answer_to(book, run, fact)
    _retain(run, fact.command_id, _delivery_of(run, fact))


def _retain(run: Run, command_id: str, delivery_id: str) -> None:
    if delivery_id:
        run.issued.setdefault(delivery_id, []).append(command_id)
        return
    run.recent.append(command_id)


def _forget(run: Run, command_id: str) -> None:
    run.answers.pop(command_id, None)
    call = run.calls.get(command_id)
    if call is not None and call.settled:
        del run.calls[command_id]


def _finish(book: Book, run: Run, fact: RunEvent) -> None:
    del book.runs[run.run_id]
    ending = run.answers.get(fact.command_id) or Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    book.finished[run.run_id] = Finished(
        status=ENDED[fact.kind],
        result=fact.result,
        reason=fact.reason,
        state_hash=fact.state_hash,
        event_id=fact.event_id,
        seq=fact.run_seq,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        answers={run.start_command: run.answers[run.start_command], fact.command_id: ending},
        attempted=run.attempted,
    )
    if len(book.finished) > FINISHED_LIMIT:
        forgotten = book.finished.pop(next(iter(book.finished)))
        for command_id in forgotten.answers:
            spent.note(book.spent, command_id, fact.at)


def _state_changed(run: Run, fact: StateEvent) -> None:
    versions = run.state.setdefault(fact.key, [])
    versions.append(
        Version(
            version=fact.version,
            value=fact.value,
            value_hash=fact.value_hash,
            agent=fact.agent,
            at=fact.at,
            event_id=fact.event_id,
        )
    )
    if len(versions) > HISTORY_LIMIT:
        del versions[0]


def _delivered(run: Run, fact: MessageEvent) -> None:
    if fact.attempt == 1:
        run.pending[fact.recipient] = run.pending.get(fact.recipient, 0) + 1
    earlier = run.deliveries.get(fact.delivery_id)
    run.attempts[fact.event_id] = fact.delivery_id
    run.deliveries[fact.delivery_id] = Delivery(
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
    )
    ended = run.answers.get(fact.command_id) if fact.attempt > 1 else None
    if ended is not None:  # whoever said that the attempt before has failed is told of this one
        ended.detail = attempt_to_make(run.deliveries[fact.delivery_id])


def _settled(run: Run, fact: MessageEvent) -> None:
    delivery = run.deliveries.pop(fact.delivery_id)
    for event_id in delivery.events:
        del run.attempts[event_id]
    run.timers.pop(timers.handler(fact.delivery_id, delivery.attempt), None)
    run.settled.add(fact.delivery_id)
    run.pending[fact.recipient] -= 1
    if fact.kind == "HandlerCompleted":
        run.completed[fact.recipient] = fact.event_id
    else:
        run.dead[fact.delivery_id] = delivery
        if len(run.dead) > DEAD_LIMIT:
            del run.dead[next(iter(run.dead))]
    for command_id in run.issued.pop(fact.delivery_id, ()):
        if command_id == fact.command_id:
            run.recent.append(command_id)  # the last word of the handler, whose answer may be lost
        else:
            _forget(run, command_id)


def _redriven(run: Run, fact: MessageEvent) -> None:
    key = redriven_key(run.dead.pop(fact.delivery_id))
    run.redriven[key] = run.redriven.get(key, 0) + 1


def _asked(run: Run, fact: MessageEvent) -> None:
    delivery_id = _delivery_of(run, fact)
    run.requests[fact.request_id] = Request(
        asker=fact.sender,
        recipient=fact.recipient,
        name=fact.name,
        asked_in=delivery_id,
        asked_at=fact.at,
        deadline_at=fact.deadline_at,
        reply_to=fact.reply_to,
        reply_partition=fact.reply_partition,
    )
    _retain(run, fact.request_id, delivery_id)


def _asked_again(run: Run, fact: MessageEvent) -> None:
    request = run.requests[fact.request_id]
    request.reply_to, request.reply_partition, request.withdrawn = fact.reply_to, fact.reply_partition, False
    issued = run.issued.get(request.asked_in)
    if issued is not None:  # what its asker, handled anew, has said last
        issued.remove(fact.request_id)
        issued.append(fact.request_id)


def _request_withdrawn(run: Run, fact: MessageEvent) -> None:
    request = run.requests[fact.request_id]
    request.withdrawn = True
    run.answers[fact.command_id] = Answer(event_id=fact.event_id, run_seq=fact.run_seq)
    if request.asked_in:  # first, not last: to say so is not to go on with something else
        run.issued.setdefault(request.asked_in, []).insert(0, fact.command_id)
    else:
        run.recent.append(fact.command_id)


def _request_settled(run: Run, fact: MessageEvent) -> None:
    request = run.requests.pop(fact.request_id)
    if request.asked_in not in run.settled:
        run.answers[fact.request_id] = request_outcome(fact, request)


def _declared(run: Run, fact: DependencyEvent) -> None:
    run.dependencies[fact.dependency_id] = Dependency(
        downstream=fact.downstream,
        depends_on=fact.depends_on,
        name=fact.name,
        trigger_when=fact.trigger_when,
        count=fact.count,
    )
    for term in fact.depends_on:
        run.awaited.setdefault(term, []).append(fact.dependency_id)


def _published(run: Run, fact: MessageEvent) -> None:
    run.published.setdefault(fact.name, fact.event_id)


def _close(run: Run, dependency_id: str) -> None:
    dependency = run.dependencies[dependency_id]
    dependency.closed = True
    for term in dependency.depends_on:
        waiting = run.awaited[term]
        waiting.remove(dependency_id)
        if not waiting:
            del run.awaited[term]


def _met(run: Run, fact: DependencyEvent) -> None:
    _close(run, fact.dependency_id)
    if fact.command_id == fact.dependency_id:  # met as it was declared: its sender is told so
        answer = run.answers[fact.dependency_id]
        answer.detail = ids.canonical({"dependency_id": fact.dependency_id, "satisfied": True})


def _expired(run: Run, fact: DependencyEvent) -> None:
    _close(run, fact.dependency_id)


def _call_requested(run: Run, fact: CallEvent) -> None:
    delivery_id = _delivery_of(run, fact)
    run.open_calls += 1
    run.calls[fact.call_id] = Call(
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
        local=fact.event_id if fact.local else "",
    )
    budgets.drawn(run, fact.agent, fact.budget_nano_usd)
    _retain(run, fact.call_id, delivery_id)


def _call_awaited(run: Run, fact: CallEvent) -> None:
    call = run.calls[fact.call_id]
    call.reply_to, call.reply_partition = fact.reply_to, fact.reply_partition


def _call_settled(run: Run, fact: CallEvent) -> None:
    call = run.calls[fact.call_id]
    budgets.settled(run, call)
    if fact.kind == "CallFailed" and fact.report:
        failed_calls.keep(run, fact, call, DEAD_LIMIT)
    call.settled, call.params, call.config = True, "", ""
    run.open_calls -= 1
    told = run.answers[fact.call_id] = outcome(fact)
    if fact.local and fact.command_id in run.answers:  # the answer that its attempt began
        run.answers[fact.command_id] = told
    if call.delivery_id and call.delivery_id in run.settled:
        _forget(run, fact.call_id)


def _call_redriven(run: Run, fact: CallEvent) -> None:
    run.failed_calls.pop(fact.call_id, None)


def _attempt_started(run: Run, fact: AttemptEvent) -> None:
    call = run.calls[fact.call_id]
    call.started[fact.attempt] = fact.executor
    call.claimed_at[fact.attempt] = fact.started_at
    call.claimed_for[fact.attempt] = f"{fact.capability}/{fact.provider}"


def _attempt_recorded(run: Run, fact: AttemptEvent) -> None:
    run.attempted.add(attempt_key(fact))
    call = run.calls.get(fact.call_id)
    if call is not None:
        call.attempts = max(call.attempts, fact.attempt)
    budgets.attempted(run, fact)


def _awaited(run: Run, fact: RunEvent) -> None:
    run.waiting[fact.command_id] = Waiting(reply_to=fact.reply_to, reply_partition=fact.reply_partition)


def _child_started(run: Run, fact: RunEvent) -> None:
    run.children[fact.child_run_id] = Child(workflow=fact.workflow, agent=fact.agent, budget=fact.budget_nano_usd)
    budgets.drawn(run, fact.agent, fact.budget_nano_usd)
    run.open_children += 1


def _child_awaited(run: Run, fact: RunEvent) -> None:
    wait = ChildWait(fact.child_run_id, _delivery_of(run, fact), fact.reply_to, fact.reply_partition)
    known = run.children[fact.child_run_id].outcome
    if known is None:
        run.child_waits[fact.command_id] = wait
    else:
        _told_of_child(run, fact.command_id, wait, known)


def _child_ended(run: Run, fact: RunEvent) -> None:
    budgets.child_ended(run, fact)
    known = run.children[fact.child_run_id].outcome = of_child(fact)
    run.open_children -= 1
    for command_id in [id_ for id_, wait in run.child_waits.items() if wait.child_run_id == fact.child_run_id]:
        _told_of_child(run, command_id, run.child_waits.pop(command_id), known)


def _told_of_child(run: Run, command_id: str, wait: ChildWait, known: Answer) -> None:
    if not wait.delivery_id or wait.delivery_id not in run.settled:
        run.answers[command_id] = known
        _retain(run, command_id, wait.delivery_id)


FOLDS: Final[dict[str, Callable[[Run, Any], None]]] = {
    "StateWritten": _state_changed,
    "StateDeleted": _state_changed,
    "StateExpired": _state_changed,
    "StateRead": read_along,
    "MessagePublished": _published,
    "MessageDelivered": _delivered,
    "HandlerCompleted": _settled,
    "MessageDeadLettered": _settled,
    "MessageRedriven": _redriven,
    "RequestSent": _asked,
    "RequestAwaited": _asked_again,
    "RequestWithdrawn": _request_withdrawn,
    "RequestAnswered": _request_settled,
    "RequestFailed": _request_settled,
    "RequestExpired": _request_settled,
    "DependencyDeclared": _declared,
    "DependencySatisfied": _met,
    "DependencyExpired": _expired,
    "CallRequested": _call_requested,
    "CallAwaited": _call_awaited,
    "CallCompleted": _call_settled,
    "CallFailed": _call_settled,
    "CallRedriven": _call_redriven,
    "AttemptStarted": _attempt_started,
    "AttemptSucceeded": _attempt_recorded,
    "AttemptFailed": _attempt_recorded,
    "RunAwaited": _awaited,
    "ChildStarted": _child_started,
    "ChildAwaited": _child_awaited,
    "ChildEnded": _child_ended,
}
"""What each kind changes; kinds that are not here only advance the run's sequence."""


def copy(book: Book) -> Book:
    """A deep copy, by way of the snapshot encoding."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=Book)
