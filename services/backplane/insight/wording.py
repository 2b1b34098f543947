"""The store's answers in people's words, as values: a run's timeline, a fact, how a run ended. No colour, no terminal,
no page, no store: the command line and the console say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agents_sdk.core import kinds
from agents_sdk.core.ledger.effects import PREFIX
from agents_sdk.core.money import dollars
from agents_sdk.core.words import attributed, ended
from backplane.insight.answers import Event

if TYPE_CHECKING:
    from backplane.insight.postmortem import PostMortem

TRACEBACK_SHOWN: Final = 6
"""Lines of a traceback in a timeline: where it was raised; ``explain`` and the page of the fact have all of it."""
HIDDEN: Final = frozenset(
    {
        *kinds.CALL_OUTCOMES,
        *kinds.ATTEMPT_OUTCOMES,
        kinds.ATTEMPT_STARTED,
        kinds.HANDLER_COMPLETED,
        kinds.RUN_AWAITED,
        kinds.CALL_AWAITED,
        kinds.CHILD_AWAITED,
        kinds.STATE_LISTED,
        kinds.HISTORY_READ,
    }
)
"""Shown on the line of their owner, or of no interest to a reader."""
ENDED: Final = {
    "degraded": "with substitutes",
    "troubled": "though something was given up",
    "recovered": "and what failed was made good: tried again, or elsewhere",
    "well": "and nothing failed",
}
"""Words besides the run's status."""


@dataclass
class Line:
    """One line of the timeline."""

    at: int
    lane: str
    """The agent it is about."""
    mark: str
    """One character."""
    text: str
    tone: str = ""
    """good, bad, warn, dim or nothing."""
    duration_us: int | None = None
    cost_nano_usd: int = 0
    under: list[Line] = field(default_factory=list)
    run_seq: int = 0
    """Of the fact that it tells."""


@dataclass(frozen=True)
class Context:
    """The part of other events that a line may need."""

    calls: dict[str, list[Event]]
    handled: dict[tuple[str, int], Event]


def lines_of(events: Sequence[Event]) -> Iterator[Line]:
    """The run's lines in its order; attempts and outcomes stand under the call they belong to."""
    return (line for _, line in events_with_lines(events))


def events_with_lines(events: Sequence[Event]) -> Iterator[tuple[Event, Line]]:
    """As ``lines_of``, each line with the fact it is about."""
    context = Context({}, {})
    for event in events:
        if event.call_id and event.kind != kinds.CALL_REQUESTED:
            context.calls.setdefault(event.call_id, []).append(event)
        if event.kind in kinds.HANDLER_OUTCOMES:
            context.handled[event.delivery_id, event.attempt] = event
    for event in events:
        if event.kind not in HIDDEN:
            line = WORDS.get(event.kind, _other)(event, context)
            line.run_seq = event.run_seq
            yield event, line


def _other(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "·", event.kind, "dim")


def _started(event: Event, _: Context) -> Line:
    goes_on = f", to go on from run {event.resumed_from}" if event.resumed_from else ""
    return Line(event.at, event.agent, "▶", f"run of {event.workflow or 'no workflow'} started{goes_on}")


def _resumed(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "▶", f"goes on from run {event.resumed_from}")


def _ended(event: Event, _: Context) -> Line:
    word = event.kind.removeprefix("Run").lower()
    reason = "nothing left to do" if event.reason == "idle" else event.reason
    words = attributed(f"run {ended(word, reason)}", event.said, event.said_by)
    return Line(event.at, event.agent, "■", words, "good" if word == "completed" else "bad")


def _delivered(event: Event, context: Context) -> Line:
    sender = f" from {event.sender}" if event.sender and event.sender != event.recipient else ""
    again = f", attempt {event.attempt}" if event.attempt > 1 else ""
    if event.not_before > event.at:
        again += f" after {duration(event.not_before - event.at)}"
    line = Line(event.at, event.recipient, "┌", f"handles {event.name}{sender}{again}", "warn" if again else "")
    done = context.handled.get((event.delivery_id, event.attempt))
    line.duration_us = done.at - event.at if done else None
    return line


def _handler_failed(event: Event, _: Context) -> Line:
    line = Line(event.at, event.agent, "✗", f"fails on {event.name}: {error_of(event)}", "bad")
    shown = event.traceback.rstrip().splitlines()[-TRACEBACK_SHOWN:]
    line.under = [Line(event.at, event.agent, "│", text, "dim", run_seq=event.run_seq) for text in shown]
    return line


def _dead(event: Event, _: Context) -> Line:
    return Line(event.at, event.recipient, "✗", f"gives up on {event.name} after {event.attempt} attempts", "bad")


def _published(event: Event, _: Context) -> Line:
    heard = {0: "nobody listens", 1: "to 1 agent"}.get(event.recipients, f"to {event.recipients} agents")
    return Line(event.at, event.agent, "»", f"publishes {event.name}, {heard}", "" if event.recipients else "warn")


def _sent(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "›", f"sends {event.name} to {event.recipient}")


def _asked(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "?", f"asks {event.recipient}: {event.name}")


