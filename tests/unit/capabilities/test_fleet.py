"""Which providers can be asked, and how many at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from services.capabilities.outcome import Answer, AttemptRequest, Failure, Usage
from services.capabilities.providers.fleet import Fleet
from services.capabilities.registry import Contract
from tests.support.calls import capability

HTTP = {
    "name": "api",
    "kind": "http",
    "request": {"base_url": {"file": "api.url"}},
    "auth": {"kind": "bearer", "secret": {"env": "API_KEY"}},
}
LOCAL = {"name": "local", "kind": "python", "function": "services.capabilities.catalogue.echo:echo", "concurrency": 1}


def contract(*providers: Any) -> Contract:
    """A capability with these providers."""
    return Contract(capability(providers=list(providers)), Path("test.yaml"))


def request(**fields: Any) -> AttemptRequest:
    """An attempt with five seconds."""
    given = {"call_id": "c", "run_id": "r", "agent": "a", "attempt": 1, "params": {}, "timeout_seconds": 5.0}
    return AttemptRequest(**{**given, **fields})


def test_a_provider_without_its_secret_or_endpoint_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """And is ready as soon as both are there, without a restart."""
    environment: dict[str, str] = {}
    fleet, both = Fleet(tmp_path, environment), contract(HTTP, LOCAL)

    assert fleet.ranking(both).ready == ("local",)
    assert fleet.ranking(both).skipped == (("api", "file api.url, $API_KEY"),)

    environment["API_KEY"] = "k"
    (tmp_path / "api.url").write_text("http://127.0.0.1:1")
    assert fleet.ranking(both).ready == ("api", "local")


async def test_a_provider_is_asked_no_more_often_at_a_time_than_it_allows(tmp_path: Path) -> None:
    """The others wait for a slot, and give up when their time is over."""
    fleet, one = Fleet(tmp_path, {}), contract(LOCAL)
    provider = one.capability.providers[0]
    member = fleet._member("probe", provider)
    await member.slots.acquire()

    late = await fleet.attempt(one, provider, request(timeout_seconds=0.05))
    early: list[int] = []

    async def too_early() -> None:
        early.append(1)

    waiting = asyncio.ensure_future(fleet.attempt(one, provider, request(), too_early))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert early == []
    member.slots.release()

    claims: list[int] = []

    async def claim() -> None:
        claims.append(1)

    await fleet.attempt(one, provider, request(), claim)
    assert claims == [1]
    assert (late.error_class, late.code) == ("rate_limited", "no_slot")  # type: ignore[union-attr]  # a failure
    assert isinstance(await waiting, Answer)
    await fleet.close()


async def test_each_kind_of_provider_is_asked_in_its_way(tmp_path: Path) -> None:
    """And a limit of its rate is kept, whatever it is."""
    kinds: list[dict[str, Any]] = [
        {"kind": "python", "function": "services.capabilities.catalogue.echo:echo"},
        {"kind": "http", "request": {"base_url": {"value": "http://127.0.0.1:1"}}},
        {"kind": "subprocess", "command": ["/no/such/program"]},
        {"kind": "mcp", "command": ["/no/such/server"], "tool": "x"},
    ]
    rate = {"requests_per_minute": 1}
    many = contract(*({"name": each["kind"], "rate": rate, **each} for each in kinds))
    fleet = Fleet(tmp_path, {})

    first = [await fleet.attempt(many, provider, request()) for provider in many.capability.providers]
    second = [await fleet.attempt(many, provider, request(timeout_seconds=1)) for provider in many.capability.providers]
    await fleet.close()

    assert [getattr(outcome, "code", "ok") for outcome in first] == [
        "ok",
        "connect_failed",
        "not_started",
        "not_connected",
    ]
    assert [getattr(outcome, "code", "ok") for outcome in second] == ["rate_used_up"] * 4
    assert all(isinstance(outcome, Failure) and 50 < (outcome.retry_after or 0) <= 60 for outcome in second)


async def test_tokens_count_by_what_an_attempt_took(tmp_path: Path) -> None:
    """An estimate by the params' size lets the first in; what it really took keeps the second out."""
    spec = {**LOCAL, "function": "tests.unit.capabilities.test_fleet:thirsty", "rate": {"tokens_per_minute": 100}}
    fleet, one = Fleet(tmp_path, {}), contract(spec)
    provider = one.capability.providers[0]

    first = await fleet.attempt(one, provider, request(params={"tokens": 100}))
    second = await fleet.attempt(one, provider, request(params={"tokens": 1}, timeout_seconds=1))
    await fleet.close()

    assert isinstance(first, Answer)
    assert isinstance(second, Failure)
    assert (second.error_class, second.code) == ("rate_limited", "rate_used_up")


async def thirsty(params: dict[str, Any], context: Any) -> Answer:
    """Takes as many tokens as it is told."""
    return Answer(result={}, usage=Usage(input_tokens=params["tokens"]))
