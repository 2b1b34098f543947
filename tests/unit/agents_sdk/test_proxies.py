"""Proxy variables of desktops and companies: loopback is left alone, elsewhere an error names the variable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.errors import Unreachable
from agents_sdk.proxies import ProxyUnusable, on_loopback, proxy_for, unread
from agents_sdk.settings_model import ClickHouse, Registry, Settings
from tests.support.http_server import Asked, Reply, serving

SPELLED: list[dict[str, str]] = [
    {"ALL_PROXY": "socks://127.0.0.1:1080/"},
    {"all_proxy": "socks5://127.0.0.1:1080"},
    {"ALL_PROXY": "socks4a://proxy:1080"},
    {"HTTP_PROXY": "http://127.0.0.1:9"},
    {"http_proxy": "127.0.0.1:9"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1]"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.0/8,[::1],.corp,*.x,::1,"},
    {"HTTPS_PROXY": "ftp://proxy", "HTTP_PROXY": "nonsense://"},
    {"HTTP_PROXY": "http://proxy:99999"},
    {"HTTP_PROXY": "http://[::1"},
    {"NO_PROXY": "[fe80::1%eth0],[", "ALL_PROXY": "socks://x"},
]


@pytest.fixture(params=SPELLED, ids=str)
def spelled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    found: dict[str, str] = request.param
    return found


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_loopback_goes_through_no_proxy(spelled: dict[str, str], host: str) -> None:
    """Whatever the variables say, readable or not."""
    assert proxy_for(f"http://{host}:8080/x", os.environ) is None
    assert proxy_for(f"https://{host}", os.environ) is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ALL_PROXY": "socks://127.0.0.1:1080"}, "$ALL_PROXY"),
        ({"all_proxy": "socks4://x:1"}, "$all_proxy"),
        ({"HTTPS_PROXY": "gopher://x"}, "$HTTPS_PROXY"),
        ({"https_proxy": "http://x:99999"}, "$https_proxy"),
        ({"HTTPS_PROXY": "http://[::1"}, "$HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(variables: dict[str, str], named: str) -> None:
    """And the next step is told."""
    with pytest.raises(ProxyUnusable) as caught:
        proxy_for("https://api.example.com", variables)

    assert named in caught.value.message
    assert "NO_PROXY" in caught.value.hint


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("api.example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("*.example.com", "api.example.com", True),
        ("example.com", "api.example.com", True),
        ("ample.com", "api.example.com", False),
        ("example.com:443", "api.example.com", True),
        ("example.com:80", "api.example.com", False),
        ("https://example.com", "api.example.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("[fd00::1]", "[fd00::1]", True),
        ("fd00::/8", "[fd00::2]", True),
        ("*", "anything", True),
        ("a b,c", "b", True),
        ("", "b", False),
    ],
)
def test_exceptions_are_read_in_every_spelling(no_proxy: str, host: str, direct: bool) -> None:
    """Names, domains, addresses, networks, ports."""
    found = proxy_for(f"https://{host}/", {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy})

    assert (found is None) is direct
    assert found is None or found == ("http://proxy:3128", "HTTPS_PROXY")


def test_the_nearest_variable_counts() -> None:
    """The scheme's own before the one for all; small letters before large; none of a CGI script's client."""
    both = {"ALL_PROXY": "http://all:1", "https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:1"}

    assert proxy_for("https://x", both) == ("http://small:1", "https_proxy")
    assert proxy_for("http://x", both) == ("http://all:1", "ALL_PROXY")
    assert proxy_for("http://x", {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}) is None


@given(st.text(), st.text(), st.sampled_from(["http", "https"]))
def test_no_spelling_breaks_what_is_asked_of_loopback(value: str, exceptions: str, scheme: str) -> None:
    """Nor elsewhere: a proxy, none, or an error that names it."""
    environment = {"ALL_PROXY": value, "NO_PROXY": exceptions}
    assert proxy_for(f"{scheme}://127.0.0.1:1", environment) is None
    with contextlib.suppress(ProxyUnusable):
        proxy_for(f"{scheme}://api.example.com", environment)
    assert on_loopback("127.0.0.1")


def registry(url: str) -> Any:
    from agents_sdk.wire.registry import Registry as Client

    with Client(Settings(registry=Registry(url=url))) as client:
        return client.subjects()


def health(url: str) -> Any:
    from backplane.store.queries import health as ask

    return ask(Settings(clickhouse=ClickHouse(url=url)))["lag"]


def collector(url: str) -> Any:
    from backplane.otel.export import collector as made

    return made(url)([])


async def test_every_client_of_ours_reaches_loopback(spelled: dict[str, str]) -> None:
    """The registry, the store, the collector, providers."""
    from backplane.recovery.outcome import Answer
    from backplane.store.queries import connect_store
    from tests.support.http_attempts import attempt

    def script(asked: Asked) -> Reply:
        return Reply({"/subjects": ["s"], "/health": {"lag": {"a": 1}}}.get(asked.path, {"ok": 1}))

    with serving(script) as server:
        assert registry(server.url) == {"s"}
        assert health(server.url) == {"a": 1}
        assert collector(server.url) is True
        outcome = await attempt(server.url, environment=os.environ)
        before = len(server.asked)
        with pytest.raises(Unreachable):  # it is no ClickHouse, but it was asked
            connect_store(Settings(clickhouse=ClickHouse(url=server.url)))
        assert len(server.asked) > before

    assert isinstance(outcome, Answer), outcome


@pytest.mark.parametrize("ask", [registry, collector])
def test_every_client_of_ours_names_the_variable(ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what it asks is elsewhere."""
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080")
    with pytest.raises(ProxyUnusable, match=r"\$ALL_PROXY names a proxy of the kind 'socks'"):
        ask("http://registry.example.com")


async def test_a_provider_elsewhere_names_the_variable() -> None:
    """As a failure that is certain: nothing was sent."""
    from backplane.recovery.outcome import Failure
    from tests.support.http_attempts import attempt

    outcome = await attempt("https://api.example.com", environment={"ALL_PROXY": "socks://127.0.0.1:1080"})

    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.uncertain) == ("proxy_unusable", False)
    assert "$ALL_PROXY" in outcome.message


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a library has read it."""
    monkeypatch.setenv("HTTP_PROXY", "proxy:1")
    monkeypatch.setenv("NO_PROXY", "[::1]")
    before = dict(os.environ)
    with unread("http://elsewhere.example"):
        assert os.environ["http_proxy"] == "http://proxy:1"
        assert "NO_PROXY" not in os.environ

    assert dict(os.environ) == before
