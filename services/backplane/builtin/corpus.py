"""The searched documents: the descriptions of all installed Python distributions, or a folder of the user's own
documents."""

from __future__ import annotations

import hashlib
import importlib.metadata
import site
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Final, cast

from backplane.builtin import prose

KINDS: Final = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "rst",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
}
MAX_FILE_BYTES: Final = 5 * 1024 * 1024
"""Larger files are logs or data, not documents; reading them would stall the first search."""
LINK_LABELS: Final = ("home", "doc", "source", "repo", "github", "code")
FORMAT: Final = "4"
"""Part of every fingerprint; raised when documents are cut differently, so that old indexes are built again."""


class CorpusError(Exception):
    """The corpus cannot be read; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that can be found."""

    id: str
    title: str
    url: str
    text: str
    """Prose, paragraphs with an empty line between."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents that are read only when an index must be built; the fingerprint changes when they do."""

    fingerprint: str
    folder: Path | None
    """None: the installed distributions."""

    def documents(self) -> Iterator[Document]:
        """All documents, in a fixed order."""
        yield from _distributions() if self.folder is None else _files(self.folder)


def open_corpus(folder: str) -> Corpus:
    """The corpus in the folder, or of the installed distributions for "". Raises CorpusError."""
    if not folder:
        names = sorted(f"{name}=={found.version}" for name, found in _installed().items())
        return Corpus(_digest(["distributions", *names]), None)
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise CorpusError(f"no such folder: {str(path)!r}; name a folder of .md, .rst, .txt or .html files")
    stats = [(each, each.stat()) for each in _document_paths(path)]
    if not stats:
        raise CorpusError(f"no document in {str(path)!r}; it needs at least one of {', '.join(sorted(KINDS))}")
    marks = [f"{each.relative_to(path)}:{stat.st_size}:{stat.st_mtime_ns}" for each, stat in stats]
    return Corpus(_digest([str(path), *marks]), path)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join([FORMAT, *parts]).encode()).hexdigest()[:32]


def _document_paths(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in KINDS and path.is_file() and path.stat().st_size <= MAX_FILE_BYTES
    )


def _files(folder: Path) -> Iterator[Document]:
    for path in _document_paths(folder):
        raw = path.read_text(encoding="utf-8", errors="replace")
        found = prose.paragraphs(raw, KINDS[path.suffix.lower()])
        name = path.relative_to(folder).as_posix()
        if found:
            title = path.stem.replace("_", " ").replace("-", " ").strip()
            yield Document(name, title or name, path.as_uri(), "\n\n".join(found))


def _installed() -> dict[str, importlib.metadata.Distribution]:
    """Distributions by normalised name: of this environment, then of the interpreter it was made from."""
    places = [*sys.path, *site.getsitepackages([sys.base_prefix])]
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions(path=[place for place in places if place]):
        name = str(_fields(distribution).get("Name") or "").lower().replace("_", "-")
        if name:
            found.setdefault(name, distribution)
    return dict(sorted(found.items()))


def _fields(distribution: importlib.metadata.Distribution) -> Message:
    """The headers of METADATA, read with ``get``. The backport importlib_metadata, once imported, replaces the standard
    library's reader; then ``[]`` raises for a header that is missing."""
    return cast(Message, distribution.metadata)


def _distributions() -> Iterator[Document]:
    for name, distribution in _installed().items():
        metadata = _fields(distribution)
        summary = str(metadata.get("Summary") or "").strip()
        # the long description is the body of METADATA, or a header in files of old tools
        payload = metadata.get_payload()
        description = str(metadata.get("Description") or (payload if isinstance(payload, str) else "") or "")
        content_type = str(metadata.get("Description-Content-Type") or "").lower()
        kind = "markdown" if "markdown" in content_type else "text" if "plain" in content_type else "rst"
        found = prose.paragraphs(description, kind)
        if summary and summary.upper() != "UNKNOWN":
            found.insert(0, summary if summary.endswith((".", "!", "?")) else summary + ".")
        if found:
            identity = f"pkg:pypi/{name}@{distribution.version}"
            links = [f"homepage,{metadata.get('Home-page') or ''}", *(metadata.get_all("Project-URL") or [])]
            yield Document(identity, str(metadata.get("Name")), _best_link(links) or identity, "\n\n".join(found))


def _best_link(links: Iterable[str]) -> str:
    """Of "label, url" pairs the one a reader wants: the home page, then documentation, then the source."""
    ranked: list[tuple[int, str]] = []
    for link in links:
        label, _, url = link.partition(",")
        if url.strip().startswith(("http://", "https://")):
            rank = next((rank for rank, word in enumerate(LINK_LABELS) if word in label.lower()), len(LINK_LABELS))
            ranked.append((rank, url.strip()))
    return min(ranked, default=(0, ""), key=lambda pair: pair[0])[1]
