"""Where a request comes from and goes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.runtime.origin import LOOPBACK_NAMES, loopback, name_of, refusal

HERE = "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("127.0.0.1:80", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:80", "::1"),
        ("evil.example:80", "evil.example"),
        ("[::1].evil", ""),
        ("[::1]evil:80", ""),
        ("localhost:80:90", ""),
        ("localhost@evil", ""),
        ("localhost evil", ""),
        ("localhost:80/", ""),
        ("127.0.0.1\n", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    """A name or an address and a port; anything else is no host at all."""
    assert name_of(header) == name


def test_loopback_is_told_from_the_rest() -> None:
    """A name that cannot be read counts as the rest."""
    assert [loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [loopback(host) for host in ("0.0.0.0", "192.168.1.4", "example.org", "")] == [False] * 4


@pytest.mark.parametrize(
    ("hosts", "origins", "site", "status"),
    [
        (["localhost:1"], [], "", 0),
        (["127.0.0.1:1"], ["http://127.0.0.1:1"], "same-origin", 0),
        (["localhost:1"], [], "none", 0),
        ([], [], "", 421),
        (["localhost:1", "localhost:1"], [], "", 421),
        (["evil.example:1"], [], "", 421),
        (["127.0.0.1.evil.example"], [], "", 421),
        (["localhost:1"], ["http://localhost:2"], "", 403),
        (["localhost:1"], ["null"], "", 403),
        (["localhost:1"], ["http://[::1"], "", 403),
        (["localhost:1"], ["http://localhost:1", "http://evil"], "", 403),
        (["localhost:1"], [], "cross-site", 403),
        (["localhost:1"], [], "same-site", 403),
    ],
)
def test_requests_of_other_sites_are_refused(hosts: list[str], origins: list[str], site: str, status: int) -> None:
    """By the host they name, the page that sent them, or the browser's own word."""
    found = refusal(hosts, origins, site, HERE)

    assert (found.status if found else 0) == status


def test_a_server_that_others_reach_has_names_that_it_does_not_know() -> None:
    """Its token guards it; a page of another origin is refused all the same."""
    assert refusal(["console.example"], [], "", "0.0.0.0") is None
    assert refusal(["console.example"], ["https://evil.example"], "", "0.0.0.0") is not None


@given(st.text(), st.lists(st.text(), max_size=2), st.text())
def test_no_header_raises_and_no_strange_host_gets_in(host: str, origins: list[str], site: str) -> None:
    """Whatever bytes a header has, there is a decision; who is let in named this machine."""
    found = refusal([host], origins, site, HERE)

    if found is None:
        assert (
            host.lower().strip("[]").rsplit(":", 1)[0].strip("[]") in LOOPBACK_NAMES or host.lower() in LOOPBACK_NAMES
        )