def _answered(event: Event, _: Context) -> Line:
    return Line(event.at, event.recipient, "!", f"answers {event.sender}: {event.name}")


def _not_answered(event: Event, _: Context) -> Line:
    why = "in time" if event.kind == kinds.REQUEST_EXPIRED else f"({error_of(event)})"
    return Line(event.at, event.recipient, "✗", f"gives {event.sender} no answer to {event.name} {why}", "bad")


def _escalated(event: Event, _: Context) -> Line:
    return Line(event.at, event.sender, "↑", f"could not handle {event.name}: {event.recipient} is informed", "bad")


def _redriven(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "↻", f"puts {event.name} in the inbox of {event.recipient} again", "warn")


def _parked(event: Event, _: Context) -> Line:
    text = f"{event.name} is parked: attempt {event.attempt} asked for something else than is recorded"
    return Line(event.at, event.recipient, "⏸", text, "bad")


def _goes_on(event: Event, _: Context) -> Line:
    how = "from nothing" if event.kind == kinds.MESSAGE_RESTARTED else "with what is recorded"
    return Line(event.at, event.agent, "↻", f"lets {event.recipient} go on with {event.name}, {how}", "warn")


def _discarded(event: Event, _: Context) -> Line:
    what = f"the call of {event.capability}" if event.call_id else f"{event.name} for {event.recipient}"
    return Line(event.at, event.agent, "✗", f"discards {what}: {event.reason}", "warn")


def _not_waited(event: Event, _: Context) -> Line:
    who, what = event.sender or event.downstream, event.name or "others"
    return Line(event.at, who, "✗", f"waits no longer for {what}, the run ends", "warn")


def _expired(event: Event, _: Context) -> Line:
    return Line(event.at, event.downstream, "✗", f"waited too long for {', '.join(event.depends_on)}", "bad")


def _wrote(event: Event, _: Context) -> Line:
    verb = "deletes" if event.kind == kinds.STATE_DELETED else "writes"
    size = f" ({_size(event.size)})" if event.size else ""
    return Line(event.at, event.agent, "✎", f"{verb} {event.key}@{event.version}{size}")


def _read(event: Event, _: Context) -> Line:
    what = f"{event.key}@{event.version}" if event.version else f"{event.key}, which is not there"
    return Line(event.at, event.agent, "·", f"reads {what}", "dim")


def _decided(event: Event, _: Context) -> Line:
    why = f": {event.rationale}" if event.rationale else ""
    return Line(event.at, event.agent, "◆", f"decides {event.action}{why}")


def _called(event: Event, context: Context) -> Line:
    about = context.calls.get(event.call_id, [])
    tried = [other for other in about if other.kind in kinds.ATTEMPT_OUTCOMES]
    outcome = next((other for other in about if other.kind in kinds.CALL_OUTCOMES), None)
    own = event.capability.startswith(PREFIX)
    does = f"makes its step {event.capability.removeprefix(PREFIX)!r}" if own else f"calls {event.capability}"
    line = Line(event.at, event.agent, "⚙", does)
    line.cost_nano_usd = sum(other.cost_nano_usd for other in tried)
    line.under = [_tried(attempt) for attempt in tried] if len(tried) > 1 or not outcome else []
    if outcome is None:
        line.text += ", no answer yet"
        return line
    line.duration_us = outcome.at - event.at
    if outcome.kind == kinds.CALL_FAILED:
        line.text += f": {error_of(outcome)}"
        line.tone = "bad"
        return line
    line.text += f" → {outcome.provider}"
    tried_before = sorted({other.provider for other in tried} - {outcome.provider})
    if tried_before:
        line.text += f", fallback from {', '.join(tried_before)}"
    if outcome.degraded:
        line.text += ", degraded"
    line.tone = "warn" if outcome.degraded or len(tried) > 1 else ""
    return line


def _tried(attempt: Event) -> Line:
    with_model = f" ({attempt.model})" if attempt.model else ""
    base = Line(attempt.at, attempt.agent, "✓", f"{attempt.provider}{with_model}", "good", attempt.latency_us)
    base.cost_nano_usd, base.run_seq = attempt.cost_nano_usd, attempt.run_seq
    if attempt.kind == kinds.ATTEMPT_FAILED:
        base.mark, base.tone = "✗", "bad"
        base.text += f": {attempt.error_class}: {attempt.error_message}".rstrip(": ")
    return base


def _child_started(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "▷", f"starts {event.workflow or 'a run'} as {event.child_run_id}")


def _why(event: Event) -> str:
    return attributed(event.reason, event.said, event.said_by)


def _child_cancelled(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "□", f"cancels {event.child_run_id}: {_why(event)}".rstrip(": "), "warn")


def _child_ended(event: Event, _: Context) -> Line:
    how = ended(event.status, "" if event.reason == "idle" else event.reason)
    tone = "good" if event.status == "completed" else "bad"
    words = attributed(f"{event.child_run_id} {how}", event.said, event.said_by)
    return Line(event.at, event.agent, "□", words, tone)


