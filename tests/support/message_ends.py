"""Whether each message came to an end. Pure: facts in, complaints out; an empty list is a law that holds.

A delivery has one of three ends, and each is a fact: handled (HandlerCompleted), a dead letter with its cause
(MessageDeadLettered), or cancelled with its run (DeliveryCancelled), where the run's last fact says how and why.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

from agents_sdk.core.facts import Fact, MessageEvent, RunEvent

ENDS: Final = frozenset({"HandlerCompleted", "MessageDeadLettered", "DeliveryCancelled"})
RUN_ENDS: Final = frozenset({"RunCompleted", "RunFailed", "RunCancelled"})
SENT: Final = frozenset({"MessageSent", "RequestSent", "MessagePublished", "RunStarted"})


def unended(facts: Iterable[Fact]) -> list[str]:
    """Complaints about the messages of these runs; the facts may come in any order. In a run that has ended each
    delivery has exactly one end; in one that goes on, at most one. Runs of before rules 1 say nothing of the delivery
    whose handler ended them."""
    runs: dict[str, list[Any]] = defaultdict(list)
    for fact in facts:
        if fact.run_id and fact.run_seq and isinstance(fact, MessageEvent | RunEvent):
            runs[fact.run_id].append(fact)
    for told in runs.values():
        told.sort(key=lambda fact: fact.run_seq)
    return [f"run {run_id}: {wrong}" for run_id, told in runs.items() for wrong in _of_run(told)]


def _of_run(facts: list[Any]) -> list[str]:
    delivered: dict[str, Any] = {}
    reached: Counter[str] = Counter()
    ends: dict[str, list[Any]] = defaultdict(list)
    wrong: list[str] = []
    end: Any = next((fact for fact in facts if fact.kind in RUN_ENDS), None)
    for fact in facts:
        if fact.kind == "MessageDelivered" and fact.attempt == 1:
            delivered[fact.delivery_id] = fact
            reached[fact.message_id] += 1
        elif fact.kind in ENDS:
            ends[fact.delivery_id].append(fact)
    for delivery_id, fact in delivered.items():
        told = [each.kind for each in ends[delivery_id]]
        if len(told) > 1 or (not told and end is not None and not _ended_its_run(fact, end, facts)):
            wrong.append(f"delivery {delivery_id} ({fact.name} to {fact.recipient}) has the ends {told}")
    wrong += [f"the end of {name}, which was not delivered" for name in ends.keys() - delivered.keys()]
    for fact in facts:
        if fact.kind in SENT and reached[fact.event_id] != fact.recipients:
            wrong.append(
                f"{fact.kind} {fact.event_id} has {fact.recipients} recipients, {reached[fact.event_id]} got it"
            )
    rules = next((fact.rules for fact in facts if fact.kind == "RunStarted"), 0)
    return wrong + [text for told in ends.values() for each in told if (text := _untold(each, end, rules))]


def _ended_its_run(delivered: Any, end: Any, facts: list[Any]) -> bool:
    """Whether the handler of the delivery ended its run, which the rules of before had no fact for."""
    started = [fact for fact in facts if fact.kind == "RunStarted"]
    if not started or started[0].rules:
        return False
    own = {fact.event_id for fact in facts if fact.kind == "MessageDelivered"}
    return end.causation_id in own and end.agent == delivered.recipient


def _untold(fact: Any, end: Any, rules: int) -> str:
    """What an end of a delivery does not say and should."""
    if fact.kind == "MessageDeadLettered" and not fact.cause:
        return f"the dead letter {fact.delivery_id} has no cause"
    if fact.kind != "DeliveryCancelled":
        return ""
    if end is None or end.command_id != fact.command_id:
        return f"delivery {fact.delivery_id} was cancelled, and its run was not ended by the same command"
    told = (fact.reason, fact.code, fact.said, fact.said_by)
    if rules and (fact.cause, *told) != ("run_ended", end.reason[:2_000], end.code, end.said[:2_000], end.said_by):
        return f"delivery {fact.delivery_id} was cancelled as {fact.cause!r} ({fact.reason!r}), not as its run"
    return ""
