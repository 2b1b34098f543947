"""Files that values and results speak of: artifacts, wherever they are kept, and those in the platform's own folders.

A value may say anything: what is neither an artifact nor a plain file below the folders is none, wherever its links
lead. A browser is only ever given types that cannot run anything; all else is shown as text. Of either only so much.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from agents_sdk.artifacts import ArtifactStore, UnknownArtifact
from agents_sdk.core import artifacts
from agents_sdk.errors import BackplaneError, Unreachable

FOLDERS: Final = ("published", "storage")
SIGNS: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)
"""(offset, bytes, type): by what a file begins with. Artifacts have no names, and names may lie."""
SIGN_BYTES: Final = 16
TEXT_BYTES: Final = 64 * 1024
"""Of a text file that are shown."""
MEDIA_BYTES: Final = 32 * 2**20
"""Of an image or a film that is shown: it passes through memory."""


class TooLarge(BackplaneError):
    """The file is too large to be shown on a page; ``fields["size"]`` has its bytes."""

    code: ClassVar[str] = "too_large"


class Preview(NamedTuple):
    """A file that a value names."""

    href: str
    title: str
    """Its name; of an artifact the reference."""
    kind: str
    """image, video or text; missing: it is not in the store any more; unreachable: nobody knows."""
    size: int


class PreviewPart(NamedTuple):
    """The part of a file that a browser gets."""

    content: bytes
    media_type: str


class Files:
    """The artifact store and the folders. Its methods may be called from any thread."""

    def __init__(self, data_dir: Path, store: ArtifactStore) -> None:
        self._data_dir = data_dir
        self._store = store

    def previews(self, text: str) -> list[Preview]:
        """The files that a JSON text names, each once."""
        found: dict[str, Preview] = {}
        reachable = True
        for sha256 in artifacts.named(text):
            one = self._artifact(sha256) if reachable else _placeholder(sha256, "unreachable")
            # a store that does not answer is waited for once, not once a file
            reachable = one.kind != "unreachable"
            found[one.href] = one
        for name in paths_in(text):
            if file := inside(self._data_dir, name):
                place = file.relative_to(self._data_dir.resolve())
                with file.open("rb") as opened:
                    kind = kind_of(opened.read(SIGN_BYTES))
                href = f"/files/{quote(str(place))}"
                found[href] = Preview(href, file.name, kind, file.stat().st_size)
        return list(found.values())

    def _artifact(self, sha256: str) -> Preview:
        try:
            head, size = self._store.beginning(sha256, SIGN_BYTES)
        except UnknownArtifact:
            return _placeholder(sha256, "missing")
        except Unreachable:
            return _placeholder(sha256, "unreachable")
        return _placeholder(sha256, kind_of(head), size)

    def artifact(self, sha256: str) -> PreviewPart:
        """An artifact as a browser may have it. Raises UnknownArtifact, ArtifactBroken, Unreachable, TooLarge."""
        head, size = self._store.beginning(sha256, TEXT_BYTES)
        hint = f"`backplane artifacts get {sha256} --out FILE` writes it to a file"
        return shown(head, size, lambda: self._store.get(sha256), hint)

    def file(self, name: str) -> PreviewPart | None:
        """A file of the folders as a browser may have it; None: it is none of them. Raises TooLarge."""
        file = inside(self._data_dir, name)
        if file is None:
            return None
        with file.open("rb") as opened:
            return shown(opened.read(TEXT_BYTES), file.stat().st_size, file.read_bytes, f"it is {file}")


def shown(head: bytes, size: int, whole: Callable[[], bytes], hint: str) -> PreviewPart:
    """An image or a film as it is, everything else as text, cut where it is long."""
    if kind := media_type(head):
        if size > MEDIA_BYTES:
            raise TooLarge(f"the file has {size:,} bytes, too many to be shown", hint=hint, size=size)
        return PreviewPart(whole(), kind)
    cut = f"\n\n… {len(head):,} of {size:,} bytes; {hint}\n".encode() if size > len(head) else b""
    return PreviewPart(head.decode(errors="replace").encode() + cut, "text/plain; charset=utf-8")


def paths_in(text: str) -> Iterator[str]:
    """Everything in a JSON text that may be a path or a ``file:`` address."""
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


def media_type(head: bytes) -> str:
    """The type of an image or video that begins so; empty for everything else."""
    return next((kind for at, sign, kind in SIGNS if head[at : at + len(sign)] == sign), "")


def kind_of(head: bytes) -> str:
    """image, video or text."""
    return media_type(head).split("/")[0] or "text"


def inside(data_dir: Path, name: str) -> Path | None:
    """The file, when it lies below one of the folders; None for everything else."""
    root = data_dir.resolve()
    try:
        file = (root / name).resolve()
        ours = any(file.is_relative_to(root / folder) for folder in FOLDERS)
        return file if ours and file.is_file() else None
    except (OSError, ValueError):
        return None


def _placeholder(sha256: str, kind: str, size: int = 0) -> Preview:
    return Preview(f"/artifacts/{sha256}", artifacts.reference(sha256), kind, size)
