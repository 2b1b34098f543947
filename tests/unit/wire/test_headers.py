"""Headers of facts, commands and replies: right by the specifications they follow, and the same every time."""

from __future__ import annotations

import re
from uuid import UUID

import msgspec
import pytest

from agents_sdk import schemas
from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, Fact, RefusalEvent, Reply, StateEvent
from agents_sdk.wire import headers
from backplane.topics.asyncapi import ALWAYS, HEADERS
from backplane.topics.examples import Example, examples

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")
ALL = [example for example in examples() if example.record.endswith("Event")]
COMMANDS = list(examples("Command"))


def of(fact: Fact) -> dict[str, str]:
    return headers.text(headers.fact_headers(fact))


def built(example: Example) -> Fact:
    fact = example.build()
    assert isinstance(fact, Fact)
    return fact


@pytest.mark.parametrize("example", ALL, ids=lambda example: f"{example.record}-{example.case}")
def test_fact_headers_are_cloudevents_and_trace_context(example: Example) -> None:
    """Every fact's headers obey both specifications and copy its envelope."""
    fact = built(example)
    said = of(fact)
    assert set(ALWAYS) <= set(said) <= set(HEADERS)
    assert all(said.values())
    assert TRACEPARENT.fullmatch(said["traceparent"])
    assert said["ce_specversion"] == "1.0"
    assert (said["ce_id"], said["content-type"]) == (fact.event_id, "application/avro")
    assert said["ce_type"] == f"backplane.{example.record}.{fact.kind}"
    version = schemas.latest_version(example.record)
    assert said["ce_dataschema"] == f"urn:backplane:schema:{example.record}:{version}"
    assert said.get("correlation_id", "") == (fact.correlation_id if fact.run_id else "")
    assert said.get("causation_id", "") == fact.causation_id
    assert said.get("ce_partitionkey", "") == fact.run_id
    assert len(headers.fact_headers(fact)) == len(said), "no header twice"


def test_trace_of_a_run_is_its_correlation_and_the_span_its_event() -> None:
    """16 bytes of the correlation id, the last 8 of the event's; the cause gives the parent span."""
    fact = built(next(e for e in ALL if e.case == "guarded-write"))
    _, trace, span, _ = of(fact)["traceparent"].split("-")
    assert trace == UUID(fact.correlation_id).hex == headers.trace_id(fact.correlation_id)
    assert span == UUID(fact.event_id).bytes[8:].hex() == headers.span_id(fact.event_id)
    assert headers.span_id("") == ""
    assert of(fact)["traceparent"] == headers.traceparent(fact.correlation_id, fact.event_id)


@pytest.mark.parametrize("odd", ["", "my-run", "0" * 36, "00000000-0000-0000-0000-000000000000", "ä" * 36])
def test_ids_that_are_no_uuids_still_give_a_valid_trace(odd: str) -> None:
    """A run may be called anything; the trace context stays valid and repeatable."""
    assert TRACEPARENT.fullmatch(headers.traceparent(odd, odd or "x"))
    assert headers.traceparent(odd, "x") == headers.traceparent(odd, "x")


def test_subject_is_the_state_key_the_agent_or_the_run() -> None:
    """Filters by subject find what a record is about."""
    state, agent, run = (built(next(e for e in ALL if e.case == c)) for c in ("first-write", "registered", "started"))
    assert isinstance(state, StateEvent)
    assert isinstance(agent, AgentEvent)
    assert [of(fact)["ce_subject"] for fact in (state, agent, run)] == [state.key, agent.name, run.run_id]


def test_time_is_rfc_3339_with_microseconds() -> None:
    """The broker's append time, to the microsecond."""
    fact = msgspec.structs.replace(built(ALL[0]), at=1_767_261_600_000_042)
    assert of(fact)["ce_time"] == "2026-01-01T10:00:00.000042Z"


def test_undecodable_commands_do_not_share_a_trace() -> None:
    """Facts about no run and without correlation each have a trace of their own."""
    refusal = next(built(e) for e in examples("RefusalEvent") if e.case == "undecodable")
    assert isinstance(refusal, RefusalEvent)
    other = msgspec.structs.replace(refusal, event_id=ids.derive("other", "0"))
    assert of(refusal)["traceparent"].split("-")[1] != of(other)["traceparent"].split("-")[1]


@pytest.mark.parametrize("example", COMMANDS, ids=lambda example: example.case)
def test_command_headers_copy_the_envelope(example: Example) -> None:
    """A command's headers say whose it is and what caused it, without a time that nobody has."""
    command = example.build()
    assert isinstance(command, Command)
    said = headers.text(headers.command_headers(command))
    assert set(ALWAYS) <= set(said) <= set(HEADERS) - {"ce_time"}
    assert all(said.values())
    assert said["ce_id"] == command.command_id
    assert said["ce_source"] == f"/backplane/agents/{command.agent}"
    assert TRACEPARENT.fullmatch(said["traceparent"])


def test_senders_own_baggage_is_passed_on() -> None:
    """tracestate and baggage travel under their bare names; nothing else may be smuggled in."""
    command = COMMANDS[0].build()
    assert isinstance(command, Command)
    said = headers.text(headers.command_headers(command, {"baggage": "tenant=a", "tracestate": "", "ce_id": "forged"}))
    assert said["baggage"] == "tenant=a"
    assert "tracestate" not in said
    assert said["ce_id"] == command.command_id


def test_reply_headers_name_the_client() -> None:
    """A reply is found by its client without decoding it."""
    reply = next(examples("Reply")).build()
    assert isinstance(reply, Reply)
    said = headers.text(headers.reply_headers(reply))
    assert (said["ce_partitionkey"], said["ce_id"]) == (reply.reply_to, reply.command_id)
