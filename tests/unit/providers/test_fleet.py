"""Which providers can be asked, and how many at a time."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.core.registry import Switch
from backplane.manifests.registry import RegisteredCapability
from backplane.providers.attempts import Attempts
from backplane.providers.fleet import Fleet
from backplane.providers.reach import Endpoint, Reach, endpoint_of
from backplane.recovery.outcome import Answer, AttemptRequest, Failure, Usage
from tests.support.calls import capability, failure

HTTP = {
    "name": "api",
    "kind": "http",
    "request": {"base_url": {"file": "api.url"}},
    "auth": {"kind": "bearer", "secret": {"env": "API_KEY"}},
}
LOCAL = {"name": "local", "kind": "python", "function": "backplane.builtin.echo:echo", "concurrency": 1}


def contract(*providers: Any) -> RegisteredCapability:
    """A capability with these providers."""
    return RegisteredCapability(capability(providers=list(providers)), "test.yaml")


def request(**fields: Any) -> AttemptRequest:
    """An attempt with five seconds."""
    given = {"call_id": "c", "run_id": "r", "agent": "a", "attempt": 1, "params": {}, "timeout_seconds": 5.0}
    return AttemptRequest(**{**given, **fields})


def test_a_provider_without_its_secret_or_endpoint_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """And is ready as soon as both are there, without a restart."""
    environment: dict[str, str] = {}
    fleet, both = Fleet(tmp_path, environment), contract(HTTP, LOCAL)

    assert fleet.ranking(both).ready == ("local",)
    assert fleet.ranking(both).skipped == (("api", "lacks file api.url, $API_KEY"),)

    environment["API_KEY"] = "k"
    (tmp_path / "api.url").write_text("http://127.0.0.1:1")
    assert fleet.ranking(both).ready == ("api", "local")


async def test_a_provider_is_asked_no_more_often_at_a_time_than_it_allows(tmp_path: Path) -> None:
    """The others wait for a slot, and give up when their time is over."""
    fleet, one = Fleet(tmp_path, {}), contract(LOCAL)
    provider = one.capability.providers[0]
    member = fleet._member(one, provider)
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
        {"kind": "python", "function": "backplane.builtin.echo:echo"},
        {"kind": "http", "request": {"base_url": {"value": "http://127.0.0.1:1"}}},
        {"kind": "subprocess", "command": ["/no/such/program"]},
        {"kind": "mcp", "command": ["/no/such/server"], "tool": "x"},
    ]
    rate = {"requests_per_minute": 1}
    many = contract(*({"name": each["kind"], "rate": rate, **each} for each in kinds))
    fleet = Fleet(tmp_path, {})

    began = time.monotonic()
    first = [await fleet.attempt(many, provider, request(timeout_seconds=60)) for provider in many.capability.providers]
    second = [await fleet.attempt(many, provider, request(timeout_seconds=1)) for provider in many.capability.providers]
    passed = time.monotonic() - began
    await fleet.close()

    assert [getattr(outcome, "code", "ok") for outcome in first] == [
        "ok",
        "connect_failed",
        "not_started",
        "not_connected",
    ]
    assert [getattr(outcome, "code", "ok") for outcome in second] == ["rate_used_up"] * 4
    assert all(isinstance(outcome, Failure) and 60 - passed <= (outcome.retry_after or 0) <= 60 for outcome in second)


async def test_tokens_count_by_what_an_attempt_took(tmp_path: Path) -> None:
    """An estimate by the params' size lets the first in; what it really took keeps the second out."""
    spec = {**LOCAL, "function": "tests.unit.providers.test_fleet:thirsty", "rate": {"tokens_per_minute": 100}}
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


def named(*names: str) -> list[dict[str, Any]]:
    """Local providers, the later the cheaper."""
    return [
        {**LOCAL, "name": name, "price": {"id": "p", "per_call_nano_usd": 100 - number}}
        for number, name in enumerate(names)
    ]


def test_a_provider_that_is_disabled_or_out_of_reach_is_not_asked_unless_it_is_the_last_hope(tmp_path: Path) -> None:
    """A look at the endpoint may be some seconds old: where nobody else is left, it is asked all the same."""
    off: set[str] = set()

    def switch(capability: str, provider: str) -> Switch:
        return Switch(target="", state="disabled" if provider in off else "enabled", reason="billed twice")

    fleet, three = Fleet(tmp_path, {}, switch), contract(*named("a", "b", "c"))
    off.add("a")
    fleet.out_of_reach = {("probe", "b"): "is out of reach: nowhere:1"}

    assert fleet.ranking(three).ready == ("c",)
    assert fleet.ranking(three).skipped == (
        ("a", "is disabled (an operator said 'billed twice')"),
        ("b", "is out of reach: nowhere:1"),
    )
    off.add("c")
    assert fleet.ranking(three).ready == ("b",)


