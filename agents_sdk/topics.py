"""Topic names, and which record lies in which topic; ``schemas/topics/*.yaml`` the rest; a test holds them equal."""

from __future__ import annotations

from typing import Final

from agents_sdk.core import facts, registry

COMMANDS: Final = "bp.commands"
RUNS: Final = "bp.runs"
STATE: Final = "bp.state"
MESSAGES: Final = "bp.messages"
DEPENDENCIES: Final = "bp.dependencies"
CALLS: Final = "bp.calls"
ATTEMPTS: Final = "bp.attempts"
DECISIONS: Final = "bp.decisions"
REFUSALS: Final = "bp.refusals"
AGENTS: Final = "bp.agents"
BREAKERS: Final = "bp.breakers"
CONTRACTS: Final = "bp.contracts"
REPLIES: Final = "bp.replies"
CAPABILITIES: Final = "bp.capabilities"
SWITCHES: Final = "bp.switches"
PROVIDERS: Final = "bp.providers"
INBOX_PREFIX: Final = "bp.inbox."
OWN_REPLIES: Final = 2**31 - 1
"""``reply_partition`` of who reads a topic of answers of its own, see ``replies_of``. The largest number there may be;
no topic has that many partitions."""
DEAD_LETTER_PREFIX: Final = "dlq."

TOPIC_OF_FACT: Final[dict[type[facts.Fact], str]] = {
    facts.RunEvent: RUNS,
    facts.StateEvent: STATE,
    facts.MessageEvent: MESSAGES,
    facts.DependencyEvent: DEPENDENCIES,
    facts.CallEvent: CALLS,
    facts.AttemptEvent: ATTEMPTS,
    facts.DecisionEvent: DECISIONS,
    facts.RefusalEvent: REFUSALS,
    facts.AgentEvent: AGENTS,
    facts.ContractEvent: CONTRACTS,
    facts.BreakerEvent: BREAKERS,
}
FACT_TOPICS: Final = tuple(TOPIC_OF_FACT.values())

TOPIC_OF_REGISTRY: Final[dict[type[registry.Record], str]] = {
    registry.CapabilityManifest: CAPABILITIES,
    registry.Switch: SWITCHES,
    registry.ExecutorBeat: PROVIDERS,
}
"""Compacted, one partition each: how things are now, by key."""


def inbox(agent: str) -> str:
    """The topic that deliveries to ``agent`` are put in."""
    return INBOX_PREFIX + agent


def replies_of(agent: str) -> str:
    """The topic of the answers to one agent or client, where it may read no others."""
    return f"{REPLIES}.{agent}"


def dead_letter(topic: str) -> str:
    """The topic that takes what could not be handled from ``topic``; all inboxes share ``dlq.bp.inbox``."""
    if topic.startswith(INBOX_PREFIX):
        topic = INBOX_PREFIX.rstrip(".")
    return DEAD_LETTER_PREFIX + topic
