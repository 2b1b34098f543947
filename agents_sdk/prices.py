"""The price of a model's tokens by the list of the package genai-prices, which is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

NANO: Final = 1_000_000_000
"""Nano-USD in a USD."""
NAMES: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
"""Our name of a class of tokens → the package's."""


def by_list(provider: str, model: str, counts: Mapping[str, int], tier: str = "") -> tuple[int, str]:
    """The price in nano-USD, and its list; ``(0, "")``, unpriced, for a model or provider that the list does not have.
    ``provider`` may be empty. Raises ImportError without the package."""
    from genai_prices import Usage as Tokens  # 0.2 s to import
    from genai_prices import calc_price

    tokens = Tokens(**{NAMES[name]: number for name, number in counts.items() if number})
    try:
        price = usual = calc_price(tokens, model, provider_id=provider or None)
        if tier:
            context = {"processing": tier, "service_tier": tier, "speed": tier}
            price = calc_price(tokens, model, provider_id=provider or None, price_context=context)
    except (LookupError, ValueError):
        return 0, ""
    named = f"{list_name()}/{price.provider.id}/{price.model.id}"
    named += f"/{tier}" if price.total_price != usual.total_price else ""
    return round(price.total_price * NANO), named


@cache
def list_name() -> str:
    """The list is part of the package, so its version names it."""
    from importlib.metadata import version

    return f"genai-prices-{version('genai-prices')}"
