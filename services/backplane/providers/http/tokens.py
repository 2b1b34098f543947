"""OAuth 2.0 client credentials (RFC 6749 §4.4): one token for all attempts of a provider, fetched when it is needed.

Of attempts that need one at the same moment the first fetches it and the others wait. If the time of the first runs out
meanwhile, the next one fetches. A token that the API refuses is fetched again, once.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from backplane.manifests.model import ClientCredentials
from backplane.providers import classify
from backplane.providers.body import Allowance, Unreadable, parse, read, text_of
from backplane.providers.http.failed import Failed
from backplane.providers.redaction import Redaction
from backplane.recovery.outcome import Failure

EARLY_S: Final = 30.0
"""A token is fetched again before it expires: one that expires on its way is refused. At most a tenth of its life."""
MAX_BYTES: Final = 64 * 1024
"""Of the token endpoint's response."""
SHOWN: Final = 200
"""Characters of the endpoint's own words in a message."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    until: float
    """When it is to be used no more, by the loop's clock."""


class Tokens:
    """The token of one provider."""

    def __init__(
        self, spec: ClientCredentials, environment: Mapping[str, str], data_dir: Path, redaction: Redaction
    ) -> None:
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._redaction = redaction
        self._token: _Token | None = None
        self._fetching = asyncio.Lock()

    async def get(self, client: httpx.AsyncClient) -> str:
        """A token that is good as far as is known. Raises Failed, and httpx's errors."""
        if (token := self._good()) is not None:
            return token
        async with self._fetching:
            if (token := self._good()) is None:
                self._token = await self._fetch(client)
                token = self._token.text
            return token

    def refuse(self, token: str) -> None:
        """The API did not take this token; nothing happens when there is a newer one already."""
        if self._token is not None and self._token.text == token:
            self._token = None

    def _good(self) -> str | None:
        if self._token is None or self._token.until <= asyncio.get_running_loop().time():
            return None
        return self._token.text

    async def _fetch(self, client: httpx.AsyncClient) -> _Token:
        asked_at = asyncio.get_running_loop().time()
        status, retry_after, body = await self._ask(client)
        token = body.get("access_token")
        if status == 200 and isinstance(token, str) and token:
            lifetime = body.get("expires_in")
            if not isinstance(lifetime, int | float):
                return _Token(self._redaction.learn(token), float("inf"))  # then it is good until it is refused
            early = min(EARLY_S, lifetime / 10)
            return _Token(self._redaction.learn(token), asked_at + lifetime - early)
        raise Failed(_failure(status, retry_after, body))

    async def _ask(self, client: httpx.AsyncClient) -> tuple[int, str | None, dict[str, Any]]:
        spec = self._spec
        identity = spec.client_id.resolve(self._environment, self._data_dir)
        secret = self._redaction.learn(spec.client_secret.resolve(self._environment, self._data_dir))
        form = {"grant_type": "client_credentials", "scope": spec.scope, "audience": spec.audience}
        headers = {"accept": "application/json"}
        if spec.place == "body":
            form |= {"client_id": identity, "client_secret": secret}
        else:  # both are encoded as in a form first (RFC 6749 §2.3.1)
            pair = self._redaction.learn(f"{quote_plus(identity)}:{quote_plus(secret)}")
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        url = spec.token_url.resolve(self._environment, self._data_dir)
        fields = {name: value for name, value in form.items() if value}
        async with client.stream("POST", url, data=fields, headers=headers) as response:
            try:
                received = await read(response, Allowance(MAX_BYTES))
                text = text_of(received, response.headers.get("content-type", ""), lenient=True)
                body = parse(text or "")
            except Unreadable as error:
                body = {"error": str(error)}
        return response.status_code, response.headers.get("retry-after"), body if isinstance(body, dict) else {}


def _failure(status: int, retry_after: str | None, body: dict[str, Any]) -> Failure:
    """Nothing but the secret goes to the endpoint, so what it refuses (RFC 6749 §5.2, status 400) is the secret."""
    words = str(body.get("error_description") or body.get("error") or "it gave no token")[:SHOWN]
    error_class = classify.default_class(status) or "unknown"
    return Failure(
        error_class="auth" if error_class == "invalid_request" else error_class,
        code="no_token",
        message=f"no token, HTTP {status}: {words}",
        retry_after=classify.parse_retry_after(retry_after, dt.datetime.now(dt.UTC)),
    )
