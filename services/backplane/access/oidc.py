"""People known by an OpenID Connect provider: the authorization code flow with PKCE, and bearer tokens of programs.

Lives here: what is sent, and decisions over what comes back. Specifications: OpenID Connect Core 1.0 §3.1, RFC 7636
(PKCE), RFC 9700 (best current practice). Signatures and claims are checked by joserfc.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from agents_sdk.errors import BackplaneError
from agents_sdk.settings_model import Oidc
from backplane.access.principals import ROLES, Principal, workflows_problem
from backplane.runtime.origin import loopback

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a public key only: a shared secret or no signature at all is never taken."""
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 2**20
"""Of an answer of the provider."""
KEYS_S: Final = 300.0
"""How old the provider's keys may be."""
AGAIN_S: Final = 10.0
"""A key that is not known is looked for at most this often: strangers choose the names of keys."""
LEEWAY_S: Final = 60
LOGIN_S: Final = 600
"""How long a person may take to log in at the provider."""


class LoginFailed(BackplaneError):
    """The provider did not say who it is, or said it of somebody who has no role here."""

    code: ClassVar[str] = "auth"


class Login(msgspec.Struct, frozen=True):
    """A login that was begun: kept by the browser, in a cookie that we signed."""

    state: str
    nonce: str
    verifier: str
    back: str
    until: float


def begin(back: str, now: float) -> Login:
    """A login that ends at the page ``back``; ``now`` in seconds UTC."""
    return Login(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), back, now + LOGIN_S)


def authorization_url(endpoint: str, oidc: Oidc, login: Login, redirect: str) -> str:
    """Where the browser is sent."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(login.verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": oidc.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(oidc.scopes),
        "state": login.state,
        "nonce": login.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"


def principal_of(claims: Mapping[str, Any], oidc: Oidc) -> Principal:
    """The principal that the claims name: the highest role that one of their values has, and the workflows of a viewer.

    Raises:
        LoginFailed: no value has a role here; a viewer that must be restricted names no workflows.
    """
    name = claims.get("preferred_username") or claims.get("email") or claims.get("sub")
    named = _texts(claims.get(oidc.role_claim))
    roles = [oidc.roles[value] for value in named if oidc.roles.get(value) in ROLES]
    if not roles or not isinstance(name, str):
        raise LoginFailed(
            f"{name!r} has no role here: none of its {oidc.role_claim} {named[:10]} is in access.oidc.roles",
            hint="an operator maps a value of that claim to viewer, operator or admin",
        )
    role = max(roles, key=ROLES.index)
    workflows = None
    if oidc.workflows_claim and role == "viewer":
        workflows = tuple(_texts(claims.get(oidc.workflows_claim)))
        if problem := workflows_problem(role, workflows):
            raise LoginFailed(f"{name!r}: {problem}")
    return Principal(f"oidc:{name}", role, workflows)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


class Provider:
    """The provider that the settings name. May be asked from any thread; it is reached when first asked for."""

    def __init__(self, oidc: Oidc) -> None:
        _check_url(oidc.issuer, "access.oidc.issuer")
        self._oidc = oidc
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: Any = None
        self._keys_at = float("-inf")

    def begin(self, login: Login, redirect: str) -> str:
        """Where the browser is sent. Raises LoginFailed where the provider does not answer."""
        return authorization_url(self._endpoint("authorization_endpoint"), self._oidc, login, redirect)

    def finish(self, login: Login, code: str, redirect: str) -> Principal:
        """The person that logged in. Raises LoginFailed."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": self._oidc.client_id,
            "code_verifier": login.verifier,
        }
        if secret := _secret(self._oidc.client_secret_file):
            form["client_secret"] = secret
        answer = _asked("POST", self._endpoint("token_endpoint"), form)
        claims = self._claims(str(answer.get("id_token", "")), self._oidc.client_id)
        if not secrets.compare_digest(str(claims.get("nonce", "")), login.nonce):
            raise LoginFailed("the answer belongs to another login", hint="begin again")
        return principal_of(claims, self._oidc)

    def bearer(self, token: str) -> Principal:
        """The principal of a program's token. Raises LoginFailed."""
        return principal_of(self._claims(token, self._oidc.audience or self._oidc.client_id), self._oidc)

    def _claims(self, token: str, audience: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": self._oidc.issuer},
            "aud": {"essential": True, "value": audience},
            "exp": {"essential": True},
        }
        try:
            found = self._decoded(token)
            jwt.JWTClaimsRegistry(leeway=LEEWAY_S, **wanted).validate(found.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise LoginFailed(
                f"the token does not hold: {type(error).__name__}: {error}", hint="log in again"
            ) from error
        return dict(found.claims)

    def _decoded(self, token: str) -> Any:
        """The token, its signature checked; keys are fetched again when none fits, as after a rotation."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        allowed = list(ALGORITHMS)
        try:
            return jwt.decode(token, self._key_set(KEYS_S), algorithms=allowed)
        except (JoseError, ValueError):
            return jwt.decode(token, self._key_set(AGAIN_S), algorithms=allowed)

    def _key_set(self, oldest_s: float) -> Any:
        from joserfc.jwk import KeySet

        with self._lock:
            if self._keys is None or time.monotonic() - self._keys_at > oldest_s:
                self._keys = KeySet.import_key_set(_asked("GET", self._endpoint("jwks_uri", locked=True)))  # type: ignore[arg-type]  # joserfc checks
                self._keys_at = time.monotonic()
            return self._keys

    def _endpoint(self, name: str, locked: bool = False) -> str:
        if not locked:
            with self._lock:
                return self._endpoint(name, locked=True)
        if not self._metadata:
            found = _asked("GET", f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self._oidc.issuer:
                raise LoginFailed(f"{self._oidc.issuer} calls itself {found.get('issuer')!r}")
            self._metadata = found
        url = str(self._metadata.get(name, ""))
        _check_url(url, name)
        return url


def _asked(method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A JSON object from the provider. Raises LoginFailed."""
    import httpx

    try:
        with httpx.stream(method, url, data=form, timeout=TIMEOUT_S, follow_redirects=False) as answer:
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise LoginFailed(f"{url} answers with more than {MAX_BYTES} bytes")
            found = msgspec.json.decode(body, type=dict[str, Any]) if answer.is_success else {}
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as error:
        raise LoginFailed(f"{url} does not answer as it should: {type(error).__name__}", hint="try again") from error
    if not found:
        raise LoginFailed(f"{url} answers with status {answer.status_code}", hint="try again")
    return found


def _check_url(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback(parts.hostname or "")):
        raise LoginFailed(f"{name} is {url!r}; it has to be https", hint="set access.oidc.issuer")


def _secret(file: Path | None) -> str:
    return file.read_text().strip() if file else ""
