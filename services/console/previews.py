"""Files that values and results speak of, as far as they lie in the platform's own folders.

A value may say anything: what is not a plain file below the folders of artifacts and published pages is none, wherever
its links lead. A browser is only ever given types that cannot run anything; all else is shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from agents_sdk.core import artifacts

FOLDERS: Final = ("artifacts", "published", "storage")
SIGNS: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)
"""(offset, bytes, type): by what a file begins with. Artifacts have no names, and names may lie."""
TEXT_BYTES: Final = 64 * 1024
"""Of a text file that are shown."""


class Preview(NamedTuple):
    """A file below the data directory."""

    name: str
    """Its path below the data directory."""
    kind: str
    """image, video or text."""
    size: int


def named_in(text: str) -> Iterator[str]:
    """Everything in a JSON text that may be an artifact, a path or a ``file:`` address."""
    yield from (f"artifacts/{sha256[:2]}/{sha256}" for sha256 in artifacts.named(text))
    try:
        waiting: list[Any] = [json.loads(text)]
    except ValueError:
        return
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str) and one.startswith(("/", "file:")):
            yield unquote(urlsplit(one).path) if one.startswith("file:") else one


def preview(data_dir: Path, name: str) -> Preview | None:
    """The file of that name, if it is one of ours."""
    file = inside(data_dir, name)
    if file is None:
        return None
    kind = media_type(file).split("/")[0] or "text"
    return Preview(str(file.relative_to(data_dir.resolve())), kind, file.stat().st_size)


def media_type(file: Path) -> str:
    """The type of an image or video; empty for everything else."""
    with file.open("rb") as opened:
        head = opened.read(16)
    return next((kind for at, sign, kind in SIGNS if head[at : at + len(sign)] == sign), "")


def inside(data_dir: Path, name: str) -> Path | None:
    """The file, when it lies below one of the folders; None for everything else."""
    root = data_dir.resolve()
    try:
        file = (root / name).resolve()
        ours = any(file.is_relative_to(root / folder) for folder in FOLDERS)
        return file if ours and file.is_file() else None
    except (OSError, ValueError):
        return None


def previews(data_dir: Path, text: str) -> list[Preview]:
    """The files that a text names, each once."""
    found = [preview(data_dir, name) for name in named_in(text)]
    return list(dict.fromkeys(one for one in found if one is not None))
