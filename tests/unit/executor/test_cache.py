"""Results that are given again for a while, and what keeps them from it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backplane.executor.cache import ResultCache
from backplane.executor.ports import Clock
from backplane.executor.settle import Settler
from tests.support.calls import Outbox, ScriptedProviders, capability, failure, registry, requested, settler

CACHED: dict[str, Any] = {"cache": {"ttl_seconds": 60}}


class Hand(Clock):
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def caching(asking: ScriptedProviders, outbox: Outbox, *capabilities: Any, clock: Clock | None = None) -> Settler:
    return settler(registry(*capabilities), asking, outbox, cache=ResultCache(10_000), clock=clock)


def outcomes(outbox: Outbox) -> list[tuple[bool, str, int, int]]:
    """(cached, provider, attempts, cost) of each outcome."""
    found = [command.outcome for command in outbox.commands if command.outcome is not None]
    return [(body.cached, body.provider, body.attempts, body.cost_nano_usd) for body in found]


async def test_an_equal_read_is_answered_without_an_attempt_and_costs_nothing() -> None:
    """A fact like any other, marked; what differs in a param asks again."""
    price = {"id": "list", "per_call_nano_usd": 7}
    paid = [{"name": "one", "kind": "python", "function": "a:b", "price": price}]
    asking, outbox = ScriptedProviders(), Outbox()
    settling = caching(asking, outbox, capability(providers=paid, **CACHED))

    for call, params in (("a", {"q": 1}), ("b", {"q": 1}), ("c", {"q": 2})):
        await settling.settle(requested(call, params=params))

    assert asking.asked == ["one", "one"]
    assert outcomes(outbox) == [(False, "one", 1, 7), (True, "one", 0, 0), (False, "one", 1, 7)]
    results = [command.outcome.result for command in outbox.commands if command.outcome]
    assert results[0] == results[1]


async def test_a_result_is_not_given_again_after_its_time() -> None:
    """Nor where the manifest declares none."""
    asking, outbox, clock = ScriptedProviders(), Outbox(), Hand()
    settling = caching(asking, outbox, capability(**CACHED), capability(name="live"), clock=clock)

    await settling.settle(requested("a"))
    clock.now = 60.0
    await settling.settle(requested("b"))
    await settling.settle(requested("c", "live"))
    await settling.settle(requested("d", "live"))

    assert len(asking.asked) == 4


async def test_what_was_no_result_of_the_capability_itself_is_not_kept() -> None:
    """Failures, substitutes and what another capability gave: the next call tries again."""
    asking, outbox = ScriptedProviders(one=lambda _: failure("auth")), Outbox()
    helped = capability("one", fallback=["other"], **CACHED)
    settling = caching(asking, outbox, helped, capability("two", name="other"))
    degraded = caching(asking, outbox, capability("one", degraded_result={}, **CACHED))

    for call in ("a", "b"):
        await settling.settle(requested(call))
        await degraded.settle(requested(call))

    assert not any(cached for cached, *_ in outcomes(outbox))
    assert asking.asked.count("one") == 4


async def test_another_set_of_providers_is_another_result() -> None:
    """A provider that is switched off must not go on answering from memory."""
    asking, outbox = ScriptedProviders(), Outbox()
    settling = caching(asking, outbox, capability("one", "two", **CACHED))

    await settling.settle(requested("a"))
    asking.skipped = (("one", "$KEY"),)
    await settling.settle(requested("b"))

    assert asking.asked == ["one", "two"]


@pytest.mark.parametrize("side_effects", ["idempotent", "unsafe"])
def test_only_reads_are_cached(side_effects: str) -> None:
    """An effect that is not had is no effect."""
    with pytest.raises(ValidationError, match="only results of reads"):
        capability(side_effects=side_effects, **CACHED)
