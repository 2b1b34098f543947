"""OAuth 2.0 client credentials against a real token endpoint and API on the loopback."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from backplane.providers.http import HttpAttempts
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.eventually import assert_soon
from tests.support.http_attempts import provider, request
from tests.support.http_server import Asked, Reply, Server, serving

SECRET = "cl1ent+s3cret"
ENVIRONMENT = {"CLIENT_SECRET": SECRET}


class Api:
    """Issues numbered tokens and takes only the newest."""

    def __init__(self) -> None:
        self.issued = 0
        self.expires_in: Any = 3600
        self.token_reply: Reply | None = None
        self.accepts: int | None = None
        """The number of the token that is good; None: the newest."""
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/token":
            self.gate.wait(10)
            self.issued += 1
            if self.token_reply is not None:
                return self.token_reply
            token = {"access_token": f"token-{self.issued}-abcdef", "token_type": "Bearer"}
            return Reply(token | ({"expires_in": self.expires_in} if self.expires_in is not None else {}))
        good = self.accepts or self.issued
        if asked.headers.get("authorization") != f"Bearer token-{good}-abcdef":
            return Reply({"message": f"bad token {asked.headers.get('authorization')}"}, status=401)
        return Reply({"ok": True})


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[Server]:
    with serving(api) as running:
        yield running


def attempts(server: Server, **auth: Any) -> HttpAttempts:
    """A provider that needs a token."""
    declared = {
        "kind": "oauth2_client_credentials",
        "token_url": {"value": f"{server.url}/token"},
        "client_id": {"value": "me"},
        "client_secret": {"env": "CLIENT_SECRET"},
        **auth,
    }
    return HttpAttempts(provider(server.url, auth=declared), ENVIRONMENT, Path("/nonexistent"))


def fetches(server: Server) -> list[Asked]:
    return [asked for asked in server.asked if asked.path == "/token"]


async def test_a_token_is_fetched_once_for_all_attempts(server: Server, api: Api) -> None:
    """Fifty at the same moment wait for one token, later ones find it."""
    api.gate.clear()
    oauth = attempts(server)
    waiting = [asyncio.ensure_future(oauth.attempt(request())) for _ in range(50)]

    async def fetching() -> None:
        assert fetches(server)

    await assert_soon(fetching)
    api.gate.set()

    outcomes = [*await asyncio.gather(*waiting), await oauth.attempt(request())]
    await oauth.close()

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert len(fetches(server)) == 1


@pytest.mark.parametrize("place", ["basic", "body"])
async def test_the_client_proves_itself_where_the_server_wants_it(server: Server, place: str) -> None:
    """In a header, each part encoded as in a form (RFC 6749 §2.3.1), or in the form."""
    oauth = attempts(server, place=place, scope="read write", audience="things")
    await oauth.attempt(request())
    await oauth.close()

    [fetch] = fetches(server)
    form = {name: values[0] for name, values in parse_qs(fetch.body.decode()).items()}
    assert fetch.headers["content-type"] == "application/x-www-form-urlencoded"
    assert {name: form[name] for name in ("grant_type", "scope", "audience")} == {
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "things",
    }
    if place == "body":
        assert (form["client_id"], form["client_secret"]) == ("me", SECRET)
        assert "authorization" not in fetch.headers
    else:
        assert base64.b64decode(fetch.headers["authorization"].removeprefix("Basic ")) == b"me:cl1ent%2Bs3cret"
        assert "client_secret" not in form


async def test_a_refused_token_is_fetched_anew_once(server: Server, api: Api) -> None:
    """The attempt goes on with the new one; a second refusal is a failure of class auth."""
    oauth = attempts(server)
    await oauth.attempt(request())
    api.accepts = 2

    renewed = await oauth.attempt(request())
    api.accepts = 99
    refused = await oauth.attempt(request())
    await oauth.close()

    assert isinstance(renewed, Answer)
    assert isinstance(refused, Failure)
    assert (refused.error_class, refused.code) == ("auth", "http_401")
    assert len(fetches(server)) == 3


async def test_many_refusals_of_one_token_fetch_one(server: Server, api: Api) -> None:
    """Who is refused with an old token takes the new one that another has fetched meanwhile."""
    oauth = attempts(server)
    await oauth.attempt(request())
    api.accepts = 2

    outcomes = await asyncio.gather(*(oauth.attempt(request()) for _ in range(30)))
    await oauth.close()

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert len(fetches(server)) == 2


@pytest.mark.parametrize(("expires_in", "fetched"), [(0, 2), (3600, 1), (None, 1), ("soon", 1)])
async def test_a_token_is_used_until_it_expires(server: Server, api: Api, expires_in: Any, fetched: int) -> None:
    """One without a lifetime until it is refused."""
    api.expires_in = expires_in
    oauth = attempts(server)
    await oauth.attempt(request())
    await oauth.attempt(request())
    await oauth.close()

    assert len(fetches(server)) == fetched


@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        (Reply({"error": "invalid_client", "error_description": f"no {SECRET}"}, status=401), "auth"),
        (Reply({"error": "invalid_scope"}, status=400), "auth"),
        (Reply({"error": "slow down"}, status=429, headers={"retry-after": "7"}), "rate_limited"),
        (Reply(b"<html>down</html>", status=503), "outage"),
        (Reply(b"<html>login</html>"), "unknown"),
        (Reply({"token": "elsewhere"}), "unknown"),
        (Reply([1, 2]), "unknown"),
    ],
)
async def test_without_a_token_nothing_is_sent(server: Server, api: Api, reply: Reply, error_class: str) -> None:
    """The failure has its class and is certain, and quotes no secret."""
    api.token_reply = reply
    oauth = attempts(server)
    outcome = await oauth.attempt(request())
    await oauth.close()

    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.code, outcome.uncertain) == (error_class, "no_token", False)
    assert outcome.retry_after == (7.0 if error_class == "rate_limited" else None)
    assert SECRET not in outcome.message
    assert {asked.path for asked in server.asked} == {"/token"}


async def test_a_token_endpoint_that_hangs_costs_one_attempt_its_time(server: Server, api: Api) -> None:
    """The next attempt fetches for itself; neither may have had an effect."""
    api.gate.clear()
    oauth = attempts(server)
    outcomes: list[AttemptOutcome] = [await oauth.attempt(request(timeout=0.1))]
    api.gate.set()
    outcomes.append(await oauth.attempt(request()))
    await oauth.close()

    hung, answered = outcomes
    assert isinstance(hung, Failure)
    assert (hung.error_class, hung.code, hung.uncertain) == ("transient", "timeout", False)
    assert isinstance(answered, Answer)
