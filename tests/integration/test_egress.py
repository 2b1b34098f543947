"""Where requests of providers may go: held against a real network of loopback addresses, names that change and
redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.settings import NotConfigured
from agents_sdk.settings_model import Egress, Settings
from backplane.manifests import egress
from backplane.manifests.egress import NamedPlaces, Policy
from backplane.manifests.model import McpProvider
from backplane.providers.http import HttpAttempts
from backplane.providers.mcp import McpAttempts, Servers
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.http_attempts import provider, request
from tests.support.http_server import Asked, Reply, Server, serving

LOCAL = Policy()
NOTHING = Policy(loopback=False)
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1:7f00:0:100:808:808",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "fe80::1%eth0",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(lambda asked: Reply({"data": "inner"})) as running:
        yield running


async def ask(url: str, policy: Policy = LOCAL, **fields: Any) -> AttemptOutcome:
    attempts = HttpAttempts(provider(url, **fields), {}, Path(), policy=policy)
    try:
        return await attempts.attempt(request(timeout=10))
    finally:
        await attempts.close()


def refused(outcome: AttemptOutcome) -> str:
    assert isinstance(outcome, Failure), outcome
    assert (outcome.code, outcome.uncertain) == ("egress_refused", False), outcome
    return outcome.message


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_private_is_refused_whatever_its_form(address: str) -> None:
    """Unless it is meant and allowed: neither alone is enough."""
    place = address.partition("%")[0]
    meant = egress.said([f"http://[{place}]" if ":" in place else f"http://{place}"], private=False)
    network = ipaddress.ip_network(egress.unwrapped(ipaddress.ip_address(place)))
    allowed = Policy(loopback=False, rules=(egress.rule(str(network)),))

    assert egress.refusal(NOTHING, NamedPlaces(frozenset(), False), "name", 80, address)
    assert egress.refusal(NOTHING, meant, place, 80, address)
    assert egress.refusal(allowed, NamedPlaces(frozenset(), False), "name", 80, address)
    assert egress.refusal(allowed, meant, place, 80, address) == ""
    assert egress.refusal(allowed, meant, place, 81, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not_asked_about(address: str) -> None:
    """Any host, any port."""
    assert egress.refusal(NOTHING, NamedPlaces(frozenset(), False), "api.example.com", 8443, address) == ""


@given(st.ip_addresses())
def test_no_address_of_an_internal_network_gets_through(address: Any) -> None:
    """By a naive oracle: what Python calls private, link-local, loopback, multicast or reserved."""
    local = (address.is_private, address.is_link_local, address.is_loopback, address.is_multicast)
    if any(local):
        assert egress.refusal(NOTHING, NamedPlaces(frozenset(), False), "name", 80, str(address))


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "allows"),
    [
        ("10.0.0.0/8", "x", "10.1.2.3", 80, True),
        ("10.0.0.0/8:443", "x", "10.1.2.3", 80, False),
        ("10.1.2.3:80", "x", "10.1.2.3", 80, True),
        ("[fd00::1]:80", "x", "fd00::1", 80, True),
        ("fd00::/8", "x", "fd12::1", 80, True),
        ("intranet.example", "intranet.example", "10.1.2.3", 80, True),
        ("intranet.example", "evil.example", "10.1.2.3", 80, False),
        ("*.corp", "a.corp", "10.1.2.3", 80, True),
        ("*.corp:443", "a.corp", "10.1.2.3", 80, False),
    ],
)
def test_what_an_operator_allows(entry: str, host: str, address: str, port: int, allows: bool) -> None:
    """Names, networks, ports."""
    rule = egress.rule(entry)

    assert rule.allows(host, ipaddress.ip_address(address), port) is allows


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "x:0", "x:99999", "x:y", "[::1", ":80"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    """It is told."""
    if entry == "[::1":
        assert egress.rule(entry).network is not None
        return
    with pytest.raises(ValueError, match=r"is no"):
        egress.rule(entry)


def test_settings_say_what_is_allowed() -> None:
    """This machine where Kafka is on it too, or as they say; an entry that is none is told."""

    def of(servers: str, **given: Any) -> Policy:
        return egress.policy_of(Settings(kafka={"bootstrap.servers": servers}, egress=Egress(**given)))

    assert of("127.0.0.1:9092,[::1]:9092").loopback
    assert not of("127.0.0.1:9092,kafka-1:9092").loopback
    assert of("kafka-1:9092", loopback=True).loopback
    assert of("", allow="10.0.0.0/8, *.corp:443").rules == (egress.rule("10.0.0.0/8"), egress.rule("*.corp:443"))
    with pytest.raises(NotConfigured, match=r"egress\.allow: '10\.0\.0\.0/99' is no network"):
        of("", allow=("10.0.0.0/99",))


async def test_loopback_needs_the_manifest_and_the_operator(server: Server) -> None:
    """Literally named and allowed; not without the operator, who is told what to add."""
    port = server.server_address[1]

    assert isinstance(await ask(server.url), Answer)
    assert f"add '127.0.0.1:{port}' to egress.allow" in refused(await ask(server.url, NOTHING))
    assert isinstance(await ask(server.url, Policy(False, (egress.rule(f"127.0.0.1:{port}"),))), Answer)
    assert isinstance(await ask(f"http://localhost:{port}"), Answer)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "0"])
async def test_forms_that_only_resolvers_understand_are_not_meant(server: Server, host: str) -> None:
    """Decimal, hexadecimal, octal, short."""
    before = len(server.asked)
    outcome = await ask(f"http://{host}:{server.server_address[1]}")

    assert isinstance(outcome, Failure)
    assert not outcome.uncertain
    assert len(server.asked) == before


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and what they resolve to, one answer after the other; the last one again and again."""
    known: dict[str, list[str]] = {}
    loop_class = asyncio.BaseEventLoop
    original = loop_class.getaddrinfo

    async def resolve(self: Any, host: Any, port: Any, **options: Any) -> Any:
        if host not in known:
            return await original(self, host, port, **options)
        left = known[host]
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in address.split()]

    monkeypatch.setattr(loop_class, "getaddrinfo", resolve)
    return known


