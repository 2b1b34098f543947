"""Usage of models, read from the shapes of their SDKs' responses: objects and mappings alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents_sdk.core.ledger.effects import Usage
from agents_sdk.usage import usage_of


def objects(value: Any) -> Any:
    """The mapping as objects with attributes."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: objects(one) for name, one in value.items()})
    return value


OPENAI = {
    "model": "gpt-4o-2024-08-06",
    "service_tier": "default",
    "usage": {
        "prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 50, "audio_tokens": 7},
    },
}  # fmt: skip
RESPONSES = {
    "model": "gpt-5-mini", "object": "response", "service_tier": "flex",
    "usage": {
        "input_tokens": 1_000, "output_tokens": 200,
        "input_tokens_details": {"cached_tokens": 400}, "output_tokens_details": {"reasoning_tokens": 50},
    },
}  # fmt: skip
ANTHROPIC = {
    "type": "message", "model": "claude-sonnet-4-5-20250929",
    "usage": {
        "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
        "service_tier": "standard",
    },
}  # fmt: skip
GOOGLE = {
    "model_version": "gemini-2.5-flash",
    "usage_metadata": {
        "prompt_token_count": 100, "candidates_token_count": 20, "thoughts_token_count": 30,
        "cached_content_token_count": 40, "tool_use_prompt_token_count": 10, "total_token_count": 160,
    },
}  # fmt: skip
GOOGLE_JSON = {
    "modelVersion": "gemini-2.5-flash",
    "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 30},
}
LITELLM = {
    "model": "claude-sonnet-4-5-20250929",
    "usage": {
        "prompt_tokens": 800, "completion_tokens": 20, "cache_read_input_tokens": 400,
        "cache_creation_input_tokens": 300, "prompt_tokens_details": {"cached_tokens": 400},
    },
    "_hidden_params": {"custom_llm_provider": "anthropic"},
}  # fmt: skip


@pytest.mark.parametrize("shape", [dict, objects])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OPENAI, {"provider": "openai", "model": "gpt-4o-2024-08-06", "input_tokens": 1_000, "output_tokens": 200,
                  "cached_tokens": 400, "input_audio_tokens": 5, "reasoning_tokens": 50, "output_audio_tokens": 7}),
        (RESPONSES, {"provider": "openai", "model": "gpt-5-mini", "input_tokens": 1_000, "output_tokens": 200,
                     "cached_tokens": 400, "reasoning_tokens": 50, "tier": "flex"}),
        (ANTHROPIC, {"provider": "anthropic", "model": "claude-sonnet-4-5-20250929", "input_tokens": 800,
                     "output_tokens": 20, "cached_tokens": 400, "cache_write_tokens": 300,
                     "cache_write_1h_tokens": 100}),
        (GOOGLE, {"provider": "google", "model": "gemini-2.5-flash", "input_tokens": 110, "output_tokens": 50,
                  "cached_tokens": 40, "reasoning_tokens": 30}),
        (GOOGLE_JSON, {"provider": "google", "model": "gemini-2.5-flash", "input_tokens": 100, "output_tokens": 50,
                       "reasoning_tokens": 30}),
        (LITELLM, {"provider": "anthropic", "model": "claude-sonnet-4-5-20250929", "input_tokens": 800,
                   "output_tokens": 20, "cached_tokens": 400, "cache_write_tokens": 300}),
    ],
    ids=["openai", "responses", "anthropic", "google", "google json", "litellm"],
)  # fmt: skip
def test_each_class_of_tokens_is_read(answer: dict[str, Any], expected: dict[str, Any], shape: Any) -> None:
    usage = usage_of(shape(answer))
    assert usage.cost_nano_usd > 0
    assert usage.price_id.startswith("genai-prices-")
    plain = {name: value for name in Usage.__struct_fields__ if (value := getattr(usage, name))}
    plain.pop("cost_nano_usd"), plain.pop("price_id")
    assert plain == expected


def test_what_is_given_by_name_counts() -> None:
    usage = usage_of(OPENAI, "gpt-4o", output_tokens=3, cost_nano_usd=5, price_id="own")
    assert (usage.model, usage.output_tokens, usage.cost_nano_usd, usage.price_id) == ("gpt-4o", 3, 5, "own")


def test_a_model_that_no_list_has_is_unpriced() -> None:
    usage = usage_of(model="mine", input_tokens=5)
    assert (usage.provider, usage.cost_nano_usd, usage.price_id) == ("", 0, "")


@pytest.mark.parametrize("wrong", ["text", 5, {"usage": None}, {"usage": {"prompt_tokens": True}}])
def test_a_strange_answer_is_no_usage_or_none_of_its_numbers(wrong: Any) -> None:
    if isinstance(wrong, dict) and wrong["usage"]:
        assert usage_of(wrong).input_tokens == 0
        return
    with pytest.raises(TypeError, match="has no usage"):
        usage_of(wrong)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(TypeError, match="'tokens'"):
        usage_of(tokens=5)
