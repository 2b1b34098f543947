"""Files that a provider made: fetched or decoded within bounds, and kept as artifacts."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import io
from typing import Any

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.errors import Unreachable
from backplane.manifests.model import ArtifactRule
from backplane.manifests.template import expression
from backplane.providers import classify
from backplane.providers.body import Allowance, TooLarge, read
from backplane.providers.http.failed import Failed
from backplane.providers.http.pages import same_origin
from backplane.providers.http.wire import Wire
from backplane.recovery.outcome import Failure


async def keep(rule: ArtifactRule, body: Any, wire: Wire, base_url: str, store: ArtifactStore) -> dict[str, Any]:
    """The file that the response names or holds, as results of capabilities have it. That is ``artifact`` (uri, sha256,
    mime, size), and of an image ``width`` and ``height``. Raises Failed, and httpx's errors."""
    given = expression(rule.url or rule.base64)(body)
    if not isinstance(given, str) or not given:
        raise Failed(_broken(f"no file at {rule.url or rule.base64!r} of the response"))
    if rule.url:
        content, mime = await _fetch(rule, given, wire, base_url)
    else:
        content, mime = _decoded(rule, given), rule.mime
    return await asyncio.to_thread(_kept, wire.redaction.raw(content), mime, store)


async def _fetch(rule: ArtifactRule, url: str, wire: Wire, base_url: str) -> tuple[bytes, str]:
    """The file at the address. Others than https and the provider's own are refused: a response must not make the
    executor read from hosts that only it can reach."""
    if not url.startswith("https://") and not same_origin(url, base_url):
        raise Failed(_broken("its file is neither at an https address nor at the provider's own origin"))
    allowance = Allowance(rule.max_bytes)
    async with wire.download(url) as response:
        if response.status_code != 200:
            retry_after = response.headers.get("retry-after")
            failure = classify.of_response(
                response.status_code, response.reason_phrase, retry_after, None, [], dt.datetime.now(dt.UTC)
            )
            raise Failed(failure or _broken(f"its file cannot be fetched: HTTP {response.status_code}"))
        try:
            received = await read(response, allowance)
        except TooLarge:
            raise Failed(_too_large(rule)) from None
    return received, rule.mime or response.headers.get("content-type", "").partition(";")[0].strip()


def _decoded(rule: ArtifactRule, text: str) -> bytes:
    if len(text) * 3 // 4 > rule.max_bytes:
        raise Failed(_too_large(rule))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Failed(_broken(f"no base64 at {rule.base64!r} of the response")) from None


def _kept(content: bytes, mime: str, store: ArtifactStore) -> dict[str, Any]:
    """Stores the bytes. Raises Failed for none, for an image that cannot be read, and where they cannot be stored."""
    if not content:
        raise Failed(_broken("its file is empty"))
    size = _image_size(content) if mime.startswith("image/") and mime != "image/svg+xml" else {}
    try:
        artifact = store.put(content, mime or "application/octet-stream")
    except Unreachable as error:
        raise Failed(Failure(error_class="outage", code="artifact_store", message=error.message)) from error
    return {"artifact": artifact.descriptor(), **size}


def _image_size(content: bytes) -> dict[str, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            return {"width": image.width, "height": image.height}
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise Failed(_broken("its file is no image that can be read")) from None


def _broken(message: str) -> Failure:
    return Failure(error_class="transient", code="broken_artifact", message=message)


def _too_large(rule: ArtifactRule) -> Failure:
    return Failure(
        error_class="unknown", code="artifact_too_large", message=f"its file is above {rule.max_bytes} bytes"
    )