async def test_a_name_is_judged_by_the_address_that_is_connected_to(
    server: Server, names: dict[str, list[str]]
) -> None:
    """A public name that leads inside; one that the manifest says is private, and the operator allows."""
    port = server.server_address[1]
    names["api.vendor.example"] = ["127.0.0.1"]
    url = f"http://api.vendor.example:{port}"

    assert "(127.0.0.1)" in refused(await ask(url))
    assert isinstance(await ask(url, private=True), Answer)
    assert "egress.allow" in refused(await ask(url, NOTHING, private=True))
    named = Policy(False, (egress.rule("api.vendor.example"),))
    assert isinstance(await ask(url, named, private=True), Answer)
    assert refused(await ask(url, named))


async def test_a_name_that_changes_its_mind_is_resolved_once_a_connection(
    server: Server, names: dict[str, list[str]]
) -> None:
    """What was checked is what is connected to; a connection made anew is checked anew."""
    port = server.server_address[1]
    names["rebinding.example"] = ["203.0.113.1 127.0.0.1", "127.0.0.1"]
    before = len(server.asked)
    outcome = await ask(f"http://rebinding.example:{port}")

    assert refused(outcome)
    assert len(server.asked) == before


async def test_of_several_addresses_those_inside_are_left_out(server: Server, names: dict[str, list[str]]) -> None:
    """The first that answers of the others."""
    from backplane.providers.gate import AllowedAddresses

    names["mixed.example"] = ["169.254.169.254 8.8.8.8 10.0.0.1"]

    assert await AllowedAddresses(Policy(), egress.said([], private=False), {}).addresses("mixed.example", 80) == [
        "8.8.8.8"
    ]


async def test_a_response_cannot_send_the_executor_inside(server: Server, tmp_path: Path) -> None:
    """By the address of a file, whatever the provider is; nor by a redirect, which is not followed."""
    with serving(lambda asked: Reply({"secret": "s"})) as inner:
        script = {
            "/things": Reply({"url": f"{inner.url.replace('http', 'https')}/latest/meta-data"}),
            "/moved": Reply({}, 307, {"location": inner.url}),
        }
        with serving(lambda asked: script[asked.path]) as outer:
            file = await ask(
                outer.url, response={"artifact": {"url": "url", "mime": "text/plain"}, "result": "artifact"}
            )
            moved = await ask(outer.url, request={"path": "/moved"})
        assert inner.asked == []

    assert isinstance(file, Failure)
    assert (file.code, file.uncertain) == ("egress_refused", True)
    assert isinstance(moved, Failure)


async def test_tokens_are_fetched_within_the_same_bounds(server: Server) -> None:
    """The endpoint of OAuth is one that the manifest names."""
    auth = {
        "kind": "oauth2_client_credentials",
        "token_url": {"value": "http://169.254.169.254/token"},
        "client_id": {"value": "me"},
        "client_secret": {"env": "S"},
    }

    assert "169.254.169.254:80 is a private address" in refused(await ask(server.url, auth=auth))


async def test_mcp_servers_are_reached_within_the_same_bounds(tmp_path: Path, names: dict[str, list[str]]) -> None:
    """As providers over HTTP are."""
    names["mcp.example"] = ["10.0.0.1"]
    for url, policy in (("http://127.0.0.1:1/mcp", NOTHING), ("http://mcp.example/mcp", Policy())):
        servers = Servers({}, tmp_path, policy)
        spec = McpProvider.model_validate({"name": "t", "kind": "mcp", "tool": "x", "url": {"value": url}})
        outcome = await McpAttempts(spec, servers.of(spec)).attempt(request(timeout=30))
        await servers.close()

        assert refused(outcome)


async def test_a_proxy_is_asked_for_public_addresses_only(names: dict[str, list[str]]) -> None:
    """What is known to be inside is refused before the proxy hears of it; a name that only it knows is its own
    affair."""

    def script(asked: Asked) -> Reply:
        return Reply({"data": asked.headers["host"]})

    with serving(script) as proxy:
        names["inside.example"] = ["10.0.0.1"]
        environment = {"HTTP_PROXY": proxy.url}
        outcomes = []
        for url in ("http://inside.example", "http://10.0.0.2", "http://only-the-proxy-knows.invalid"):
            attempts = HttpAttempts(provider(url), environment, Path())
            outcomes.append(await attempts.attempt(request(timeout=20)))
            await attempts.close()
        asked = [each.headers["host"] for each in proxy.asked]

    assert refused(outcomes[0])
    assert refused(outcomes[1])
    assert isinstance(outcomes[2], Answer), outcomes[2]
    assert asked == ["only-the-proxy-knows.invalid"]
