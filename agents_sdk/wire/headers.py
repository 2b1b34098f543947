"""Kafka record headers: copies of the envelope for tools that do not decode Avro; the envelope is the truth.

Names are W3C Trace Context's (bare), CloudEvents' binary Kafka binding (``ce_``) and plain correlation and causation
ids. All is derived from the record, so the same record always has the same headers. Those of dead letters are made and
read in ``agents_sdk.wire.dead_letters``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

from agents_sdk import schemas
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, Fact, Reply, StateEvent
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers, read_dead_letter, redrive_headers
from agents_sdk.wire.instants import utc

__all__ = [
    "DeadLetter",
    "Headers",
    "command_headers",
    "dead_letter_headers",
    "fact_headers",
    "read_dead_letter",
    "redrive_headers",
    "reply_headers",
    "span_id",
    "text",
    "trace_id",
    "traceparent",
]

Headers: TypeAlias = list[tuple[str, bytes]]

SOURCE: Final = b"/backplane/ledger"
SCHEMA_URN: Final = "urn:backplane:schema:{record}:{version}"
TYPE: Final = "backplane.{record}.{kind}"

_VERSION: Final = ("ce_specversion", b"1.0")
_AVRO: Final = ("content-type", b"application/avro")
_LEDGER: Final = ("ce_source", SOURCE)


def fact_headers(fact: Fact) -> Headers:
    """Headers of a fact, on its topic and in an inbox alike. 2 µs: the ledger writes some 20,000 facts a second."""
    event_id = fact.event_id
    prefix, subject, partition_key, correlation = _of_run(fact.run_id, fact.correlation_id)
    kind = type(fact)
    if kind is StateEvent:
        subject = ("ce_subject", fact.key.encode())  # type: ignore[attr-defined]  # checked by identity, for speed
    elif kind is AgentEvent:
        subject = ("ce_subject", fact.name.encode())  # type: ignore[attr-defined]  # checked by identity, for speed
    type_, schema = _type_of(kind, fact.kind)
    # The ledger's ids are UUIDs in their usual form, so the span id is cut out of the text; see span_id.
    headers: Headers = [
        ("traceparent", f"{prefix}{event_id[19:23]}{event_id[24:]}-01".encode()),
        _VERSION,
        ("ce_id", event_id.encode()),
        _LEDGER,
        type_,
        schema,
        ("ce_time", _time(fact.at)),
        subject,
        partition_key,
        _AVRO,
        correlation,
    ]
    if fact.causation_id:
        headers.append(("causation_id", fact.causation_id.encode()))
    if not fact.correlation_id:  # a command that could not be decoded: a trace of its own, not one for all of them
        headers[0] = ("traceparent", traceparent(event_id, event_id).encode())
    return headers if fact.run_id else _filled(headers)


def command_headers(command: Command, baggage: Mapping[str, str] | None = None) -> Headers:
    """Headers of a command. No ``ce_time``: the broker's append time is the only time a command has. ``baggage`` may
    bring the sender's own ``tracestate`` and ``baggage``.
    """
    run_id = command.run_id.encode()
    headers: Headers = [
        ("traceparent", traceparent(command.correlation_id, command.command_id).encode()),
        _VERSION,
        ("ce_id", command.command_id.encode()),
        ("ce_source", f"/backplane/agents/{command.agent}".encode()),
        *_type_of(Command, command.kind),
        ("ce_subject", run_id or command.agent.encode()),
        ("ce_partitionkey", run_id),
        _AVRO,
        ("correlation_id", command.correlation_id.encode()),
    ]
    if command.causation_id:
        headers.append(("causation_id", command.causation_id.encode()))
    for name in ("tracestate", "baggage"):
        if baggage and baggage.get(name):
            headers.append((name, baggage[name].encode()))
    return headers if command.run_id else _filled(headers)


def reply_headers(reply: Reply) -> Headers:
    """Headers of a reply: no more than a reader without Avro needs to tell whose it is and what it answers."""
    return [
        _VERSION,
        ("ce_id", reply.command_id.encode()),
        _LEDGER,
        *_type_of(Reply, reply.status),
        ("ce_partitionkey", reply.reply_to.encode()),
        _AVRO,
    ]


def traceparent(correlation_id: str, event_id: str) -> str:
    """W3C trace context of one record: all that a root run caused is one trace, each record one span of it. The
    span's parent is ``span_id(causation_id)``; consumers link to it rather than take it as their parent.
    """
    return f"{_trace_prefix(correlation_id)}{span_id(event_id)}-01"


def trace_id(correlation_id: str) -> str:
    """32 hex digits: the correlation id's 16 bytes, or a hash of it when it is no UUID."""
    return _trace_prefix(correlation_id)[3:35]


def span_id(event_id: str) -> str:
    """16 hex digits: the last 8 bytes of the event's id, or a hash of it when it is no UUID; empty for no event."""
    if not event_id:
        return ""
    try:
        digits = UUID(event_id).hex[16:]
    except ValueError:
        digits = blake2b(event_id.encode(), digest_size=8).hexdigest()
    return digits if digits.strip("0") else digits[:-1] + "1"  # all zero is invalid here too


def text(headers: Iterable[tuple[str, bytes | str | None]] | None) -> dict[str, str]:
    """Headers as text for people and filters: the last of a name wins, as in Kafka's own ``lastHeader``."""
    return {name: _decoded(value) for name, value in headers or ()}


def _filled(headers: Headers) -> Headers:
    """Without the empty ones, which CloudEvents does not allow: a record about no run has no partition key."""
    return [(name, value) for name, value in headers if value]


def _decoded(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


@lru_cache(maxsize=4096)
def _type_of(record: type, kind: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    name = record.__name__
    urn = SCHEMA_URN.format(record=name, version=schemas.latest_version(name))
    return ("ce_type", TYPE.format(record=name, kind=kind).encode()), ("ce_dataschema", urn.encode())


@lru_cache(maxsize=65_536)
def _trace_prefix(correlation_id: str) -> str:
    """``00-<trace id>-``"""
    try:
        digits = UUID(correlation_id).hex
    except ValueError:
        digits = blake2b(correlation_id.encode(), digest_size=16).hexdigest()
    if not digits.strip("0"):
        digits = digits[:-1] + "1"  # an all-zero trace id is invalid, and receivers would drop the context
    return f"00-{digits}-"


@lru_cache(maxsize=65_536)
def _of_run(run_id: str, correlation_id: str) -> tuple[str, tuple[str, bytes], tuple[str, bytes], tuple[str, bytes]]:
    """The common part of all facts of a run, kept because they come in bunches."""
    run = run_id.encode()
    return (
        _trace_prefix(correlation_id),
        ("ce_subject", run),
        ("ce_partitionkey", run),
        ("correlation_id", correlation_id.encode()),
    )


def _time(at: int) -> bytes:
    seconds, micros = divmod(at, 1_000_000)
    return f"{_second(seconds)}{micros:06d}Z".encode()


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return utc(seconds * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S.")