def _stopped(event: Event, _: Context) -> Line:
    return Line(event.at, event.recipient, "✗", f"stops {event.name}, the run ends", "warn")


def _call_stopped(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "✗", f"stops the call of {event.capability}, the run ends", "warn")


def _declared(event: Event, _: Context) -> Line:
    return Line(event.at, event.agent, "⧖", f"{event.downstream} is to wait for {', '.join(event.depends_on)}", "dim")


def _satisfied(event: Event, _: Context) -> Line:
    done = ", ".join(event.depends_on)
    if len(event.satisfied_by) < len(event.depends_on):
        text = f"may start: {len(event.satisfied_by)} of {done} are there"
        return Line(event.at, event.downstream, "⧗", text)
    return Line(
        event.at, event.downstream, "⧗", f"may start: {done} {'are' if len(event.depends_on) > 1 else 'is'} done"
    )


def _refused(event: Event, _: Context) -> Line:
    why = attributed(f"{event.code}: {event.message}", event.said, event.said_by)
    return Line(event.at, event.agent, "⊘", f"{event.command_kind or 'command'} refused, {why}", "warn")


WORDS: Final[dict[str, Callable[[Event, Context], Line]]] = {
    kinds.RUN_STARTED: _started,
    kinds.RUN_RESUMED: _resumed,
    kinds.RUN_COMPLETED: _ended,
    kinds.RUN_FAILED: _ended,
    kinds.RUN_CANCELLED: _ended,
    kinds.CHILD_STARTED: _child_started,
    kinds.CHILD_CANCELLED: _child_cancelled,
    kinds.CHILD_ORPHANED: _child_cancelled,
    kinds.CHILD_ENDED: _child_ended,
    kinds.DELIVERY_CANCELLED: _stopped,
    kinds.CALL_CANCELLED: _call_stopped,
    kinds.MESSAGE_DELIVERED: _delivered,
    kinds.HANDLER_FAILED: _handler_failed,
    kinds.MESSAGE_DEAD_LETTERED: _dead,
    kinds.MESSAGE_PUBLISHED: _published,
    kinds.MESSAGE_SENT: _sent,
    kinds.ESCALATION_RAISED: _escalated,
    kinds.MESSAGE_REDRIVEN: _redriven,
    kinds.MESSAGE_DISCARDED: _discarded,
    kinds.MESSAGE_PARKED: _parked,
    kinds.MESSAGE_CONTINUED: _goes_on,
    kinds.MESSAGE_RESTARTED: _goes_on,
    kinds.CALL_DISCARDED: _discarded,
    kinds.DEPENDENCY_EXPIRED: _expired,
    kinds.REQUEST_CANCELLED: _not_waited,
    kinds.DEPENDENCY_CANCELLED: _not_waited,
    kinds.REQUEST_SENT: _asked,
    kinds.REQUEST_ANSWERED: _answered,
    kinds.REQUEST_FAILED: _not_answered,
    kinds.REQUEST_EXPIRED: _not_answered,
    kinds.STATE_WRITTEN: _wrote,
    kinds.STATE_DELETED: _wrote,
    kinds.STATE_READ: _read,
    kinds.DECISION_RECORDED: _decided,
    kinds.CALL_REQUESTED: _called,
    kinds.DEPENDENCY_DECLARED: _declared,
    kinds.DEPENDENCY_SATISFIED: _satisfied,
    kinds.COMMAND_REFUSED: _refused,
}


def ending(status: str, found: PostMortem) -> str:
    """How the run ended, in a few words."""
    return status if found.verdict in ("failed", "cancelled") else f"{status}, {ENDED[found.verdict]}"


def error_of(event: Event) -> str:
    """How it failed: a word for the cause, and the platform's words or those of who failed. The words of a third stand
    in quotes at the end."""
    cause = event.error_code or event.error_class or event.error_type
    failure = ": ".join(text for text in (cause, event.error_message or event.reason) if text)
    return attributed(failure, event.said, event.said_by)


def in_words(event: Event) -> str:
    """The failed agent and work, in one line."""
    error = error_of(event)
    match event.kind:
        case kinds.ATTEMPT_FAILED:
            return f"{event.provider} failed {event.capability}: {error}"
        case kinds.CALL_FAILED:
            return f"the call of {event.capability} failed: {error}"
        case kinds.CALL_COMPLETED:
            return f"a substitute stands in for {event.capability}: {error}".rstrip(": ")
    text = next(lines_of([event])).text
    if event.kind in (kinds.RUN_FAILED, kinds.RUN_CANCELLED):
        return text
    return f"{event.recipient or event.downstream or event.agent} {text}"


def duration(micros: int) -> str:
    """``0 ms``, ``12 ms``, ``3.4 s``, ``2 min 5 s``, ``5 h 1 min``."""
    if micros < 999_500:
        return f"{round(micros / 1000)} ms"
    if micros < 60_000_000:
        return f"{micros / 1_000_000:.1f} s"
    minutes, seconds = divmod(round(micros / 1_000_000), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def money(nano: int) -> str:
    """Nothing for nothing."""
    return dollars(nano) if nano else ""


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
