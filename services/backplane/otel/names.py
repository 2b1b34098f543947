"""Attribute names of the spans. OpenTelemetry's GenAI conventions are still moving and their Python package holds an
older set, so the ones we use are written down here, once.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (agent spans, memory spans of genai#140) and
https://opentelemetry.io/docs/specs/semconv/messaging/kafka/. A name without a convention yet is ``backplane.*``. Cost
is still proposed (genai#443); it has the name that Logfire, OpenRouter and Bifrost read.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
CONVERSATION: Final = "gen_ai.conversation.id"
PROMPT: Final = "gen_ai.prompt.name"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
COST: Final = "gen_ai.usage.cost"
AGENT: Final = "gen_ai.agent.name"
WORKFLOW: Final = "gen_ai.workflow.name"
TOOL: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
MEMORY_STORE: Final = "gen_ai.memory.store.id"
MEMORY_RECORD: Final = "gen_ai.memory.record.id"
ERROR: Final = "error.type"
SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE: Final = "messaging.message.id"

EVENT: Final = "backplane.event_id"
KIND: Final = "backplane.kind"
RUN: Final = "backplane.run_id"
RUN_SEQ: Final = "backplane.run_seq"
NANO_USD: Final = "backplane.cost_nano_usd"
PRICE: Final = "backplane.price_id"
ATTEMPT: Final = "backplane.attempt"
CAPABILITY: Final = "backplane.capability"
DEGRADED: Final = "backplane.degraded"
REASON: Final = "backplane.reason"
SAID: Final = "backplane.said"
SAID_BY: Final = "backplane.said_by"
RATIONALE: Final = "backplane.rationale"
CONTEXT: Final = "backplane.context_used"
START_UNKNOWN: Final = "backplane.start_unknown"
