"""The way of a call that nobody could answer: the dead letter with the whole call, the escalation, and the redrive.
Pure; see ``decide`` for the law.

A failure without a report is the caller's own mistake: only the caller hears of it. Every other one is kept whole until
it is redriven, and climbs the ladder of ``dead_letters``: the caller's supervisor, as a message, else the operator. The
run goes on: what a failed call means is for its caller to say.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import CallBody, Command
from agents_sdk.core.facts import CallEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.ledger import payloads, reports
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.dead_letters import escalate
from agents_sdk.core.ledger.rules import apart, check
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Call, Limits, PartitionState, Run

REPORT_LIMIT: Final = 262_144
"""Bytes of a report: it stands beside the params of its call in one record."""
OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""The cause of a call whose effect may have happened: it is the one that must not be repeated unseen."""


class _Fallback(msgspec.Struct):
    capability: str = ""


class _Asked(msgspec.Struct):
    """The part of a call's config that the ledger reads."""

    fallback: list[_Fallback] | None = None


def check_fallbacks(book: PartitionState, command: Command, body: CallBody) -> None:
    """An agent may fall back to what it may call, and to nothing else. Raises Refusal. The declarations of a manifest
    are not asked here: they are the operator's word."""
    try:
        asked = msgspec.json.decode(body.config, type=_Asked)
    except msgspec.DecodeError as error:
        raise Refusal("invalid_command", f"config is no RecoveryConfig: {error}", field="config") from error
    for each in asked.fallback or ():
        if each.capability:
            check(book, command.agent, "capabilities", "fall back to", capability=each.capability)


def report_of(limits: Limits, report: str) -> str:
    """The report of an outcome as it is kept: one that is no JSON, or too large, is said to be so. To refuse it would
    leave the caller waiting."""
    if not report:
        return ""
    try:
        payloads.check(msgspec.structs.replace(limits, max_value_bytes=REPORT_LIMIT), "report", report)
    except Refusal as unusable:
        return ids.canonical({"attempts": [], "cause": f"the report was left out: {unusable.message[:TEXT_LIMIT]}"})
    return report


def cause_of(error_class: str, error_code: str) -> str:
    """By this a failed call's dead letter is grouped."""
    return OUTCOME_UNKNOWN if error_code == OUTCOME_UNKNOWN else error_class


def kept(call: Call) -> dict[str, Any]:
    """The fields that make the fact of a failure the whole call."""
    return {"params": call.params, "config": call.config, "timeout_ms": call.timeout_ms, "redrives": call.redrives}


def tell(book: PartitionState, run: Run, call: Call, failed: CallEvent, scribe: FactBuilder) -> None:
    """EscalationRaised about the call that failed, and a message to the caller's supervisor where it has one."""
    story = {
        "agent": call.agent,
        "name": call.capability,
        "cause": cause_of(failed.error_class, failed.error_code),
        "call_id": failed.call_id,
        "provider": failed.provider,
        "attempts": failed.attempts,
        "redrives": call.redrives,
        "error_class": failed.error_class,
        "error_code": failed.error_code,
        "error_message": failed.error_message,
        "report": msgspec.Raw(failed.report.encode()),
        "params": msgspec.Raw(call.params.encode() or b"{}"),
    }
    if failed.said:
        story["said"] = failed.said
    if scribe.marks or apart(run):
        story[reports.WORDS_OF] = _words_of(run, call, failed)
    escalate(book, run, failed.event_id, story, scribe)


def _words_of(run: Run, call: Call, failed: CallEvent) -> dict[str, str]:
    """The authors of an escalation's fields; the platform is that of all others."""
    told = {"params": call.agent}
    if failed.said:
        told["said"] = failed.said_by
    elif not apart(run):
        teller = call.agent if failed.local else f"provider {failed.provider}" if failed.provider else EXECUTOR
        told["error_message"] = teller
    if failed.local:
        return told | dict.fromkeys(("name", "provider", "error_code", "report"), call.agent)
    return {**told, reports.MESSAGES: "the provider of each"} if failed.attempts else told


def keep(run: Run, fact: CallEvent, call: Call, limit: int, changes: Changes) -> None:
    """Folds the failure of a call: it may be redriven, the newest ``limit`` of a run."""
    failed = msgspec.structs.replace(
        call, cause=cause_of(fact.error_class, fact.error_code), settled=True, started={}, claimed_at={}, claimed_for={}
    )
    changes.put(run.failed_calls, fact.call_id, failed)
    if len(run.failed_calls) > limit:
        changes.take_oldest(run.failed_calls)
