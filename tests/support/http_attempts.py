"""One attempt at an HTTP provider that a test declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.model import HttpProvider
from backplane.providers.http import HttpAttempts
from backplane.recovery.outcome import AttemptOutcome, AttemptRequest


def request(
    params: Mapping[str, Any] | None = None, *, timeout: float = 10.0, call_id: str = "call-1"
) -> AttemptRequest:
    """An attempt of run r."""
    return AttemptRequest(
        call_id=CallId(call_id), run_id=RunId("r"), agent="a", attempt=1, params=params or {}, timeout_seconds=timeout
    )


def provider(url: str, **fields: Any) -> HttpProvider:
    """At this address; ``request`` is merged with it."""
    asked = {"base_url": {"value": url}, "path": "/things", "method": "GET", **fields.pop("request", {})}
    return HttpProvider.model_validate({"name": "api", "kind": "http", "request": asked, **fields})


async def attempt(
    url: str,
    params: Mapping[str, Any] | None = None,
    *,
    timeout: float = 10.0,
    environment: Mapping[str, str] | None = None,
    data_dir: Path = Path("/nonexistent"),
    **fields: Any,
) -> AttemptOutcome:
    """The outcome of one attempt; ``fields`` go into the provider."""
    attempts = HttpAttempts(provider(url, **fields), environment or {}, data_dir)
    try:
        return await attempts.attempt(request(params, timeout=timeout))
    finally:
        await attempts.close()
