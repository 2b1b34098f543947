"""A fact as a span. Pure: ``opening`` and ``span`` are functions of values. Ids derive from the facts' own, so a fact
that is projected again gives the same span again.

Laws (tests/unit/otel/test_spans.py holds them). Every kind of fact is classified. It opens something that lasts
(``OPENS``), or is a part of something that lasts (``PART``), or gives exactly one span. That span is of its own moment,
or closes what another opened. A span's parent is the cause of the fact: the handler, call or run that the causation id
names. So a run and its children are one tree under one trace id. Tokens and cost are on attempts alone, the leaves.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agents_sdk.core import kinds
from agents_sdk.core.facts import (
    AttemptEvent,
    CallEvent,
    DecisionEvent,
    DependencyEvent,
    Fact,
    MessageEvent,
    RefusalEvent,
    RunEvent,
    StateEvent,
)
from backplane.otel import names

SpanKind: TypeAlias = Literal["internal", "client", "producer", "consumer"]
Value: TypeAlias = str | int | float | bool | list[str]

OPENS: Final = frozenset(
    {kinds.RUN_STARTED, kinds.MESSAGE_DELIVERED, kinds.CALL_REQUESTED, kinds.REQUEST_SENT, kinds.DEPENDENCY_DECLARED}
)
"""Kinds that begin something that lasts; its end gives the span."""
CLOSES: Final = {
    kinds.RUN_COMPLETED: kinds.RUN_STARTED,
    kinds.RUN_FAILED: kinds.RUN_STARTED,
    kinds.RUN_CANCELLED: kinds.RUN_STARTED,
    kinds.HANDLER_COMPLETED: kinds.MESSAGE_DELIVERED,
    kinds.HANDLER_FAILED: kinds.MESSAGE_DELIVERED,
    kinds.DELIVERY_CANCELLED: kinds.MESSAGE_DELIVERED,
    kinds.CALL_COMPLETED: kinds.CALL_REQUESTED,
    kinds.CALL_FAILED: kinds.CALL_REQUESTED,
    kinds.CALL_CANCELLED: kinds.CALL_REQUESTED,
    kinds.REQUEST_ANSWERED: kinds.REQUEST_SENT,
    kinds.REQUEST_FAILED: kinds.REQUEST_SENT,
    kinds.REQUEST_EXPIRED: kinds.REQUEST_SENT,
    kinds.REQUEST_CANCELLED: kinds.REQUEST_SENT,
    kinds.DEPENDENCY_SATISFIED: kinds.DEPENDENCY_DECLARED,
    kinds.DEPENDENCY_EXPIRED: kinds.DEPENDENCY_DECLARED,
    kinds.DEPENDENCY_CANCELLED: kinds.DEPENDENCY_DECLARED,
}
"""Kinds that end something → the kind that began it."""
PART: Final = frozenset(
    {
        kinds.ATTEMPT_STARTED,
        kinds.HANDLER_STARTED,
        kinds.CALL_AWAITED,
        kinds.RUN_AWAITED,
        kinds.CHILD_AWAITED,
        kinds.REQUEST_AWAITED,
    }
)
"""Kinds that only say that something goes on."""
FAILURES: Final = frozenset(
    {
        *(
            kinds.RUN_FAILED,
            kinds.HANDLER_FAILED,
            kinds.CALL_FAILED,
            kinds.REQUEST_FAILED,
            kinds.REQUEST_EXPIRED,
            kinds.DEPENDENCY_EXPIRED,
        ),
        *(kinds.ATTEMPT_FAILED, kinds.COMMAND_REFUSED, kinds.MESSAGE_DEAD_LETTERED),
    }
)
MEMORY: Final = {
    kinds.STATE_WRITTEN: "upsert_memory",
    kinds.STATE_DELETED: "delete_memory",
    kinds.STATE_EXPIRED: "delete_memory",
    kinds.STATE_READ: "search_memory",
    kinds.STATE_LISTED: "search_memory",
    kinds.HISTORY_READ: "search_memory",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """The kept part of a fact that opens something, until it is closed."""

    event_id: str
    causation_id: str
    at: int
    """Microseconds UTC."""
    name: str = ""
    body: str = ""
    """Params of a call, where content is asked for."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span, before it is put into OpenTelemetry's classes; times in microseconds UTC."""

    trace_id: int
    span_id: int
    parent_id: int
    """0: a root."""
    name: str
    kind: SpanKind
    start: int
    end: int
    attributes: dict[str, Value] = field(default_factory=dict)
    error: str = ""


