"""One request to a provider and its response: built from templates, proven, sent, read within bounds, redacted."""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from backplane.manifests.egress import NamedPlaces, Policy, said
from backplane.manifests.model import Ask, ClientCredentials, HttpProvider, SecretAuth
from backplane.manifests.template import ABSENT, Scope, template, url_path
from backplane.providers import gate
from backplane.providers.body import ENCODINGS, Allowance, parse, read, text_of
from backplane.providers.classify import FIRST_FAILURE
from backplane.providers.gate import AllowedAddresses
from backplane.providers.http.pages import Turn
from backplane.providers.http.tokens import Tokens
from backplane.providers.redaction import Redaction

USER_AGENT: Final = "backplane-executor"
MAX_PORT: Final = 65_535
UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, read to its end; nothing in it shows a secret."""

    status: int
    reason: str
    headers: httpx.Headers
    url: str
    size: int
    body: Any
    """Its JSON; ABSENT: it is none."""

    @property
    def next_link(self) -> str:
        """The Link header's rel="next", "" without one."""
        links = httpx.Response(self.status, headers=self.headers).links
        return str(links.get("next", {}).get("url", ""))


class Step:
    """A declared request, its templates compiled."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.path = url_path(ask.path)
        self.query = template(ask.query)
        self.headers = template(ask.headers)
        self.body = template(ask.body)

    def content(self, scope: Scope, turn: Turn, headers: dict[str, str]) -> dict[str, Any]:
        """The body as arguments of httpx's ``build_request``; its type goes into the headers."""
        body = self.body(scope)
        if body is None or body is ABSENT:
            return {}
        if self.ask.encoding == "json":
            headers.setdefault("content-type", "application/json")
            return {"content": msgspec.json.encode({**body, **turn.body} if turn.body else body)}
        if self.ask.encoding == "form":
            return {"data": _texts({**body, **turn.body})}
        return {"files": {name: (None, value) for name, value in _texts({**body, **turn.body}).items()}}


class FileStep(Step):
    """A request whose body is a file."""

    def __init__(self, ask: Ask, file: bytes) -> None:
        super().__init__(ask)
        self._file = file

    def content(self, scope: Scope, turn: Turn, headers: dict[str, str]) -> dict[str, Any]:
        """The file as it is."""
        return {"content": self._file}


