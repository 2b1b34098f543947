"""The author of each text of a record: a table, complete by test. A new text field needs an entry here.

Law: a field of a fact or an answer has one author, the same in all records of a kind. The words of somebody else stand
in a field of their own, beside the name of the speaker. So no text of others stands where an agent, a model or an
operator looks for the platform's words.
"""

from __future__ import annotations

from typing import Final

from agents_sdk.core import kinds

PLATFORM: Final = "platform"
"""The ledger's or an executor's own: stable words and sentences. Names in them stand in quotes."""
NAME: Final = "name"
"""An id, name, glob, hash or setting: bounded, and no sentence."""
REPORT: Final = "report"
"""JSON in the platform's form. ``message`` of an attempt in it is in the words of the ``provider`` beside it. A report
with ``given_by`` is that agent's, and recommends nothing."""
PAYLOAD: Final = "payload"
"""Data of the run, which its readers never take for the platform's words."""


def of(field: str) -> str:
    """The author is named by this field of the same record."""
    return f"field {field}"


ENVELOPE: Final = dict.fromkeys(
    (
        *("event_id", "kind", "run_id", "correlation_id", "causation_id", "agent", "command_id"),
        *("parent_run_id", "root_run_id"),
    ),
    NAME,
)
"""Fields of every fact."""

AUTHORS: Final[dict[str, dict[str, str]]] = {
    "RunEvent": {
        **dict.fromkeys(("code", "reason", "status"), PLATFORM),
        "said": of("said_by"),
        **dict.fromkeys(("input", "result"), PAYLOAD),
        **dict.fromkeys(
            (
                *("workflow", "state_hash", "complete_when", "reply_to", "child_run_id", "resumed_from"),
                *("completed", "published", "tags", "started_by", "said_by", "fingerprint"),
            ),
            NAME,
        ),
    },
    "StateEvent": {
        **dict.fromkeys(("value", "operand"), PAYLOAD),
        **dict.fromkeys(("key", "value_hash", "reducer", "fingerprint"), NAME),
    },
    "MessageEvent": {
        **dict.fromkeys(("code", "cause", "reason", "difference"), PLATFORM),
        **dict.fromkeys(("said", "error_type", "error_message", "traceback"), of("said_by")),
        **dict.fromkeys(("data", "result"), PAYLOAD),
        **dict.fromkeys(
            (
                *("name", "message_id", "delivery_id", "workflow", "sender", "recipient", "request_id", "reply_to"),
                *("origin", "said_by", "fingerprint"),
            ),
            NAME,
        ),
    },
    "DependencyEvent": dict.fromkeys(
        ("dependency_id", "downstream", "depends_on", "trigger_when", "name", "satisfied_by", "fingerprint"), NAME
    ),
    "CallEvent": {
        **dict.fromkeys(("error_class", "error_code", "error_message"), PLATFORM),
        "said": of("said_by"),
        "reason": of("agent"),
        **dict.fromkeys(("params", "result", "config"), PAYLOAD),
        "report": REPORT,
        **dict.fromkeys(
            (
                *("call_id", "capability", "provider", "reply_to", "redrive_of", "redriven_as", "artifacts"),
                *("said_by", "fingerprint", "effect"),
            ),
            NAME,
        ),
    },
    "AttemptEvent": {
        "error_class": PLATFORM,
        "error_message": of("provider"),
        **dict.fromkeys(
            ("call_id", "capability", "provider", "model", "prompt_version", "price_id", "executor", "tier"), NAME
        ),
    },
    "BreakerEvent": dict.fromkeys(("capability", "provider", "error_class", "caused_by", "executor"), NAME),
    "DecisionEvent": {
        **dict.fromkeys(("action", "rationale"), of("agent")),
        **dict.fromkeys(("context_used", "fingerprint"), NAME),
    },
    "RefusalEvent": {
        **dict.fromkeys(("command_kind", "code", "message", "detail"), PLATFORM),
        "said": of("said_by"),
        **dict.fromkeys(("said_by", "fingerprint"), NAME),
    },
    "AgentEvent": dict.fromkeys(
        (
            *("name", "subscriptions", "workflows", "reads", "writes", "capabilities", "publishes", "supervisor"),
            *("call_budgets", "retries", "starts", "controls", "supervisors", "contracts", "roles", "policy"),
            *("not_granted", "operator", "on_divergence"),
        ),
        NAME,
    ),
    "ContractEvent": {
        "schema": PAYLOAD,
        **dict.fromkeys(("target", "pattern", "reducer", "workflow"), NAME),
    },
    "Reply": {
        **dict.fromkeys(("status", "code", "message", "detail"), PLATFORM),
        "value": PAYLOAD,
        **dict.fromkeys(("command_id", "reply_to", "run_id", "event_id"), NAME),
    },
}
"""Record → its text fields → whose words. In ``detail`` of a Reply, ``said`` is in the words of ``said_by``."""

EXCEPTIONS: Final = {("MessageEvent", kinds.MESSAGE_DISCARDED, "reason"): of("agent")}
"""(record, kind, field) → whose words, where one kind differs from its record."""

STORY: Final[dict[str, str]] = {
    **dict.fromkeys(("cause", "code", "reason", "error_class", "difference"), PLATFORM),
    **dict.fromkeys(("agent", "name", "sender", "delivery_id", "call_id", "dependency_id", "provider"), NAME),
    **dict.fromkeys(("error_code", "error_message"), f"{PLATFORM}, or as words_of says"),
    **dict.fromkeys(("said", "error_type", "data", "params", "depends_on", "missing"), "as words_of says"),
    "report": REPORT,
    "words_of": PLATFORM,
}
"""Field of an escalation → whose words it is."""
