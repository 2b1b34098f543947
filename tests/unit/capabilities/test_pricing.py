"""What attempts cost."""

from __future__ import annotations

from typing import Any

import pytest

from services.capabilities.model import Price
from services.capabilities.outcome import Answer, Failure, Usage
from services.capabilities.pricing import Charge, charge


def answer(model: str = "", **used: Any) -> Answer:
    return Answer(result=None, usage=Usage(**used), model=model)


def test_unpriced_is_not_free() -> None:
    """The fact names no price list."""
    assert charge(None, answer(input_tokens=5)) == Charge(0, "")


@pytest.mark.parametrize(
    ("price", "used", "cost"),
    [
        ({"per_call_nano_usd": 5_000}, {}, 5_000),
        ({"per_input_token_nano_usd": 3, "per_output_token_nano_usd": 5}, {"input_tokens": 7, "output_tokens": 2}, 31),
        ({"per_image_nano_usd": 40_000_000}, {"images": 2}, 80_000_000),
        ({"per_second_nano_usd": 50_000_000}, {"seconds": 5.0}, 250_000_000),
        ({"per_gigabyte_nano_usd": 90_000_000}, {"bytes": 1_000_000}, 90_000),
        ({"per_cpu_second_nano_usd": 13_333}, {"cpu_seconds": 0.5}, 6_666),
    ],
)
def test_each_unit_is_charged(price: dict[str, int], used: dict[str, Any], cost: int) -> None:
    """Per call, token, image, second, byte."""
    assert charge(Price(id="list-1", **price), answer(**used)) == Charge(cost, "list-1")  # type: ignore[arg-type]


def test_a_failure_is_charged_per_call_only_where_the_price_says_so() -> None:
    """What it used is charged in any case."""
    failure = Failure(error_class="transient", code="x", message="x", usage=Usage(input_tokens=2))
    given = {"id": "l", "per_call_nano_usd": 100, "per_input_token_nano_usd": 1}

    assert charge(Price(**given), failure).nano_usd == 2  # type: ignore[arg-type]
    assert charge(Price(**given, charge_failures=True), failure).nano_usd == 102  # type: ignore[arg-type]


def test_models_are_priced_by_the_package_and_the_list_is_named() -> None:
    """gpt-4o-mini: 0.15 USD a million tokens read, half of it when cached, 0.60 written; whatever snapshot answers."""
    price = Price(genai_prices="openai")

    cost = charge(price, answer("gpt-4o-mini-2024-07-18", input_tokens=1_000_000, output_tokens=1_000_000))
    cached = charge(price, answer("gpt-4o-mini", input_tokens=1_000_000, cached_tokens=1_000_000))

    assert cost.nano_usd == 750_000_000
    assert cached.nano_usd == 75_000_000
    assert cost.price_id.startswith("genai-prices-")
    assert cost.price_id.endswith("/openai/gpt-4o-mini")


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-17"), ("openai", ""), ("nobody", "gpt-4o-mini")])
def test_an_unknown_model_is_unpriced(provider: str, model: str) -> None:
    """Not free: its fact names no list."""
    assert charge(Price(genai_prices=provider), answer(model, input_tokens=5)) == Charge(0, "")


@pytest.mark.parametrize(
    "given", [{}, {"id": "a", "genai_prices": "openai"}, {"genai_prices": "openai", "per_input_token_nano_usd": 1}]
)
def test_a_price_has_one_source(given: dict[str, Any]) -> None:
    """Two would contradict each other."""
    with pytest.raises(ValueError, match=r"either an id|tokens are priced"):
        Price(**given)
