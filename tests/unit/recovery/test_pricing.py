"""What attempts cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.manifests.model import Price
from backplane.recovery.outcome import COUNTS, MEASURES, Answer, Failure, Usage, counted
from backplane.recovery.pricing import Charge, charge


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


HAIKU = Price(genai_prices="anthropic")


def usd(cost: Charge) -> str:
    return f"{cost.nano_usd / 1e9:.6f}"


def test_tokens_written_to_a_cache_have_their_own_price() -> None:
    """12,990 tokens written to a cache and 10 others, 5 tokens of answer: not what 13,000 plain ones cost."""
    written = answer("claude-haiku-4-5", input_tokens=13_000, cache_write_tokens=12_990, output_tokens=5)
    plain = answer("claude-haiku-4-5", input_tokens=13_000, output_tokens=5)
    hour = {"cache_write_tokens": 12_990, "cache_write_1h_tokens": 12_990}
    kept = answer("claude-haiku-4-5", input_tokens=13_000, output_tokens=5, **hour)

    assert charge(HAIKU, written).nano_usd == 16_272_500
    assert charge(HAIKU, plain).nano_usd == 13_025_000
    assert charge(HAIKU, kept).nano_usd == 26_015_000


@pytest.mark.parametrize(
    ("model", "tier", "nano_usd", "named"),
    [
        ("claude-haiku-4-5", "batch", 502_500_000, True),
        ("claude-haiku-4-5", "", 1_005_000_000, False),
        ("gpt-5", "priority", 2_520_000_000, True),
        ("gpt-5", "flex", 630_000_000, True),
        ("claude-haiku-4-5", "nonsense", 1_005_000_000, False),
    ],
)
def test_tiers_have_their_own_price(model: str, tier: str, nano_usd: int, named: bool) -> None:
    """The list is named with the tier where it has one."""
    price = Price(genai_prices="openai" if model.startswith("gpt") else "anthropic")
    cost = charge(price, answer(model, input_tokens=1_000_000, output_tokens=1_000, tier=tier))

    assert cost.nano_usd == nano_usd
    assert cost.price_id.endswith(f"/{tier}") is (named and bool(tier))


def test_a_list_of_ones_own_may_price_caches_and_sound() -> None:
    """What has no price of its own costs what the others do."""
    price = Price(
        id="l",
        per_input_token_nano_usd=10,
        per_output_token_nano_usd=20,
        per_cached_token_nano_usd=1,
        per_cache_write_token_nano_usd=12,
        per_output_audio_token_nano_usd=100,
    )
    used: dict[str, Any] = {"input_tokens": 100, "cached_tokens": 40, "cache_write_tokens": 10, "input_audio_tokens": 5}

    cost = charge(price, answer(**used, output_tokens=10, output_audio_tokens=2))

    assert cost == Charge(50 * 10 + 40 * 1 + 10 * 12 + 8 * 20 + 2 * 100, "l")


BAD = [1.5, 12.0, "12", "", -1, True, [], {}, 10**9, 2**63, 10**30, float("nan"), float("inf")]


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"])
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_count_that_is_none_leaves_the_attempt_unpriced(name: str, bad: object) -> None:
    """Fractions, texts, numbers below nothing or beyond what can be: not priced at what is left."""
    told = {"input_tokens": 50, "output_tokens": 5, name: bad}
    usage = counted(told)

    assert name in usage.uncounted
    assert getattr(usage, name) == 0
    rates = ("input_token", "output_token", "cached_token", "cache_write_token")
    own = Price(id="l", **{f"per_{each}_nano_usd": 1 for each in rates})  # type: ignore[arg-type]
    for price in (HAIKU, own):
        assert charge(price, Answer(result=None, usage=usage, model="claude-haiku-4-5")).price_id == ""
    assert charge(Price(id="l", per_call_nano_usd=7), Answer(result=None, usage=usage)) == Charge(7, "l")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"input_tokens": None, "output_tokens": 3},
        {"input_tokens": 3},
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 10, "output_tokens": 1, "cached_tokens": 11},
        {"input_tokens": 10, "output_tokens": 1, "cached_tokens": 6, "cache_write_tokens": 6},
        {"input_tokens": 10, "output_tokens": 1, "reasoning_tokens": 2},
    ],
)
def test_an_answer_without_its_use_is_unpriced(told: dict[str, object]) -> None:
    """Nothing told, half of it, nothing at all used, parts that are more than the whole."""
    usage = counted(told, ("input_tokens", "output_tokens"))

    assert charge(HAIKU, Answer(result=None, usage=usage, model="claude-haiku-4-5")) == Charge(0, "")


def test_what_is_made_must_be_measured_to_be_priced() -> None:
    """Images, seconds, bytes."""
    price = Price(id="l", per_image_nano_usd=5)

    assert charge(price, Answer(result=None, usage=counted({}, ("images",)))) == Charge(0, "")
    assert charge(price, Answer(result=None, usage=counted({"images": 2}, ("images",)))) == Charge(10, "l")


@given(st.dictionaries(st.sampled_from(sorted(COUNTS | MEASURES | {"tier"})), st.integers() | st.floats() | st.text()))
def test_whatever_is_told_is_a_usage_that_can_be_recorded(told: dict[str, object]) -> None:
    """Counts that fit their fields, and a charge that is no less than nothing."""
    usage = counted(told)

    assert all(0 <= getattr(usage, name) < 2**62 for name in COUNTS | MEASURES)
    assert charge(HAIKU, Answer(result=None, usage=usage, model="claude-haiku-4-5")).nano_usd >= 0
