"""The cost of an attempt by its provider's price. Pure, but for the price list that genai-prices carries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from agents_sdk import prices
from backplane.manifests.model import Price
from backplane.recovery.outcome import COUNTS, Answer, AttemptOutcome, Usage

NANO: Final = 1_000_000_000
"""Nano-USD in a USD; bytes in a gigabyte."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The cost of one attempt, and its list; ``price_id`` "" for unpriced, which is not free."""

    nano_usd: int = 0
    price_id: str = ""


def charge(price: Price | None, outcome: AttemptOutcome) -> Charge:
    """The cost of the attempt by this price. Unpriced, at what is known of it, where what it used is not known."""
    if price is None:
        return Charge()
    usage = outcome.usage
    per_call = price.per_call_nano_usd if isinstance(outcome, Answer) or price.charge_failures else 0
    fixed = (
        per_call
        + _tokens(price, usage)
        + usage.images * price.per_image_nano_usd
        + round(usage.cpu_seconds * price.per_cpu_second_nano_usd)
        + round(usage.seconds * price.per_second_nano_usd)
        + round(usage.bytes * price.per_gigabyte_nano_usd / NANO)
    )
    if _unknown(price, outcome):
        return Charge(fixed)
    if not price.genai_prices:
        return Charge(fixed, price.id)
    if not usage.input_tokens and not usage.output_tokens:
        return Charge(
            fixed, f"{prices.list_name()}/{price.genai_prices}"
        )  # nothing to price by model: a failure before tokens
    by_model = _of_model(price.genai_prices, outcome.model, usage)
    return Charge(fixed + by_model.nano_usd, by_model.price_id) if by_model.price_id else Charge(fixed)


def _tokens(price: Price, usage: Usage) -> int:
    """The tokens by a list of the manifest's own: each by its kind's price, where there is one."""
    apart = (
        (usage.cached_tokens, price.per_cached_token_nano_usd, price.per_input_token_nano_usd),
        (usage.cache_write_tokens, price.per_cache_write_token_nano_usd, price.per_input_token_nano_usd),
        (usage.input_audio_tokens, price.per_input_audio_token_nano_usd, price.per_input_token_nano_usd),
        (usage.output_audio_tokens, price.per_output_audio_token_nano_usd, price.per_output_token_nano_usd),
    )
    total = usage.input_tokens * price.per_input_token_nano_usd + usage.output_tokens * price.per_output_token_nano_usd
    return total + sum(number * (own - usual) for number, own, usual in apart if own is not None)


def _unknown(price: Price, outcome: AttemptOutcome) -> bool:
    """Whether the price needs something that was not counted. An answer of a model for which neither a token was read
    nor written was not counted either."""
    usage = outcome.usage
    needed = {measure for measure, rates in _RATES.items() if any(getattr(price, rate) for rate in rates)}
    if price.genai_prices:
        needed |= TOKENS
    if usage.uncounted & needed:
        return True
    nothing = not usage.input_tokens and not usage.output_tokens
    return bool(needed & TOKENS) and nothing and isinstance(outcome, Answer)


TOKENS: Final = frozenset(name for name in COUNTS if name.endswith("_tokens"))
_RATES: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("per_input_token_nano_usd",),
    "output_tokens": ("per_output_token_nano_usd",),
    "cached_tokens": ("per_cached_token_nano_usd",),
    "cache_write_tokens": ("per_cache_write_token_nano_usd",),
    "input_audio_tokens": ("per_input_audio_token_nano_usd",),
    "output_audio_tokens": ("per_output_audio_token_nano_usd",),
    "images": ("per_image_nano_usd",),
    "seconds": ("per_second_nano_usd",),
    "bytes": ("per_gigabyte_nano_usd",),
    "cpu_seconds": ("per_cpu_second_nano_usd",),
}
"""A measure → the prices that need it."""


def _of_model(provider: str, model: str, usage: Usage) -> Charge:
    """The price of the tokens by the package's list; unpriced for a model or provider it does not have."""
    counts = {name: getattr(usage, name) for name in prices.NAMES}
    return Charge(*prices.by_list(provider, model, counts, usage.tier))


def most_by_model(provider: str, model: str, read: int, written: int) -> int | None:
    """The highest price of so many tokens by the package's list, however they are cached; None for a model it does not
    have."""
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    written_to_cache = {"cache_write_tokens": read, "cache_write_1h_tokens": read}
    kinds = ({}, {"cache_write_tokens": read}, written_to_cache, {"cache_read_tokens": read}) if model else ()
    found = []
    for kind in kinds:
        try:
            price = calc_price(Tokens(input_tokens=read, output_tokens=written, **kind), model, provider_id=provider)
        except (LookupError, ValueError):
            return None
        found.append(math.ceil(price.total_price * NANO))
    return max(found, default=None)