class Wire:
    """The connections to one provider."""

    def __init__(
        self,
        spec: HttpProvider,
        environment: Mapping[str, str],
        data_dir: Path,
        transport: httpx.AsyncBaseTransport | None,
        policy: Policy = Policy(),  # noqa: B008  # frozen
    ) -> None:
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._transport = transport
        self._policy = policy
        self._client: httpx.AsyncClient | None = None
        self.redaction = Redaction()
        auth = spec.auth
        self._secret = auth if isinstance(auth, SecretAuth) else None
        self._tokens = (
            Tokens(auth, environment, data_dir, self.redaction) if isinstance(auth, ClientCredentials) else None
        )

    async def send(
        self, step: Step, scope: Scope, turn: Turn, allowance: Allowance, going_out: Callable[[bool], None]
    ) -> HttpResponse:
        """The response. ``going_out`` gets True right before the request's first byte is written, and False once that
        request was refused for certain. A token that is refused is fetched again, once. Raises Failed, Unreadable and
        httpx's errors."""
        token = await self._tokens.get(self._http()) if self._tokens else ""
        received = await self._once(step, scope, turn, allowance, token, going_out)
        if received.status == UNAUTHORIZED and self._tokens is not None:
            self._tokens.refuse(token)
            going_out(False)
            received = await self._once(step, scope, turn, allowance, await self._tokens.get(self._http()), going_out)
        return received

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[httpx.Response]:
        """A file, asked for without the secret, as a response whose body is still to be read."""
        request = self._http().build_request("GET", url, headers={"user-agent": USER_AGENT})
        response = await self._http().send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _once(
        self, step: Step, scope: Scope, turn: Turn, allowance: Allowance, token: str, going_out: Callable[[bool], None]
    ) -> HttpResponse:
        request = self._build(step, scope, turn, token)
        self._watch(request, going_out)
        response = await self._http().send(request, stream=True)
        try:
            raw = await read(response, allowance)
        finally:
            await response.aclose()
        kind = response.headers.get("content-type", "")
        text = text_of(raw, kind, lenient=response.status_code >= FIRST_FAILURE)  # only its words are wanted
        body = ABSENT if text is None else self.redaction.tree(parse(self.redaction.text(text)))
        return HttpResponse(
            status=response.status_code,
            reason=response.reason_phrase,
            headers=response.headers,
            url=str(request.url),
            size=len(raw),
            body=body,
        )

    def _watch(self, request: httpx.Request, going_out: Callable[[bool], None]) -> None:
        """Calls ``going_out`` when the first byte of the request is about to be written; at once where the connection
        does not say so."""
        if self._transport is not None:
            going_out(True)
            return

        async def seen(event: str, info: Mapping[str, Any]) -> None:
            # what goes to a proxy first, to ask for a tunnel, is no part of the request
            if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
                going_out(True)

        request.extensions = {**request.extensions, "trace": seen}

    def _build(self, step: Step, scope: Scope, turn: Turn, token: str) -> httpx.Request:
        headers = {"accept": "application/json", "user-agent": USER_AGENT, **_texts(step.headers(scope))}
        query = {**step.query(scope), **turn.query}
        self._prove(headers, query, token)
        content = step.content(scope, turn, headers)
        base = self._spec.request.base_url.resolve(self._environment, self._data_dir).rstrip("/")
        url = turn.url or base + step.path(scope)
        if turn.url:  # a link carries its own parameters; the secret, if it is one, is all that we add
            query = {self._secret.name: query[self._secret.name]} if self._in_query() and self._secret else {}
        if query:
            joined = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in _pairs(query))
            url += ("&" if "?" in url else "?") + joined
        return self._http().build_request(step.ask.method, _checked(url), headers=headers, **content)

    def _in_query(self) -> bool:
        return self._secret is not None and self._secret.kind == "query"

    def _prove(self, headers: dict[str, str], query: dict[str, Any], token: str) -> None:
        if token:
            headers["authorization"] = f"Bearer {token}"
        if self._secret is None:
            return
        auth = self._secret
        secret = self.redaction.learn(auth.secret.resolve(self._environment, self._data_dir))
        if auth.kind == "bearer":
            headers["authorization"] = f"Bearer {secret}"
        elif auth.kind == "basic":
            self.redaction.learn(secret.partition(":")[2])
            headers["authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        elif auth.kind == "header":
            headers[auth.name] = auth.prefix + secret
        else:
            query[auth.name] = secret

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            # both log whole requests: an address may hold a secret, and so do headers
            for name in ("httpx", "httpcore"):
                logging.getLogger(name).setLevel(logging.WARNING)
            limits = httpx.Limits(max_connections=self._spec.concurrency, keepalive_expiry=30.0)
            way = AllowedAddresses(self._policy, self._said, self._environment)
            # one deadline over the whole attempt is set by HttpAttempts; httpx's own would start again for every chunk
            self._client = httpx.AsyncClient(
                transport=self._transport or gate.transport(httpx, way, limits=limits, verify=_trusted()),
                headers={"accept-encoding": ENCODINGS},
                timeout=None,  # noqa: S113  # see above
            )
        return self._client

    def _said(self) -> NamedPlaces:
        """The manifest's addresses now: one that it takes from a file may have changed."""
        return said(self._addresses(), private=self._spec.private)

    def _addresses(self) -> list[str]:
        """All that the manifest itself names."""
        spec = self._spec
        named = [spec.request.base_url, *([spec.reconcile.request.base_url] if spec.reconcile else [])]
        if isinstance(spec.auth, ClientCredentials):
            named.append(spec.auth.token_url)
        return [each.resolve(self._environment, self._data_dir) for each in named]


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: read once, it takes 50 ms and 2 MB."""
    return httpx.create_ssl_context()


def _checked(url: str) -> httpx.URL:
    target = httpx.URL(url)
    if (target.port or 0) > MAX_PORT:
        # asyncio would raise an OverflowError, deep below httpx
        raise httpx.InvalidURL(f"there is no port {target.port}")
    return target


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A parameter that is a list is given once for each of its values."""
    several = [
        (name, each) for name, value in query.items() for each in (value if isinstance(value, list) else [value])
    ]
    return [(name, text) for name, value in several for text in _texts({name: value}).values()]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in values.items()
    }
