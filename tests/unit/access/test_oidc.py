"""People from an OpenID Connect provider: real signatures over loopback."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from agents_sdk.settings_model import Oidc
from backplane.access.oidc import Login, LoginFailed, Provider, begin, principal_of
from backplane.access.principals import Principal
from tests.support.oidc_provider import OidcProvider, oidc_provider, shared_secret

HERE = "http://127.0.0.1:1/login/oidc/done"


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as found:
        yield found


def _oidc(provider: OidcProvider) -> Oidc:
    roles = {"readers": "viewer", "ops": "operator", "root": "admin"}
    return Oidc(issuer=provider.issuer, client_id="backplane", roles=roles)


def _logged_in(provider: OidcProvider, login: Login | None = None) -> Principal:
    ours = Provider(_oidc(provider))
    login = login or begin("/", 0.0)
    back = httpx.get(ours.begin(login, HERE)).headers["location"]
    return ours.finish(login, httpx.URL(back).params["code"], HERE)


def test_a_person_logs_in_with_the_role_of_its_groups(provider: OidcProvider) -> None:
    """By code, PKCE and nonce."""
    assert _logged_in(provider) == Principal("oidc:anna", "viewer")


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "http://127.0.0.1:1"},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"groups": ["strangers"]},
        {"groups": None},
        {"groups": {"readers": True}},
    ],
)
def test_an_answer_that_does_not_hold_lets_nobody_in(provider: OidcProvider, changed: dict[str, object]) -> None:
    """Another login's, another issuer's, another client's, an old one, or of somebody without a role."""
    provider.changed = changed

    with pytest.raises(LoginFailed):
        _logged_in(provider)


def test_a_code_without_its_verifier_is_worth_nothing(provider: OidcProvider) -> None:
    """Who steals the code from an address does not have it."""
    ours, login = Provider(_oidc(provider)), begin("/", 0.0)
    code = httpx.URL(httpx.get(ours.begin(login, HERE)).headers["location"]).params["code"]

    with pytest.raises(LoginFailed):
        ours.finish(begin("/", 0.0), code, HERE)


def test_programs_show_a_token_that_the_provider_signed(provider: OidcProvider) -> None:
    """By a public key of its own: no shared secret, no missing signature, no other key."""
    ours = Provider(_oidc(provider))

    assert ours.bearer(provider.token(groups=["ops", "readers"])) == Principal("oidc:anna", "operator")
    header, claims, _ = provider.token().split(".")
    with oidc_provider() as other:
        for forged in (
            provider.token("HS256", shared_secret(provider)),
            f"eyJhbGciOiJub25lIn0.{claims}.",
            f"{header}.{claims}.",
            f"{header}.{claims}.AAAA",
            provider.token(key=other.key),
            "a.b.c",
            "..",
            "",
        ):
            with pytest.raises(LoginFailed):
                ours.bearer(forged)


def test_a_rotated_key_is_found(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are fetched again when none fits, but not for every stranger's token."""
    ours = Provider(_oidc(provider))
    ours.bearer(provider.token())
    with oidc_provider() as other:
        provider.key = other.key
    with pytest.raises(LoginFailed):
        ours.bearer(provider.token())
    monkeypatch.setattr("backplane.access.oidc.AGAIN_S", 0.0)

    assert ours.bearer(provider.token()).name == "oidc:anna"


@pytest.mark.parametrize("issuer", ["http://login.example.org", "ftp://127.0.0.1", "127.0.0.1"])
def test_a_provider_is_reached_by_https_alone(issuer: str) -> None:
    """But for one on this machine."""
    with pytest.raises(LoginFailed, match="https"):
        Provider(Oidc(issuer=issuer, client_id="x"))


def test_a_viewer_is_restricted_by_a_claim() -> None:
    """Which names its workflows; one that names none sees nothing."""
    oidc = Oidc(issuer="https://x", client_id="x", roles={"r": "viewer", "o": "operator"}, workflows_claim="flows")

    assert principal_of({"sub": "a", "groups": "r", "flows": ["content"]}, oidc).workflows == ("content",)
    assert principal_of({"sub": "a", "groups": ["r"]}, oidc).workflows == ()
    assert principal_of({"sub": "a", "groups": ["r", "o"], "flows": ["content"]}, oidc).workflows is None
