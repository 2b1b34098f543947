"""No call costs more than was reserved for it, whatever its providers cost, do and fail at."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backplane.executor.open_call import PriorAttempts
from backplane.manifests.model import Price
from backplane.recovery.ceiling import OVER_BUDGET, UNBOUNDED, ceiling_nano_usd
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Usage
from backplane.recovery.pricing import charge
from tests.support.calls import Outbox, ScriptedProviders, capability, failure, registry, requested, settler

RATES = st.integers(0, 40)
PRICES = st.builds(
    Price,
    id=st.just("list"),
    per_call_nano_usd=RATES,
    per_input_token_nano_usd=RATES,
    per_output_token_nano_usd=RATES,
    per_cpu_second_nano_usd=RATES,
    max_input_tokens=st.integers(0, 9) | st.none(),
    max_output_tokens=st.integers(0, 9) | st.none(),
    charge_failures=st.booleans(),
)


def within(price: Price, seconds: float, drawn: list[int]) -> Usage:
    """A usage that keeps the bounds of the price."""
    most = (price.max_input_tokens, price.max_output_tokens)
    read, written = (
        number % ((bound if bound is not None else 99) + 1) for number, bound in zip(drawn, most, strict=False)
    )
    return Usage(input_tokens=read, output_tokens=written, cpu_seconds=seconds * drawn[2] / 100)


@given(PRICES, st.floats(0, 60), st.lists(st.integers(0, 100), min_size=3, max_size=3))
def test_an_attempt_costs_no_more_than_its_ceiling(price: Price, seconds: float, drawn: list[int]) -> None:
    """Within the bounds that the price declares and the time the attempt has; what has no bound says so."""
    usage = within(price, seconds, drawn)
    most = ceiling_nano_usd(price, seconds)
    assert charge(price, Answer(result={}, usage=usage)).nano_usd <= most
    unbounded = (price.per_input_token_nano_usd and price.max_input_tokens is None) or (
        price.per_output_token_nano_usd and price.max_output_tokens is None
    )
    assert (most == UNBOUNDED) == bool(unbounded)


@pytest.mark.parametrize("more", [{"per_image_nano_usd": 1}, {"per_second_nano_usd": 1}, {"per_gigabyte_nano_usd": 1}])
def test_what_nobody_can_count_before_has_no_ceiling_but_a_declared_one(more: dict[str, Any]) -> None:
    """A price list of models neither: which of them answers is known afterwards."""
    assert ceiling_nano_usd(Price(id="list", **more), 1) == UNBOUNDED
    assert ceiling_nano_usd(Price(id="list", at_most_nano_usd=70, **more), 1) == 70
    listed = Price(genai_prices="openai", max_input_tokens=1, max_output_tokens=1)
    assert ceiling_nano_usd(listed, 1) == ceiling_nano_usd(listed, 1, model="no such model") == UNBOUNDED
    assert ceiling_nano_usd(Price(genai_prices="openai", at_most_nano_usd=70), 1) == 70


@settings(deadline=None)
@given(st.lists(PRICES, min_size=1, max_size=3), st.integers(0, 500), st.integers(0, 100), st.data())
def test_a_call_never_spends_more_than_its_reservation(
    prices: list[Price], budget: int, before: int, data: st.DataObject
) -> None:
    """Over all attempts at all providers, those of a predecessor included; who is not asked is not paid and not told as
    an attempt; and a call that ends for it says what it would have needed."""
    names = [f"p{number}" for number in range(len(prices))]
    declared = [
        {"name": name, "kind": "python", "function": "a:b", "timeout_seconds": 1, "price": price.model_dump()}
        for name, price in zip(names, prices, strict=True)
    ]
    known = registry(capability(providers=declared))

    def play(price: Price) -> object:
        def script(request: AttemptRequest) -> AttemptOutcome:
            drawn = [price.max_input_tokens or 99, price.max_output_tokens or 99, 100]  # the worst that it may be
            usage = within(price, min(request.timeout_seconds, 1), drawn)
            if data.draw(st.booleans()):
                return Answer(result={}, usage=usage)
            return failure(data.draw(st.sampled_from(["transient", "invalid_request"])), usage=usage)

        return script

    outbox, asking = Outbox(), ScriptedProviders(**dict(zip(names, map(play, prices), strict=True)))  # type: ignore[arg-type]
    asyncio.run(settler(known, asking, outbox).settle(requested("c", budget_nano_usd=budget), PriorAttempts(before)))

    attempts = [command.attempt for command in outbox.commands if command.attempt]
    paid = sum(attempt.cost_nano_usd for attempt in attempts)
    outcome = outbox.outcome()
    assert paid <= max(budget - before, 0)
    assert len(attempts) == len(asking.asked) == outcome.attempts
    assert outcome.cost_nano_usd == paid + before
    if outcome.error_code == OVER_BUDGET:
        assert outcome.error_class == "quota"
        assert outcome.asked_nano_usd > budget - before - paid
        assert "left of the call's budget of" in outcome.error_message
    else:
        assert outcome.asked_nano_usd == 0