def test_ranking_follows_what_attempts_came_to(tmp_path: Path) -> None:
    """Cheapest by price, fastest and healthiest by what was observed; a caller's mistake counts for nothing."""
    fleet, three = Fleet(tmp_path, {}), contract(*named("a", "b", "c"))
    a, b, c = three.capability.providers
    assert fleet.ranking(three).ready == ("a", "b", "c")
    assert fleet.ranking(three, "cheapest").ready == ("c", "b", "a")
    for provider, outcome, seconds in (
        (a, Answer(result={}), 0.003),
        (b, Answer(result={}), 0.001),
        (c, failure("outage"), 0.00001),
        (a, failure("invalid_request"), 0.00001),
    ):
        fleet.observe(three, provider, outcome, seconds)

    assert fleet.ranking(three, "fastest").ready == ("b", "a", "c")
    assert fleet.ranking(three, "healthiest").ready == ("a", "b", "c")
    assert fleet.standing("probe", "a").attempts == 1


async def test_a_newer_manifest_replaces_a_provider_when_its_last_attempt_has_ended(tmp_path: Path) -> None:
    """Calls under way keep what they have; what has not changed keeps its connections; what is replaced is closed."""
    fleet = Fleet(tmp_path, {})
    waiting, same = {**LOCAL, "name": "waiting"}, {**LOCAL, "name": "same"}
    old = RegisteredCapability(capability(providers=[waiting, same]), "", 3)
    new = RegisteredCapability(capability(providers=[{**waiting, "config": {"other": 1}}, same]), "", 4)
    closed: list[str] = []
    members = {each.name: fleet._member(old, each) for each in old.capability.providers}
    gate = asyncio.Event()

    class Held(Attempts):
        async def attempt(self, _: AttemptRequest) -> Answer:
            await gate.wait()
            return Answer(result="old")

        async def close(self) -> None:
            closed.append("waiting")

    members["waiting"].attempts = Held()
    under_way = asyncio.ensure_future(fleet.attempt(old, old.capability.providers[0], request()))
    brief = asyncio.ensure_future(fleet.attempt(old, old.capability.providers[0], request()))
    await asyncio.sleep(0)

    assert fleet._member(new, new.capability.providers[1]) is members["same"]
    assert isinstance(await fleet.attempt(new, new.capability.providers[0], request()), Answer)
    brief.cancel()
    await asyncio.gather(brief, return_exceptions=True)
    assert closed == []
    gate.set()
    assert (await under_way).result == "old"  # type: ignore[union-attr]  # an answer
    assert closed == ["waiting"]
    await fleet.close()


async def test_whether_something_listens_is_found_out_and_seen_again(tmp_path: Path) -> None:
    """A port nobody listens on, then one where somebody does; nothing is asked of what runs in the process or behind a
    proxy."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    api = contract({**HTTP, "auth": None, "request": {"base_url": {"value": f"http://127.0.0.1:{port}/v1"}}}, LOCAL)
    endpoint = endpoint_of(api.capability.providers[0], {}, tmp_path)
    assert endpoint == Endpoint("127.0.0.1", port)
    assert endpoint_of(api.capability.providers[1], {}, tmp_path) is None
    reach = Reach()

    await reach.look([endpoint])
    assert reach.down == {}
    server.close()
    await server.wait_closed()
    gone = Reach()
    await gone.look([endpoint])
    assert f"is out of reach: {endpoint}" in gone.down[endpoint]
    again = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    await gone.look([endpoint])
    assert gone.down == {}
    again.close()
    await again.wait_closed()


def test_what_is_behind_a_proxy_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of ours would fail where one through the proxy would not."""
    provider = contract({**HTTP, "auth": None, "request": {"base_url": {"value": "https://api.x.test"}}})
    (spec,) = provider.capability.providers
    assert endpoint_of(spec, {}, tmp_path) == Endpoint("api.x.test", 443)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert endpoint_of(spec, {}, tmp_path) is None
    monkeypatch.setenv("NO_PROXY", ".x.test")
    assert endpoint_of(spec, {}, tmp_path) == Endpoint("api.x.test", 443)


def test_a_provider_whose_program_is_not_there_is_not_asked(tmp_path: Path) -> None:
    """Found by the path, or below its folder; told by its name."""
    programs = ["sh", "/no/such/program", "./mine"]
    given = contract(
        *({"name": f"p{n}", "kind": "subprocess", "command": [name]} for n, name in enumerate(programs)),
        {"name": "tool", "kind": "mcp", "command": ["no-such-server"], "tool": "x"},
    )
    fleet = Fleet(tmp_path, {"PATH": os.environ["PATH"]})

    assert fleet.ranking(given).ready == ("p0",)
    assert fleet.ranking(given).skipped[0] == ("p1", "lacks the program '/no/such/program'")
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    assert fleet.ranking(given).ready == ("p0", "p2")
