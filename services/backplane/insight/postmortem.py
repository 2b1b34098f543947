"""The post-mortem of a run: what failed first, what it spread to, what was tried, what it cost, what to do next.

Pure: the facts of the run and of those it is bound up with (``backplane.insight.failure_causes.related``), and the
reports of its calls, in; one document out. Law: the first cause is the earliest of all that the end rests on. Each step
of the way from it to the end rests on the step before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.words import quoted
from backplane.insight.answers import Event
from backplane.insight.failure_causes import ENDS, FailureCauses, failing

Verdict = Literal["failed", "cancelled", "degraded", "troubled", "recovered", "well"]
"""failed, cancelled: how the run ended. degraded: a substitute stands in for a result. troubled: something was given up
and the run went on. recovered: what failed was tried again, or elsewhere, with success. well: nothing failed."""
Outcome = Literal["failed", "degraded", "recovered", "given up", "cancelled", "redriven", "discarded"]
"""The later fate of a call or a message. given up: it is a dead letter. cancelled: its run ended first. Other words as
in the views ``v_calls`` and ``v_messages``."""
GIVEN_UP: Final = frozenset(
    {
        kinds.CALL_FAILED,
        kinds.CHILD_ENDED,
        kinds.DEPENDENCY_EXPIRED,
        kinds.MESSAGE_DEAD_LETTERED,
        kinds.REQUEST_EXPIRED,
        kinds.REQUEST_FAILED,
    }
)
TRIED: Final = frozenset(kinds.ATTEMPT_OUTCOMES)


class FailureTreatment(msgspec.Struct, kw_only=True):
    """The treatment of one call, or one message, that failed."""

    what: str
    """The capability, or the message's name."""
    agent: str
    """The agent that asked for it, or was to handle it."""
    run_id: str
    event_id: str
    """Of the fact that tells how it ended."""
    outcome: Outcome
    attempts: list[str] = []
    """One each, in order: who was asked, and what came of it."""
    not_tried: list[str] = []
    """Alternatives that were not asked, and why."""
    redrives: int = 0
    traceback: str = ""
    """Where the handler failed last."""


class PostMortem(msgspec.Struct, kw_only=True):
    """Why a run ended as it did."""

    run_id: str
    verdict: Verdict
    first_cause: Event | None
    """None: nothing failed."""
    chain: list[Event]
    """From the first cause to what came of it in the end, each resting on the one before."""
    other_causes: list[Event]
    """Other failures with a cause of their own, on which the end rests too."""
    spread: list[Event]
    """Other things that rest on the first cause, or were open and stopped when the run ended."""
    tried: list[FailureTreatment]
    cost_nano_usd: int
    """Of the run's own attempts."""
    wasted_nano_usd: int
    """Of that, for attempts that failed."""
    lost_nano_usd: int
    """Of that, for all attempts of calls that failed, and of calls by handlers that were given up."""
    unpriced: int
    lasted_us: int
    """From the first cause to the end."""
    next_steps: list[str]


def explain(run_id: str, events: Sequence[Event], reports: Mapping[str, str]) -> PostMortem:
    """``events``: of the run, then of those it is bound up with, each in its order. ``reports``: fact → the report of a
    call's outcome, as the executor wrote it (JSON)."""
    own = [event for event in events if event.run_id == run_id]
    causes = FailureCauses(events)
    ends = _ends(own)
    verdict = _verdict(own, ends)
    rests_on = causes.all_of(ends or ([event for event in own if failing(event)] if verdict == "recovered" else []))
    first = min(rests_on, key=_when, default=None)
    chain = _chain(causes, ends, first) if first else []
    spread = _spread(causes, events, own, chain)
    concerned = sorted({event.event_id: event for event in [*rests_on, *spread]}.values(), key=_when)
    return PostMortem(
        run_id=run_id,
        verdict=verdict,
        first_cause=first,
        chain=chain,
        other_causes=sorted((one for one in rests_on if one is not first and _alone(causes, one, first)), key=_when),
        spread=spread,
        tried=_all_tried(events, concerned, reports),
        cost_nano_usd=sum(event.cost_nano_usd for event in own if event.kind in TRIED),
        wasted_nano_usd=sum(event.cost_nano_usd for event in own if event.kind == kinds.ATTEMPT_FAILED),
        lost_nano_usd=_lost(causes, own),
        unpriced=sum(event.kind in TRIED and not event.price_id for event in own),
        lasted_us=max(chain[-1].at - first.at, 0) if first else 0,
        next_steps=_next_steps(run_id, own, chain, concerned, reports) if ends else [],
    )


def _when(event: Event) -> tuple[int, int, str]:
    return event.at, event.run_seq, event.event_id


