"""Asks an HTTP provider once: request from templates, one deadline over all of it, response bounded and mapped."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from services.capabilities.model import Auth, HttpProvider
from services.capabilities.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Usage
from services.capabilities.providers import classify
from services.capabilities.template import ABSENT, Scope, expression, template, url_path

USER_AGENT: Final = "backplane-executor"
MAX_PORT: Final = 65_535
_DIRECT: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Never through a proxy that the environment names."""


class _TooLarge(Exception):
    """The response is above the provider's limit."""


class HttpAttempts:
    """Makes attempts at one HTTP provider over one connection pool."""

    def __init__(
        self,
        spec: HttpProvider,
        environment: Mapping[str, str],
        data_dir: Path,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``transport``: what the requests go through instead of the network, for tests."""
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        request, response = spec.request, spec.response
        self._path = url_path(request.path)
        self._query = template(request.query)
        self._headers = template(request.headers)
        self._body = template(request.body)
        self._result = expression(response.result)
        self._json_text = expression(response.json_text) if response.json_text else None
        self._extras = {
            name: expression(text)
            for name in ("model", "input_tokens", "output_tokens")
            if (text := getattr(response, name))
        }

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One request, one outcome; raises only CancelledError."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                return await self._exchange(request)
        except TimeoutError:
            message = f"no complete answer within {request.timeout_seconds:g} s"
            return Failure(error_class="transient", code="timeout", message=message, uncertain=True)
        except _TooLarge:
            message = f"the response is above {self._spec.response.max_bytes} bytes"
            return Failure(error_class="unknown", code="response_too_large", message=message, uncertain=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return classify.of_error(error) or _unmapped(error)
        except UnicodeError:
            message = "a header's value has characters that HTTP does not allow"
            return Failure(error_class="invalid_request", code="unsendable_request", message=message)

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _exchange(self, request: AttemptRequest) -> AttemptOutcome:
        built = self._build(request)
        response = await self._http().send(built, stream=True)
        try:
            raw = await self._read(response)
        finally:
            await response.aclose()
        body = _json(raw)
        failure = classify.of_response(
            response.status_code,
            response.reason_phrase,
            response.headers.get("retry-after"),
            None if body is ABSENT else body,
            self._spec.errors,
            dt.datetime.now(dt.UTC),
        )
        if failure is not None:
            return failure
        if body is ABSENT:
            kind = response.headers.get("content-type", "no content type")
            message = f"HTTP {response.status_code} with {len(raw)} bytes that are no JSON ({kind})"
            return Failure(error_class="transient", code="malformed_response", message=message, uncertain=True)
        return self._answer(body)

    def _build(self, request: AttemptRequest) -> httpx.Request:
        spec = self._spec
        call = {
            "id": request.call_id, "run_id": request.run_id, "agent": request.agent, "attempt": request.attempt
        }  # fmt: skip
        scope: Scope = {"params": request.params, "call": call, "config": spec.config}
        base = spec.request.base_url.resolve(self._environment, self._data_dir).rstrip("/")
        headers = {"accept": "application/json", "user-agent": USER_AGENT, **_texts(self._headers(scope))}
        query = _texts(self._query(scope))
        if spec.auth is not None:
            self._prove(spec.auth, headers, query)
        body = self._body(scope)
        content = None
        if body is not None and body is not ABSENT:
            content = msgspec.json.encode(body)
            headers.setdefault("content-type", "application/json")
        url = base + self._path(scope)
        if query:
            joined = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
            url += ("&" if "?" in url else "?") + joined
        target = httpx.URL(url)
        if (target.port or 0) > MAX_PORT:
            # asyncio would raise an OverflowError, deep below httpx
            raise httpx.InvalidURL(f"there is no port {target.port}")
        return self._http().build_request(spec.request.method, target, headers=headers, content=content)

    def _prove(self, auth: Auth, headers: dict[str, str], query: dict[str, str]) -> None:
        secret = auth.secret.resolve(self._environment, self._data_dir)
        if auth.kind == "bearer":
            headers["authorization"] = f"Bearer {secret}"
        elif auth.kind == "basic":
            headers["authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        elif auth.kind == "header":
            headers[auth.name] = secret
        else:
            query[auth.name] = secret

    async def _read(self, response: httpx.Response) -> bytes:
        limit = self._spec.response.max_bytes
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _TooLarge
        received = bytearray()
        async for chunk in response.aiter_bytes():
            received += chunk
            if len(received) > limit:
                raise _TooLarge
        return bytes(received)

    def _answer(self, body: Any) -> AttemptOutcome:
        extras = {name: find(body) for name, find in self._extras.items()}
        usage = Usage(
            input_tokens=_count(extras.get("input_tokens")), output_tokens=_count(extras.get("output_tokens"))
        )
        inner = body
        if self._json_text is not None:
            text = self._json_text(body)
            inner = _json(text.encode()) if isinstance(text, str) else ABSENT
            if inner is ABSENT:
                message = f"no JSON text at {self._spec.response.json_text!r} of the response"
                return Failure(
                    error_class="transient", code="malformed_response", message=message, uncertain=True, usage=usage
                )
        return Answer(result=self._result(inner), usage=usage, model=str(extras.get("model") or ""))

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=self._spec.concurrency, keepalive_expiry=30.0)
            direct = None if self._transport else {each: httpx.AsyncHTTPTransport(limits=limits) for each in _DIRECT}
            # one deadline over the whole exchange is set by attempt(); httpx's own would start anew for every chunk
            self._client = httpx.AsyncClient(
                transport=self._transport,
                limits=limits,
                mounts=direct,
                timeout=None,  # noqa: S113  # see above
            )
        return self._client


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return ABSENT


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in values.items()
    }


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _unmapped(error: Exception) -> Failure:
    message = f"{type(error).__name__}: {error}"[: classify.QUOTE_LIMIT]
    return Failure(error_class="unknown", code="http_error", message=message, uncertain=True)
