"""What an attempt may cost at most, and whether a call can still pay for it. Pure.

Law: an attempt that is begun never costs more than is left of its call's reservation, so a call never costs more than
was reserved for it. A price without an upper bound can be paid only by a call without a limit.
"""

from __future__ import annotations

import math
from typing import Final

from agents_sdk.core.money import LIMIT, NO_LIMIT, usd
from services.capabilities.model import Price, Provider

OVER_BUDGET: Final = "budget_exceeded"
UNBOUNDED: Final = LIMIT + 1
"""More than any budget."""
_COUNTED: Final = {"per_input_token_nano_usd": "max_input_tokens", "per_output_token_nano_usd": "max_output_tokens"}
"""Field of a price → what bounds the count it is multiplied with."""
_BOUNDED: Final = frozenset({"per_call_nano_usd", "per_cpu_second_nano_usd", *_COUNTED})


def ceiling_nano_usd(price: Price | None, timeout_seconds: float) -> int:
    """What one attempt that takes no longer than this may cost; ``UNBOUNDED`` where the price does not say. A provider
    without a price costs nothing in the books."""
    if price is None:
        return 0
    if price.at_most_nano_usd is not None:
        return price.at_most_nano_usd
    rates = {name: rate for name, rate in price if name.startswith("per_") and rate}
    total = rates.get("per_call_nano_usd", 0)
    total += math.ceil(rates.get("per_cpu_second_nano_usd", 0) * max(timeout_seconds, 0.0))
    for rate, bound in _COUNTED.items():
        most = getattr(price, bound)
        if rate in rates and most is None:
            return UNBOUNDED
        total += rates.get(rate, 0) * (most or 0)
    return UNBOUNDED if price.genai_prices or rates.keys() - _BOUNDED else total


def refusal(provider: Provider, timeout_seconds: float, budget: int, spent: int) -> tuple[str, int] | None:
    """Why the provider is not asked by a call of this budget that has spent so much, and what it might have cost; None:
    it can be asked."""
    if budget == NO_LIMIT:
        return None
    most, left = ceiling_nano_usd(provider.price, timeout_seconds), budget - spent
    if most <= left:
        return None
    might = f"might cost {usd(most)}"
    if most == UNBOUNDED:
        might = "has a price without upper bound (declare price.max_output_tokens or price.at_most_nano_usd)"
    message = f"was not asked: it {might}, and {usd(left)} are left of the call's budget of {usd(budget)}"
    return message, most