def _ends(own: Sequence[Event]) -> list[Event]:
    """The facts that the post-mortem is about: the run's bad end, or what was not made good in one that went on."""
    if bad := [event for event in own if event.kind in ENDS]:
        return bad[-1:]
    redriven = {
        event.call_id or event.delivery_id
        for event in own
        if event.kind in (kinds.CALL_REDRIVEN, kinds.MESSAGE_REDRIVEN)
    }
    left = [event for event in own if failing(event) and (event.kind in GIVEN_UP or event.kind == kinds.CALL_COMPLETED)]
    return [event for event in left if (event.call_id or event.delivery_id) not in redriven]


def _verdict(own: Sequence[Event], ends: Sequence[Event]) -> Verdict:
    seen = {event.kind for event in ends}
    if seen & ENDS:
        return "failed" if kinds.RUN_FAILED in seen else "cancelled"
    if ends:
        return "degraded" if kinds.CALL_COMPLETED in seen else "troubled"
    return "recovered" if any(map(failing, own)) else "well"


def _alone(causes: FailureCauses, event: Event, first: Event | None) -> bool:
    """Whether it failed by itself, and is not another attempt at what failed first."""
    if causes.of(event) or first is None:
        return False
    return not any(
        mine and mine == its for mine, its in ((event.call_id, first.call_id), (event.delivery_id, first.delivery_id))
    )


def _chain(causes: FailureCauses, ends: Sequence[Event], first: Event) -> list[Event]:
    """The shortest way from the first cause to an end; of several, one that comes to the earliest end."""
    led_to: dict[str, Event] = {}
    waiting = sorted(ends, key=_when) or [first]
    known = {event.event_id for event in waiting}
    for event in waiting:
        if event is first:
            break
        for cause in causes.of(event):
            if cause.event_id not in known:
                known.add(cause.event_id)
                led_to[cause.event_id] = event
                waiting.append(cause)
    chain = [first]
    while chain[-1].event_id in led_to:
        chain.append(led_to[chain[-1].event_id])
    return chain


def _spread(
    causes: FailureCauses, events: Sequence[Event], own: Sequence[Event], chain: Sequence[Event]
) -> list[Event]:
    """Other things that rest on the first cause, then those that the end of the run stopped."""
    if not chain:
        return []
    led_to: dict[str, list[Event]] = {}
    for event in filter(failing, events):
        for cause in causes.of(event):
            led_to.setdefault(cause.event_id, []).append(event)
    found = {chain[0].event_id: chain[0]}
    waiting = [chain[0]]
    for event in waiting:
        for other in led_to.get(event.event_id, ()):
            if other.event_id not in found:
                found[other.event_id] = other
                waiting.append(other)
    stopped = [other for end in own if end.kind in ENDS for other in causes.stopped_by(end)]
    found.update((other.event_id, other) for other in stopped)
    shown = {event.event_id for event in chain}
    return sorted((event for event in found.values() if event.event_id not in shown), key=_when)


def _lost(causes: FailureCauses, own: Sequence[Event]) -> int:
    failed = {event.call_id for event in own if event.kind in (kinds.CALL_FAILED, kinds.CALL_CANCELLED)}
    dead = {event.delivery_id for event in own if event.kind in (kinds.MESSAGE_DEAD_LETTERED, kinds.DELIVERY_CANCELLED)}
    return sum(
        event.cost_nano_usd
        for event in own
        if event.kind in TRIED and (event.call_id in failed or causes.asked_in(event.call_id) in dead)
    )


def _all_tried(
    events: Sequence[Event], concerned: Iterable[Event], reports: Mapping[str, str]
) -> list[FailureTreatment]:
    calls: dict[str, list[Event]] = {}
    deliveries: dict[str, list[Event]] = {}
    for event in events:
        if event.call_id:
            calls.setdefault(event.call_id, []).append(event)
        elif event.delivery_id:
            deliveries.setdefault(event.delivery_id, []).append(event)
    found: dict[str, FailureTreatment] = {}
    ended_by = {event.causation_id for event in events if event.kind in ENDS or event.kind == kinds.RUN_COMPLETED}
    for event in concerned:
        place = event.call_id or event.delivery_id
        if place in found or not place:
            continue
        if event.call_id:
            found[place] = _call_tried(calls[place], reports)
        elif any(other.kind == kinds.HANDLER_FAILED for other in deliveries[place]):
            found[place] = _message_tried(deliveries[place], ended_by)
    return list(found.values())


