"""Reports of calls that an agent made in its own process, brought to the platform's form; and whose words the fields of
an escalation are. Pure.

A supervisor acts on its news, and may be a language model. The report of an executor is the platform's word. That of an
agent is the agent's: it keeps the form, says no more than the form has, and names its author.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import ids

ENTRIES_LIMIT: Final = 50
"""Attempts and alternatives of a report."""
MESSAGE_LIMIT: Final = 300
"""Characters of one message."""
WORD_LIMIT: Final = 100
"""Characters of a name or code."""
CLASSES: Final = frozenset(
    {"transient", "rate_limited", "quota", "auth", "content_refused", "invalid_request", "outage", "unknown"}
)
"""Classes of errors, as executors tell them."""
MESSAGES: Final = "report.attempts.message"
"""Where a report quotes providers."""
WORDS_OF: Final = "words_of"
"""Field of an escalation: which of its other fields are whose words."""


class _Attempt(msgspec.Struct, omit_defaults=True):
    attempt: int = 0
    capability: str = ""
    provider: str = ""
    error_class: str = ""
    code: str = ""
    message: str = ""
    latency_ms: float = -1.0
    verdict: str = ""


class _Alternative(msgspec.Struct, omit_defaults=True):
    capability: str = ""
    provider: str = ""
    asked: int = -1
    why_not: str = ""


class _Report(msgspec.Struct):
    attempts: list[_Attempt] = []
    alternatives: list[_Alternative] = []


def of_agent(report: str, agent: str, cause: str) -> str:
    """The kept part of a report that an agent gave: attempts and alternatives in the platform's form, the ledger's own
    cause, and the author. It recommends nothing: that is for the platform to do."""
    try:
        given = msgspec.json.decode(report, type=_Report)
    except (msgspec.MsgspecError, UnicodeError):
        given = _Report()
    told: dict[str, Any] = {
        "attempts": [_bounded(each) for each in given.attempts[:ENTRIES_LIMIT]],
        "alternatives": [_bounded(each) for each in given.alternatives[:ENTRIES_LIMIT]],
        "given_by": agent,
    }
    return ids.canonical({**told, "cause": cause} if cause else told)


def _bounded(entry: _Attempt | _Alternative) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    limits = dict.fromkeys(("message", "why_not"), MESSAGE_LIMIT)
    return {
        name: value[: limits.get(name, WORD_LIMIT)] if isinstance(value, str) else value
        for name, value in fields.items()
    }


def class_of_agent(error_class: str) -> str:
    """The class of a failure that an agent tells of its own call: one that there is."""
    return error_class if error_class in CLASSES else "unknown"


def code_of_agent(code: str) -> str:
    """The code of a failure that an agent tells of its own call: one word."""
    word = code[:WORD_LIMIT]
    return word if word.isascii() and word.replace("_", "").isalnum() else "call_failed"