def opened_by(fact: Fact) -> tuple[str, str] | None:
    """(kind, id) of what a fact opens or closes; None for any other fact."""
    kind = fact.kind if fact.kind in OPENS else CLOSES.get(fact.kind)
    if kind is None:
        return None
    if isinstance(fact, CallEvent):
        return kind, fact.call_id
    if isinstance(fact, DependencyEvent):
        return kind, fact.dependency_id
    if isinstance(fact, MessageEvent):
        if kind == kinds.REQUEST_SENT:
            return kind, fact.request_id or fact.command_id
        return kind, f"{fact.delivery_id}/{fact.attempt}"
    return kind, fact.run_id


def opening(fact: Fact, content: bool = False) -> Opening:
    """The part of a fact of ``OPENS`` to keep."""
    name = fact.workflow if isinstance(fact, RunEvent) else ""
    body = fact.params if content and isinstance(fact, CallEvent) else ""
    return Opening(fact.event_id, fact.causation_id, fact.at, name, body)


def is_span(fact: Fact) -> bool:
    """Whether the fact gives a span."""
    return fact.kind not in OPENS and fact.kind not in PART


def span(fact: Fact, begun: Opening | None, content: bool = False) -> Span:
    """The span of a fact that ``is_span``. ``begun`` is the opening of the thing that it closes. It is None where it
    closes nothing, or where the opening is nowhere to be found, which the span then says."""
    closes = fact.kind in CLOSES
    identity, cause = (begun.event_id, begun.causation_id) if begun else (fact.event_id, fact.causation_id)
    if isinstance(fact, RunEvent) and closes:
        identity = fact.run_id
    attributes = _attributes(fact, begun, content)
    if closes and begun is None:
        attributes[names.START_UNKNOWN] = True
    start, end = _times(fact, begun)
    return Span(
        trace_id=trace_id(fact),
        span_id=span_id(identity),
        parent_id=_parent(fact, identity, cause),
        name=_name(fact, begun),
        kind=_kind(fact),
        start=start,
        end=end,
        attributes=attributes,
        error=_error(fact) if fact.kind in FAILURES else "",
    )


def trace_id(fact: Fact) -> int:
    """128 bits: the root run's UUID itself, so that any tracing tool finds a run by its id without the dashes. For
    facts about no run it is the fact's cause."""
    name = fact.root_run_id or fact.correlation_id or fact.event_id
    try:
        return uuid.UUID(name).int or 1
    except ValueError:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big") or 1


def span_id(name: str) -> int:
    """64 bits of SHA-256; never 0, which means none."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") or 1


def _parent(fact: Fact, identity: str, cause: str) -> int:
    """The fact's cause, else its run, else nothing."""
    if cause and cause != identity:
        return span_id(cause)
    if identity != fact.run_id and fact.root_run_id:
        return span_id(fact.run_id)
    return 0


def _times(fact: Fact, begun: Opening | None) -> tuple[int, int]:
    if isinstance(fact, AttemptEvent) and fact.started_at:
        return fact.started_at, fact.started_at + fact.latency_us
    return min(begun.at, fact.at) if begun else fact.at, fact.at


def _kind(fact: Fact) -> SpanKind:
    if isinstance(fact, AttemptEvent) or fact.kind.startswith("Request"):
        return "client"
    if fact.kind in kinds.HANDLER_OUTCOMES:
        return "consumer"
    if fact.kind in kinds.MESSAGES_OUT:
        return "producer"
    return "internal"


def _name(fact: Fact, begun: Opening | None) -> str:
    """``operation target``, as the conventions have it."""
    match fact:
        case RunEvent() if fact.kind in CLOSES:
            return f"invoke_workflow {fact.workflow or (begun.name if begun else '')}".rstrip()
        case MessageEvent(kind=kinds.HANDLER_COMPLETED | kinds.HANDLER_FAILED):
            return f"invoke_agent {fact.recipient}"
        case MessageEvent(kind=kinds.MESSAGE_PUBLISHED | kinds.MESSAGE_SENT):
            return f"send {fact.name}"
        case MessageEvent() if fact.kind in CLOSES:
            return f"ask {fact.recipient}"
        case CallEvent():
            return f"execute_tool {fact.capability}"
        case AttemptEvent():
            return f"chat {fact.model}" if fact.model else f"attempt {fact.provider}"
        case DecisionEvent():
            return f"decide {fact.action}"
        case StateEvent():
            return f"{MEMORY.get(fact.kind, fact.kind)} {fact.key}"
        case DependencyEvent():
            return f"wait {fact.name}"
        case RefusalEvent():
            return f"refuse {fact.command_kind}".rstrip()
    return fact.kind


