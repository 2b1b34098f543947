"""What an attempt costs by its provider's price. Pure, but for the price list that genai-prices carries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

from services.capabilities.model import Price
from services.capabilities.outcome import Answer, AttemptOutcome, Usage

NANO: Final = 1_000_000_000
"""Nano-USD in a USD; bytes in a gigabyte."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What one attempt cost, and by which list; ``price_id`` "" for unpriced, which is not free."""

    nano_usd: int = 0
    price_id: str = ""


def charge(price: Price | None, outcome: AttemptOutcome) -> Charge:
    """What the attempt costs by this price."""
    if price is None:
        return Charge()
    usage = outcome.usage
    per_call = price.per_call_nano_usd if isinstance(outcome, Answer) or price.charge_failures else 0
    fixed = (
        per_call
        + usage.input_tokens * price.per_input_token_nano_usd
        + usage.output_tokens * price.per_output_token_nano_usd
        + usage.images * price.per_image_nano_usd
        + round(usage.cpu_seconds * price.per_cpu_second_nano_usd)
        + round(usage.seconds * price.per_second_nano_usd)
        + round(usage.bytes * price.per_gigabyte_nano_usd / NANO)
    )
    if not price.genai_prices:
        return Charge(fixed, price.id)
    if not usage.input_tokens and not usage.output_tokens:
        return Charge(fixed, f"{_list()}/{price.genai_prices}")  # nothing to price by model: a failure before tokens
    by_model = _of_model(price.genai_prices, outcome.model, usage)
    return Charge(fixed + by_model.nano_usd, by_model.price_id) if by_model.price_id else Charge(fixed)


def _of_model(provider: str, model: str, usage: Usage) -> Charge:
    """The price of the tokens by the package's list; unpriced for a model or provider it does not have."""
    from genai_prices import Usage as Tokens  # 0.2 s to import
    from genai_prices import calc_price

    tokens = Tokens(
        input_tokens=usage.input_tokens,
        cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
        output_tokens=usage.output_tokens,
    )
    try:
        price = calc_price(tokens, model, provider_id=provider)
    except (LookupError, ValueError):
        return Charge()
    return Charge(round(price.total_price * NANO), f"{_list()}/{price.provider.id}/{price.model.id}")


def most_by_model(provider: str, model: str, read: int, written: int) -> int | None:
    """What so many tokens cost at most by the package's list, however they are cached; None for a model it does not
    have."""
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    kinds = ({}, {"cache_write_tokens": read}, {"cache_read_tokens": read}) if model else ()
    found = []
    for kind in kinds:
        try:
            price = calc_price(Tokens(input_tokens=read, output_tokens=written, **kind), model, provider_id=provider)
        except (LookupError, ValueError):
            return None
        found.append(math.ceil(price.total_price * NANO))
    return max(found, default=None)


@cache
def _list() -> str:
    """The list is part of the package, so its version names it."""
    from importlib.metadata import version

    return f"genai-prices-{version('genai-prices')}"
