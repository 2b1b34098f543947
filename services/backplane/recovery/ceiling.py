"""The highest cost of an attempt, by its price and its request, and whether a call can still pay for it.

Law: an attempt that is begun never costs more than is left of its call's reservation. So a call never costs more than
was reserved for it. A price without an upper bound can be paid only by a call without a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from agents_sdk.core.money import LIMIT, NO_LIMIT, usd
from backplane.manifests.model import Price, Provider
from backplane.recovery.estimate import UNKNOWN_USAGE, usage_at_most
from backplane.recovery.outcome import Usage
from backplane.recovery.pricing import most_by_model

OVER_BUDGET: Final = "budget_exceeded"
UNBOUNDED: Final = LIMIT + 1
"""More than any budget."""
_READ: Final = (
    "per_input_token_nano_usd",
    "per_cached_token_nano_usd",
    "per_cache_write_token_nano_usd",
    "per_input_audio_token_nano_usd",
)
"""Prices of tokens that are read: at most the dearest of them, for each."""
_WRITTEN: Final = ("per_output_token_nano_usd", "per_output_audio_token_nano_usd")
_BOUNDED: Final = frozenset({"per_call_nano_usd", "per_cpu_second_nano_usd", *_READ, *_WRITTEN})


def ceiling_nano_usd(price: Price | None, timeout_seconds: float, usage: Usage = UNKNOWN_USAGE, model: str = "") -> int:
    """The highest cost of one attempt that takes no longer than this; ``UNBOUNDED`` where nothing says. ``usage`` is
    the most that it may use, by its params; fields below 0 say nothing. ``model``: the one that is asked. A provider
    without a price costs nothing in the books."""
    if price is None:
        return 0
    declared = UNBOUNDED if price.at_most_nano_usd is None else price.at_most_nano_usd
    return min(_counted(price, max(timeout_seconds, 0.0), usage, price.model or model), declared)


def _counted(price: Price, timeout_seconds: float, usage: Usage, model: str) -> int:
    rates = {name: rate for name, rate in price if name.startswith("per_") and rate}
    if rates.keys() - _BOUNDED:
        return UNBOUNDED
    seconds = timeout_seconds if usage.cpu_seconds < 0 else min(usage.cpu_seconds, timeout_seconds)
    total: int = rates.get("per_call_nano_usd", 0) + math.ceil(rates.get("per_cpu_second_nano_usd", 0) * seconds)
    read = _least(usage.input_tokens, price.max_input_tokens)
    written = _least(usage.output_tokens, price.max_output_tokens)
    for most, counted in ((read, _READ), (written, _WRITTEN)):
        dearest = max(rates.get(rate, 0) for rate in counted)
        if dearest and most is None:
            return UNBOUNDED
        total += dearest * (most or 0)
    if not price.genai_prices:
        return total
    by_model = None if read is None or written is None else most_by_model(price.genai_prices, model, read, written)
    return UNBOUNDED if by_model is None else total + by_model


def _least(guess: int, declared: int | None) -> int | None:
    """The lower of two bounds, of which either may be missing."""
    return min((bound for bound in (guess if guess >= 0 else None, declared) if bound is not None), default=None)


def of_provider(provider: Provider, timeout_seconds: float, params: Mapping[str, Any]) -> int:
    """The highest cost of one attempt with these params."""
    model = str(provider.config.get("model", ""))
    return ceiling_nano_usd(provider.price, timeout_seconds, usage_at_most(provider, params), model)


def refusal(
    provider: Provider, timeout_seconds: float, budget: int, spent: int, params: Mapping[str, Any]
) -> tuple[str, int] | None:
    """Why a call of this budget, with so much spent, does not ask the provider, and what it might have cost. None: it
    can be asked."""
    if budget == NO_LIMIT:
        return None
    most, left = of_provider(provider, timeout_seconds, params), budget - spent
    if most <= left:
        return None
    might = f"might cost {usd(most)}"
    if most == UNBOUNDED:
        might = "has a price without upper bound (declare price.max_output_tokens or price.at_most_nano_usd)"
    message = f"was not asked: it {might}, and {usd(left)} are left of the call's budget of {usd(budget)}"
    return message, most
