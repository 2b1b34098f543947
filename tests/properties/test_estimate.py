"""A ceiling follows from what is asked: never below what the attempt costs, and near it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.money import usd
from backplane.builtin import drafting
from backplane.manifests.manifest import read
from backplane.manifests.model import Price
from backplane.manifests.registry import BUILT_IN
from backplane.manifests.tokens import count
from backplane.recovery.ceiling import UNBOUNDED, ceiling_nano_usd, of_provider, refusal
from backplane.recovery.estimate import UNKNOWN_USAGE, capped, tokens_at_most, usage_at_most
from backplane.recovery.outcome import Answer, ProviderError, Usage
from backplane.recovery.pricing import charge

TEXT = read(BUILT_IN / "text_generation.yaml")
PROVIDERS = {each.name: each for each in TEXT.providers}
WORDS = st.sampled_from(
    ["Streams", "keep", "every", "event", "in", "order", "readers", "go", "through", "pace", "brokers", "store", "logs"]
)
SENTENCES = st.lists(WORDS, min_size=6, max_size=30).map(lambda words: " ".join(words).capitalize() + ".")
SOURCES = st.lists(
    st.builds(
        lambda name, title, said: {
            "id": name,
            "title": title,
            "url": f"https://example.org/{name}",
            "text": " ".join(said),
        },
        st.uuids().map(str),
        st.lists(WORDS, max_size=8).map(" ".join),
        st.lists(SENTENCES, min_size=1, max_size=25),
    ),
    min_size=1,
    max_size=8,
)
PARAMS = st.fixed_dictionaries(
    {
        "topic": st.lists(WORDS, min_size=1, max_size=8).map(" ".join),
        "sources": SOURCES,
        "style": st.sampled_from(("brief", "standard", "detailed")),
        "feedback": st.sampled_from(("", "longer, with more sources", "shorter", "give an introduction")),
    }
)


def drafted(params: Mapping[str, Any]) -> Answer | None:
    """What the built-in writer does with them; None where it finds no prose."""
    try:
        return drafting.text_generation(params, SimpleNamespace())  # type: ignore[arg-type]  # it asks it nothing
    except ProviderError:
        return None


@settings(deadline=None, max_examples=60)
@given(PARAMS, st.floats(0, 30))
def test_a_draft_costs_no_more_than_its_ceiling_which_is_near(params: dict[str, Any], seconds: float) -> None:
    """Whatever is asked, and however long the processor took; within a few times what it costs."""
    answer = drafted(params)
    if answer is None:
        return
    extractive = PROVIDERS["extractive"]
    used = capped(Answer(result={}, usage=Usage(
        input_tokens=answer.usage.input_tokens, output_tokens=answer.usage.output_tokens, cpu_seconds=seconds
    )), usage_at_most(extractive, params))  # fmt: skip
    cost = charge(extractive.price, used).nano_usd
    most = of_provider(extractive, 60, params)
    assert cost <= most
    assert most <= 5 * cost + 15_000, f"a draft of {usd(cost)} asks for {usd(most)}"


def test_the_example_of_the_manifest_is_served_with_a_budget_of_a_ten_thousandth_dollar() -> None:
    """It was refused below 0.0139 USD."""
    assert TEXT.example is not None
    assert refusal(PROVIDERS["extractive"], 60, 100_000, 0, TEXT.example) is None
    told = refusal(PROVIDERS["extractive"], 60, 10, 0, TEXT.example)
    assert told is not None
    assert told[1] <= 100_000


@given(st.text(max_size=3_000))
def test_no_text_has_more_tokens_than_its_bound(text: str) -> None:
    """Counted whole by the vocabulary that comes along; and never more than its bytes."""
    assert count(text) <= tokens_at_most(text) <= len(text.encode())


@pytest.mark.parametrize("text", ["a" * 1_000_000, "\x00" * 1_000_000, "ab " * 300_000, "漢" * 300_000])
@pytest.mark.timeout(30)
def test_counting_takes_a_bounded_time(text: str) -> None:
    """A word without end takes a tokenizer the square of its length: an hour for this one."""
    assert 0 < tokens_at_most(text) <= len(text.encode())


@pytest.mark.parametrize(("name", "model"), [("openai_compatible", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5")])
def test_a_models_ceiling_is_its_prompt_and_its_longest_answer(name: str, model: str) -> None:
    """By the list of prices for the model that is asked, however much is cached; less than the declared dollar."""
    provider, params = PROVIDERS[name], TEXT.example
    assert params is not None
    most = of_provider(provider, 60, params)
    bound = usage_at_most(provider, params).input_tokens
    for cached in (0, bound):
        usage = Usage(input_tokens=bound, cached_tokens=cached, output_tokens=8_000)
        assert charge(provider.price, Answer(result={}, usage=usage, model=model)).nano_usd <= most
    assert most < 60_000_000
    longer = {**params, "sources": [{"id": "s", "text": "A long text. " * 20_000}]}
    assert most < of_provider(provider, 60, longer) <= 1_000_000_000


def test_what_nobody_can_tell_keeps_its_declared_bounds() -> None:
    """A function that fails, files among the params, a model that is on no list."""
    price = Price(id="list", per_input_token_nano_usd=2, max_input_tokens=50, usage_at_most="no.such:function")
    broken = PROVIDERS["extractive"].model_copy(update={"price": price})
    assert usage_at_most(broken, {}) == UNKNOWN_USAGE
    assert of_provider(broken, 1, {}) == 100
    files = {"topic": "x", "sources": [{"id": "s", "text": "artifact:" + "ab" * 32}]}
    assert usage_at_most(PROVIDERS["anthropic"], files).input_tokens == -1
    unknown = PROVIDERS["anthropic"].model_copy(update={"config": {"model": "no such model"}})
    assert of_provider(unknown, 60, TEXT.example or {}) == 1_000_000_000
    assert ceiling_nano_usd(Price(id="list", per_image_nano_usd=1), 1, Usage(input_tokens=1)) == UNBOUNDED