def _error(fact: Fact) -> str:
    for name in ("error_message", "message", "reason", "said", "cause"):
        said = getattr(fact, name, "")
        if said:
            return str(said)
    return fact.kind


def _attributes(fact: Fact, begun: Opening | None, content: bool) -> dict[str, Value]:
    found: dict[str, Value] = {names.EVENT: fact.event_id, names.KIND: fact.kind, names.RUN_SEQ: fact.run_seq}
    if fact.run_id:
        found |= {names.RUN: fact.run_id, names.CONVERSATION: fact.correlation_id}
    if fact.agent:
        found[names.AGENT] = fact.agent
    found |= _particular(fact)
    if content and isinstance(fact, CallEvent):
        found |= {names.TOOL_ARGUMENTS: begun.body if begun else "", names.TOOL_RESULT: fact.result}
    return {name: value for name, value in found.items() if value not in ("", [])}


def _particular(fact: Fact) -> dict[str, Value]:
    match fact:
        case AttemptEvent():
            return _leaf(fact)
        case CallEvent():
            return {
                names.OPERATION: "execute_tool",
                names.TOOL: fact.capability,
                names.TOOL_TYPE: "extension",
                names.TOOL_CALL: fact.call_id,
                names.DEGRADED: fact.degraded,
                names.ERROR: fact.error_class,
            }
        case StateEvent():
            record = f"{fact.key}@{fact.version}" if fact.version else fact.key
            store = fact.run_id if fact.run_id.startswith("memory/") else "bp.state"
            return {names.OPERATION: MEMORY[fact.kind], names.MEMORY_STORE: store, names.MEMORY_RECORD: record}
        case MessageEvent():
            return _message(fact)
        case RunEvent():
            why = {names.REASON: fact.reason, names.SAID: fact.said, names.SAID_BY: fact.said_by}
            return {names.OPERATION: "invoke_workflow", names.WORKFLOW: fact.workflow, **why}
        case DecisionEvent():
            return {names.RATIONALE: fact.rationale, names.CONTEXT: list(fact.context_used)}
        case RefusalEvent():
            return {names.ERROR: fact.code}
    return {}


def _leaf(fact: AttemptEvent) -> dict[str, Value]:
    found: dict[str, Value] = {
        names.OPERATION: "chat" if fact.model else "execute_tool",
        names.CAPABILITY: fact.capability,
        names.PROVIDER: fact.provider,
        names.TOOL_CALL: fact.call_id,
        names.ATTEMPT: fact.attempt,
        names.REQUEST_MODEL: fact.model,
        names.PROMPT: fact.prompt_version,
        names.ERROR: fact.error_class,
        names.PRICE: fact.price_id,
    }
    if fact.model:
        found |= {names.INPUT_TOKENS: fact.input_tokens, names.OUTPUT_TOKENS: fact.output_tokens}
        parts = {
            names.CACHED_TOKENS: fact.cached_tokens,
            names.CACHE_WRITE_TOKENS: fact.cache_write_tokens,
            names.REASONING_TOKENS: fact.reasoning_tokens,
        }
        found |= {name: number for name, number in parts.items() if number}
    if fact.price_id:  # an attempt without a price is not free: it says nothing of cost
        found |= {names.COST: fact.cost_nano_usd / 1e9, names.NANO_USD: fact.cost_nano_usd}
    return found


def _message(fact: MessageEvent) -> dict[str, Value]:
    found: dict[str, Value] = {names.SYSTEM: "kafka", names.DESTINATION: fact.name, names.MESSAGE: fact.message_id}
    if fact.kind in kinds.HANDLER_OUTCOMES:
        found |= {names.OPERATION: "invoke_agent", names.MESSAGING_OPERATION: "process", names.AGENT: fact.recipient}
    elif fact.kind in kinds.MESSAGES_OUT:
        found[names.MESSAGING_OPERATION] = "send"
    return found | {names.ERROR: fact.error_type or fact.cause}
