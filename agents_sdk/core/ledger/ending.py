"""How a run ends: each open thing gets its end, in the facts before the last one. Pure; see ``decide`` for the law.

Nothing that is open is dropped silently. The duties of others follow from these facts alone: an agent stops the
handler, an executor the call, the ledger the child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from agents_sdk.core import kinds
from agents_sdk.core.facts import CallEvent, DependencyEvent, Fact, MessageEvent, RunEvent
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.kinds import FactKind
from agents_sdk.core.ledger import budgets
from agents_sdk.core.ledger.deliveries import ENDED_RUN, RUN_ENDED
from agents_sdk.core.ledger.rules import apart
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder
from agents_sdk.core.ledger.state import Delivery, Run, state_hash
from agents_sdk.core.words import Why

NO_REASON: Final = Why()
ENDS_WORK: Final = (
    *(
        kinds.COMPLETE_HANDLER,
        kinds.FAIL_HANDLER,
        kinds.COMPLETE_CALL,
        kinds.FAIL_CALL,
        kinds.REPORT_CHILD,
        kinds.TIMER_FIRED,
        kinds.RESUME_RUN,
    ),
)
"""Kinds after which a run may have nothing left to do."""


def end(run: Run, scribe: FactBuilder, kind: FactKind, *, result: str = "", why: Why = NO_REASON) -> None:
    """Writes the end of the run, and before it a fact for each thing that it leaves open. These are DeliveryCancelled
    for each delivery but the one whose handler ends the run, CallCancelled for each call, ChildOrphaned for each child.
    Since the first version of the rules: HandlerCompleted for the one whose handler ends the run, RequestCancelled and
    DependencyCancelled."""
    before = list(scribe.facts)
    why = why if apart(run) else Why(reason=why.reason)
    for delivery_id, delivery in _open_deliveries(run, before):
        own = delivery_id == scribe.delivery_id
        if own and run.rules and delivery.recipient == scribe.agent:
            _write_about(run, kinds.HANDLER_COMPLETED, delivery_id, delivery, scribe, cause=ENDED_RUN)
        elif not own or run.rules:
            _cancel_delivery(run, delivery_id, delivery, scribe, why)
    if run.rules:
        _cancel_requests(run, before, scribe)
        _cancel_dependencies(run, before, scribe)
    settled = {fact.call_id for fact in before if isinstance(fact, CallEvent)}
    for call_id, call in run.calls.items():
        if not call.settled and call_id not in settled:
            scribe.write(CallEvent, kinds.CALL_CANCELLED, call_id=call_id, capability=call.capability)
    reported = {fact.child_run_id for fact in before if isinstance(fact, RunEvent)}
    for child_run_id, child in run.children.items():
        if child.outcome is None and child_run_id not in reported:
            orphaned = told(run, Why("parent_ended", f"its parent ended first: {kind}"))
            scribe.write(RunEvent, kinds.CHILD_ORPHANED, workflow=child.workflow, **orphaned, child_run_id=child_run_id)
    spent, reserved = budgets.at_end(run, before)
    scribe.write(
        RunEvent,
        kind,
        workflow=run.workflow,
        result=result,
        **told(run, why),
        state_hash=state_hash(run),
        spent_nano_usd=spent,
        reserved_nano_usd=reserved,
    )


def told(run: Run, why: Why) -> dict[str, Any]:
    """The fields of a fact of the run that say why."""
    return why._asdict() if apart(run) else {"reason": why.reason}


def _open_deliveries(run: Run, before: list[Fact]) -> Iterator[tuple[DeliveryId, Delivery | MessageEvent]]:
    """The deliveries that are open after the facts that the command caused so far."""
    deliveries: dict[DeliveryId, Any] = {**run.deliveries}
    for fact in before:
        if fact.kind == kinds.MESSAGE_DELIVERED:  # pragma: no cover — no command delivers and ends the run
            deliveries[fact.delivery_id] = fact  # type: ignore[attr-defined]  # the kind says it is a MessageEvent
        elif fact.kind in (kinds.HANDLER_COMPLETED, kinds.MESSAGE_DEAD_LETTERED):
            deliveries.pop(fact.delivery_id, None)  # type: ignore[attr-defined]  # here too
    yield from deliveries.items()


def _cancel_requests(run: Run, before: list[Fact], scribe: FactBuilder) -> None:
    told = {fact.request_id for fact in before if fact.kind in kinds.REQUEST_ENDS}  # type: ignore[attr-defined]  # MessageEvents
    for request_id, request in run.requests.items():
        if request_id not in told:
            scribe.write(
                MessageEvent,
                kinds.REQUEST_CANCELLED,
                name=request.name,
                workflow=run.workflow,
                sender=request.asker,
                recipient=request.recipient,
                request_id=request_id,
                cause=RUN_ENDED,
            )


def _cancel_dependencies(run: Run, before: list[Fact], scribe: FactBuilder) -> None:
    closed = {fact.dependency_id for fact in before if isinstance(fact, DependencyEvent)}
    for dependency_id, dependency in run.dependencies.items():
        if not dependency.closed and dependency_id not in closed:
            scribe.write(
                DependencyEvent,
                kinds.DEPENDENCY_CANCELLED,
                dependency_id=dependency_id,
                downstream=dependency.downstream,
                depends_on=dependency.depends_on,
                trigger_when=dependency.trigger_when,
                name=dependency.name,
                count=dependency.count,
            )


def _cancel_delivery(
    run: Run, delivery_id: DeliveryId, delivery: Delivery | MessageEvent, scribe: FactBuilder, why: Why
) -> None:
    short = why._replace(reason=why.reason[:TEXT_LIMIT], said=why.said[:TEXT_LIMIT])
    asked = {"request_id": delivery.request_id, "cause": RUN_ENDED, **told(run, short)} if run.rules else {}
    if isinstance(delivery, Delivery) and delivery.parked:
        asked["difference"] = delivery.parked  # its letter is one no more
    _write_about(run, kinds.DELIVERY_CANCELLED, delivery_id, delivery, scribe, **asked)


def _write_about(
    run: Run,
    kind: FactKind,
    delivery_id: DeliveryId,
    delivery: Delivery | MessageEvent,
    scribe: FactBuilder,
    **more: Any,
) -> None:
    scribe.write(
        MessageEvent,
        kind,
        name=delivery.name,
        message_id=delivery.message_id,
        delivery_id=delivery_id,
        workflow=run.workflow,
        sender=delivery.sender,
        recipient=delivery.recipient,
        attempt=delivery.attempt,
        **more,
    )


def complete_when_idle(run: Run, scribe: FactBuilder) -> None:
    """Ends the run if the facts just written leave nothing to do: no delivery, call, child or dependency open. At least
    one delivery must have been settled, so that a run without agents waits for some instead of ending at once."""
    resuming_still = run.resuming and all(fact.kind != kinds.RUN_RESUMED for fact in scribe.facts)
    if run.complete_when != "idle" or resuming_still:
        return
    deliveries, open_calls, open_children = len(run.deliveries), run.open_calls, run.open_children
    waiting = sum(not dependency.closed for dependency in run.dependencies.values())
    worked = bool(run.settled)
    for fact in scribe.facts:
        match fact.kind:
            case kinds.MESSAGE_DELIVERED:
                deliveries += fact.attempt == 1  # type: ignore[attr-defined]  # the kind says it is a MessageEvent
            case kinds.HANDLER_COMPLETED | kinds.MESSAGE_DEAD_LETTERED:
                deliveries -= 1
                worked = True
            case kinds.CALL_COMPLETED | kinds.CALL_FAILED:
                open_calls -= 1
            case kinds.CHILD_ENDED:
                open_children -= 1
            case kinds.DEPENDENCY_SATISFIED | kinds.DEPENDENCY_EXPIRED:
                waiting -= 1
            case kinds.RUN_FAILED:
                return
    if worked and not deliveries and not open_calls and not open_children and not waiting:
        end(run, scribe, kinds.RUN_COMPLETED, why=Why("idle", "idle"))
