"""The usage that an answer of a model tells, read from the response objects of the common SDKs by their shape. Pure,
but for the price list that genai-prices carries; no SDK is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agents_sdk import prices
from agents_sdk.core.ledger.effects import Usage

COUNTS: Final = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))
TEXTS: Final = ("tier", "prompt_version", "price_id")
GIVEN: Final = (*COUNTS, *TEXTS, "cost_nano_usd", "latency_us", "started_at")


def usage_of(answer: Any = None, model: str = "", provider: str = "", **given: int | str) -> Usage:
    """The usage that an answer tells, priced by the list. Fields given by name have precedence.

    Raises:
        TypeError: the answer has no usage in a shape that is known, or a name is no field of a usage.
    """
    wrong = sorted(set(given) - set(GIVEN))
    if wrong:
        raise TypeError(f"a usage has no {wrong[0]!r}; it has {', '.join(GIVEN)}")
    read = _read(answer) if answer is not None else {}
    if answer is not None and not read and not given:
        raise TypeError(
            f"{type(answer).__qualname__} has no usage of OpenAI, Anthropic, Google or LiteLLM;"
            " give model=, input_tokens= and output_tokens="
        )
    fields: dict[str, Any] = {**read, **given}
    fields["model"] = model or fields.get("model", "")
    fields["provider"] = provider or fields.get("provider", "") or _vendor(fields["model"])
    usage = Usage(**fields)
    return usage if usage.cost_nano_usd or usage.price_id else _priced(usage)


def _get(value: Any, *path: str) -> Any:
    """An attribute or key, at the end of a path; None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if value is None:
            return None
    return value


def _count(value: Any, *path: str) -> int:
    found = _get(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _text(value: Any, *path: str) -> str:
    found = _get(value, *path)
    return found if isinstance(found, str) else ""


def _read(answer: Any) -> dict[str, Any]:
    google = _get(answer, "usage_metadata") or _get(answer, "usageMetadata")
    if google is not None and _get(google, "input_tokens") is None:
        return _google(answer, google)
    usage = _get(answer, "usage") or google  # LangChain's messages have usage_metadata with Anthropic's names
    if usage is None:
        usage = answer if _is_usage(answer) else None
    if usage is None:
        return {}
    if _get(usage, "prompt_tokens") is not None:
        return _chat(answer, usage)
    if _get(usage, "cache_creation_input_tokens") is not None or _get(usage, "cache_read_input_tokens") is not None:
        return _anthropic(answer, usage)
    if _text(answer, "type") == "message":
        return _anthropic(answer, usage)
    if _get(usage, "input_tokens") is not None:
        return _responses(answer, usage)
    return {}


def _is_usage(value: Any) -> bool:
    return any(_get(value, name) is not None for name in ("prompt_tokens", "input_tokens"))


def _chat(answer: Any, usage: Any) -> dict[str, Any]:
    """OpenAI's chat completions and LiteLLM, which gives all vendors this shape. Input holds what was cached, as in
    OpenAI's own."""
    hidden = _get(answer, "_hidden_params")
    cached = _count(usage, "prompt_tokens_details", "cached_tokens") or _count(usage, "cache_read_input_tokens")
    found = {
        "model": _text(answer, "model"),
        "input_tokens": _count(usage, "prompt_tokens"),
        "output_tokens": _count(usage, "completion_tokens"),
        "cached_tokens": cached,
        "cache_write_tokens": _count(usage, "cache_creation_input_tokens"),
        "input_audio_tokens": _count(usage, "prompt_tokens_details", "audio_tokens"),
        "reasoning_tokens": _count(usage, "completion_tokens_details", "reasoning_tokens"),
        "output_audio_tokens": _count(usage, "completion_tokens_details", "audio_tokens"),
        "tier": _tier(_text(answer, "service_tier")),
    }
    vendor = _text(hidden, "custom_llm_provider") if hidden is not None else ""
    return {**found, "provider": _VENDORS.get(vendor, vendor)} if vendor else found


def _responses(answer: Any, usage: Any) -> dict[str, Any]:
    """OpenAI's responses, and usage objects of frameworks with the same names."""
    return {
        "model": _text(answer, "model"),
        "input_tokens": _count(usage, "input_tokens"),
        "output_tokens": _count(usage, "output_tokens"),
        "cached_tokens": _count(usage, "input_tokens_details", "cached_tokens") or _count(usage, "cache_read_tokens"),
        "cache_write_tokens": _count(usage, "cache_write_tokens"),
        "reasoning_tokens": _count(usage, "output_tokens_details", "reasoning_tokens"),
        "tier": _tier(_text(answer, "service_tier")),
    }


def _anthropic(answer: Any, usage: Any) -> dict[str, Any]:
    """Anthropic's messages. Their input leaves out what was read from the cache or written to it; ours holds it."""
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    return {
        "model": _text(answer, "model"),
        "provider": "anthropic",
        "input_tokens": _count(usage, "input_tokens") + read + written,
        "output_tokens": _count(usage, "output_tokens"),
        "cached_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": _count(usage, "cache_creation", "ephemeral_1h_input_tokens"),
        "tier": _tier(_text(usage, "service_tier")),
    }


def _google(answer: Any, usage: Any) -> dict[str, Any]:
    """Google's generate_content, of the SDK or as JSON. Thoughts are output that is paid for beside the candidates."""

    def count(snake: str, camel: str) -> int:
        return _count(usage, snake) or _count(usage, camel)

    thoughts = count("thoughts_token_count", "thoughtsTokenCount")
    return {
        "model": _text(answer, "model_version") or _text(answer, "modelVersion"),
        "provider": "google",
        "input_tokens": count("prompt_token_count", "promptTokenCount")
        + count("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        "output_tokens": count("candidates_token_count", "candidatesTokenCount") + thoughts,
        "cached_tokens": count("cached_content_token_count", "cachedContentTokenCount"),
        "reasoning_tokens": thoughts,
    }


def _tier(name: str) -> str:
    return "" if name in ("default", "standard", "auto") else name


_VENDORS: Final = {"gemini": "google", "vertex_ai": "google", "text-completion-openai": "openai"}
_BEGINNINGS: Final = {
    "gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "chatgpt": "openai", "claude": "anthropic",
    "gemini": "google", "mistral": "mistral", "command": "cohere", "deepseek": "deepseek", "grok": "x-ai",
}  # fmt: skip


def _vendor(model: str) -> str:
    """The vendor, by the name of its model; empty where that does not say it."""
    name = model.rpartition("/")[2]
    return next((vendor for begins, vendor in _BEGINNINGS.items() if name.startswith(begins)), "")


def _priced(usage: Usage) -> Usage:
    """The usage with its cost; unpriced, which is not free, where the list or the model is not known."""
    if not usage.input_tokens and not usage.output_tokens:
        return usage
    try:
        cost, price_id = prices.by_list(
            usage.provider, usage.model, {name: getattr(usage, name) for name in COUNTS}, usage.tier
        )
    except ImportError:  # it is in an extra
        return usage
    return msgspec.structs.replace(usage, cost_nano_usd=cost, price_id=price_id)