def _call_tried(about: Sequence[Event], reports: Mapping[str, str]) -> FailureTreatment:
    request = next((event for event in about if event.kind == kinds.CALL_REQUESTED), about[0])
    outcome = next((event for event in about if event.kind in kinds.CALL_OUTCOMES), about[-1])
    attempts = [event for event in about if event.kind in TRIED]
    report = report_of(reports, outcome)
    redrives = sum(event.kind == kinds.CALL_REDRIVEN for event in about)
    ended: Outcome = "failed"
    if redrives:
        ended = "redriven"
    elif outcome.kind == kinds.CALL_COMPLETED:
        ended = "degraded" if outcome.degraded else "recovered"
    elif any(event.kind == kinds.CALL_DISCARDED for event in about):
        ended = "discarded"
    elif outcome.kind != kinds.CALL_FAILED:
        ended = "cancelled"
    return FailureTreatment(
        what=request.capability,
        agent=request.agent,
        run_id=request.run_id,
        event_id=outcome.event_id,
        outcome=ended,
        attempts=[f"{one.provider}: {_error(one) or 'succeeded'}" for one in attempts],
        not_tried=[
            f"{one.get('capability')}/{one.get('provider')}: {one['why_not']}"
            for one in report.get("alternatives", ())
            if one.get("why_not")
        ],
        redrives=redrives,
    )


def _message_tried(about: Sequence[Event], ended_by: set[str]) -> FailureTreatment:
    """``ended_by``: what the ends of runs were caused by. A handler that ended its run has done its work; in
    records of before nothing else says so."""
    failed = [event for event in about if event.kind == kinds.HANDLER_FAILED]
    dead = next((event for event in about if event.kind == kinds.MESSAGE_DEAD_LETTERED), None)
    redrives = sum(event.kind == kinds.MESSAGE_REDRIVEN for event in about)
    seen = {event.kind for event in about}
    ended: Outcome = "given up"
    if kinds.HANDLER_COMPLETED in seen or any(event.event_id in ended_by for event in about if not dead):
        ended = "recovered"
    elif redrives:
        ended = "redriven"
    elif kinds.MESSAGE_DISCARDED in seen:
        ended = "discarded"
    elif kinds.DELIVERY_CANCELLED in seen:
        ended = "cancelled"
    return FailureTreatment(
        what=failed[0].name,
        agent=failed[0].recipient,
        run_id=failed[0].run_id,
        event_id=(dead or failed[-1]).event_id,
        outcome=ended,
        attempts=[f"attempt {event.attempt}: {_error(event)}" for event in failed],
        redrives=redrives,
        traceback=failed[-1].traceback,
    )


def _error(event: Event) -> str:
    cause = event.error_type or event.error_class
    return ": ".join(text for text in (cause, event.error_message or event.reason) if text)


def report_of(reports: Mapping[str, str], event: Event) -> dict[str, Any]:
    """The report of a call's outcome; empty for a fact without one."""
    text = reports.get(event.event_id, "")
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except msgspec.DecodeError:
        return {}  # not of an executor of ours: the contents of the facts are shown all the same


def _next_steps(
    run_id: str,
    own: Sequence[Event],
    chain: Sequence[Event],
    concerned: Sequence[Event],
    reports: Mapping[str, str],
) -> list[str]:
    """Advice of the reports, then advice that follows from the other facts; along the chain first."""
    bad_end = any(event.kind in ENDS for event in own)
    over = bad_end or any(event.kind == kinds.RUN_COMPLETED for event in own)
    ordered = [*chain, *(event for event in concerned if event not in chain)]
    steps = [report_of(reports, event).get("action", "") for event in ordered]
    again = "start the run again" if over else f"`backplane dlq redrive --run {run_id}`"
    if bad_end:
        again = f"`backplane resume {run_id}`"
    for event in ordered:
        steps.append(_step(event, again, advised=any(steps)))
    return [step for step in dict.fromkeys(steps) if step]


def _step(event: Event, again: str, *, advised: bool) -> str:
    """``advised``: it was said what to mend; what is left to say is how to go on."""
    if event.kind == kinds.MESSAGE_DEAD_LETTERED:
        if advised:
            return f"then {again}"
        if event.cause == "expired":
            return f"give {event.name} to {event.recipient} more time (deadline_seconds), then {again}"
        if event.cause == "agent_removed":
            return f"start agent {event.recipient} again, then {again}"
        said = f", which said {quoted(_error(event))}" if event.error_message else f": {event.reason}"
        return f"mend how {event.recipient} handles {event.name}{said}; then {again}"
    if event.kind == kinds.COMMAND_REFUSED:
        return f"mend what {event.agent} asks for: {event.code}: {event.message}"
    if event.kind == kinds.DEPENDENCY_EXPIRED:
        missing = ", ".join(map(quoted, event.depends_on))
        return f"see why {missing} kept {event.downstream} waiting, or give it more time"
    if event.kind == kinds.CHILD_ENDED:
        return f"`backplane explain {event.child_run_id}`"
    if event.kind == kinds.RUN_FAILED and "deadline of the run" in event.reason:
        return "allow the run more time, or see in `backplane run` what took it"
    return ""
