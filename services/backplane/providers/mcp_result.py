"""The result of an MCP server's tool → values that keep their shape, files as files. Pure.

The rule, for any text: the ``value`` of a result is its structured content where it has any. Else it is its text as
JSON, where all of it is JSON; else ``{"text": …}``. So ``[]``, ``42``, ``false``, ``{}`` and ``""`` are what they are,
and no content at all is an empty text. Files stand beside it, as ``files`` of the mapping that it is, or of ``{"value":
…}``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backplane.manifests.template import ABSENT
from backplane.providers.body import parse
from backplane.recovery.outcome import Blob


class BrokenFile(ValueError):
    """A file that is no base64."""


def scope(
    structured: Any, blocks: Sequence[Mapping[str, Any]], clean: Callable[[bytes], bytes] = bytes
) -> dict[str, Any]:
    """The names that expressions of a manifest see. They are ``value``, ``structured`` (the structured content, else
    the text as JSON, else null), ``text``, ``content`` (the blocks, their files as artifacts) and ``files``. ``clean``
    takes secrets out of a file. Raises BrokenFile and TooDeep."""
    content = [_with_file(block, clean) for block in blocks]
    files = [block["artifact"] for block in content if "artifact" in block]
    text = "\n".join(str(block.get("text", "")) for block in content if block.get("type") == "text")
    value = structured
    if structured is None:
        parsed = parse(text)
        structured = None if parsed is ABSENT else parsed
        value = {"text": text} if parsed is ABSENT else parsed
    if files:
        value = {**(value if isinstance(value, dict) else {"value": value}), "files": files}
    return {"value": value, "structured": structured, "text": text, "content": content, "files": files}


def _with_file(block: Mapping[str, Any], clean: Callable[[bytes], bytes]) -> dict[str, Any]:
    """The block with its bytes, where it has some, as an artifact to be stored."""
    made = dict(block)
    if block.get("type") in ("image", "audio") and "data" in block:
        made["artifact"] = _blob(made.pop("data"), block, clean)
    resource = block.get("resource")
    if isinstance(resource, Mapping) and "blob" in resource:
        made["resource"] = {name: value for name, value in resource.items() if name != "blob"}
        made["artifact"] = _blob(resource["blob"], resource, clean)
    return made


def _blob(data: Any, named: Mapping[str, Any], clean: Callable[[bytes], bytes]) -> Blob:
    try:
        content = base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError):
        raise BrokenFile("a file in it is no base64") from None
    return Blob(clean(content), str(named.get("mimeType") or "application/octet-stream"))
