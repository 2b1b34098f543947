"""Files by their content, outside the log (claim check): events carry a reference, the bytes are here.

A file is written once, whole or not at all, under the SHA-256 of its content. A reader checks it against that hash: a
reference means the same bytes for ever. Without a URL the files are in ``artifacts`` below the data directory. With one
they are wherever obstore reaches: ``s3://bucket/prefix`` with the usual ``AWS_…`` variables, ``gs://``, ``az://``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from agents_sdk.addresses import shown
from agents_sdk.core import artifacts
from agents_sdk.errors import BackplaneError, Unreachable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FOLDER: Final = "artifacts"
RETRIES: Final = 3
PATIENCE: Final = timedelta(seconds=20)
"""For all tries of one request at a remote store; obstore's own three minutes outlive most calls."""


class UnknownArtifact(BackplaneError):
    """No artifact of this content is in the store; ``fields["sha256"]`` names it."""

    code: ClassVar[str] = "unknown_artifact"


class ArtifactBroken(BackplaneError):
    """The content under ``fields["sha256"]`` is another one: the store was damaged or tampered with."""

    code: ClassVar[str] = "artifact_broken"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file."""

    sha256: str
    size: int
    """Bytes."""
    mime: str
    event_id: str = ""
    """Of the fact that says that an agent put it; empty where none does."""

    @property
    def uri(self) -> str:
        """The reference that payloads carry."""
        return artifacts.reference(self.sha256)

    def descriptor(self) -> dict[str, Any]:
        """The form in which results of capabilities hold it."""
        return {"mime": self.mime, "sha256": self.sha256, "size": self.size, "uri": self.uri}


class ArtifactStore:
    """Puts and gets files by content. Nothing is opened before the first use; safe to use from threads."""

    def __init__(self, data_dir: Path, url: str = "") -> None:
        self._folder: Final = None if url else data_dir / FOLDER
        self._url = url
        self._opened: ObjectStore | None = None

    def put(self, content: bytes, mime: str) -> Artifact:
        """Keeps the bytes; equal bytes are kept once. Raises Unreachable."""
        import obstore

        sha256 = hashlib.sha256(content).hexdigest()
        with _driver_errors(sha256):
            if not self._has(sha256):
                # folders have no room for it, and obstore refuses it there
                attributes: Any = {"Content-Type": mime} if self._folder is None else None
                obstore.put(self._store(), _place(sha256), content, attributes=attributes)
        return Artifact(sha256, len(content), mime)

    def get(self, reference: str) -> bytes:
        """The bytes of ``artifact:<sha256>`` or a bare hash. Raises UnknownArtifact, ArtifactBroken, Unreachable."""
        import obstore

        sha256 = self._digest(reference)
        with _driver_errors(sha256):
            content = bytes(obstore.get(self._store(), _place(sha256)).bytes())
        if hashlib.sha256(content).hexdigest() != sha256:
            hint = "the store was damaged; bring the file back from a backup, or let the call run again"
            raise ArtifactBroken(f"artifact {sha256} is not what was stored", hint=hint, sha256=sha256)
        return content

    def beginning(self, reference: str, count: int) -> tuple[bytes, int]:
        """The first bytes, at most ``count``, not checked against the hash; and the size of the whole. Raises
        UnknownArtifact, Unreachable."""
        import obstore

        sha256 = self._digest(reference)
        size = self.size(sha256)
        if not size:
            return b"", 0
        with _driver_errors(sha256):
            return bytes(obstore.get_range(self._store(), _place(sha256), start=0, length=min(count, size))), size

    def size(self, reference: str) -> int:
        """Bytes. Raises UnknownArtifact, Unreachable."""
        import obstore

        sha256 = self._digest(reference)
        with _driver_errors(sha256):
            return int(obstore.head(self._store(), _place(sha256))["size"])

    def file(self, reference: str, folder: Path) -> Path:
        """A file with the bytes: the store's own where that is on this machine, else a copy in ``folder``; not to be
        changed. Raises as ``get``."""
        sha256 = self._digest(reference)
        if self._folder is not None:
            self.size(reference)
            return self._folder / _place(sha256)
        copy = folder / sha256
        if not copy.exists():
            copy.write_bytes(self.get(reference))
        return copy

    def _has(self, sha256: str) -> bool:
        try:
            self.size(sha256)
        except UnknownArtifact:
            return False
        return True

    def _digest(self, reference: str) -> str:
        sha256 = artifacts.digest(reference)
        if sha256 is None:
            hint = "a reference is artifact: and 64 hexadecimal digits, as results of capabilities have it"
            raise UnknownArtifact(f"{reference!r} is no reference of an artifact", hint=hint, sha256="")
        return sha256

    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = open_store(self._url) if self._folder is None else open_folder(self._folder)
        return self._opened


def open_folder(folder: Path) -> ObjectStore:
    """A folder as a store; made when it is missing. Raises Unreachable where it cannot be."""
    from obstore.store import LocalStore

    try:
        return LocalStore(folder, mkdir=True)
    except OSError as error:
        hint = "check that it is a folder, and who may write there"
        raise Unreachable(f"{str(folder)!r} cannot be used: {error}", hint=hint, server=str(folder)) from error


def open_store(url: str) -> ObjectStore:
    """The store at an obstore URL. Raises Unreachable for one that obstore does not know."""
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        return from_url(url, retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE})
    except (BaseError, ValueError) as error:
        hint = "give a URL such as s3://bucket/prefix, and its credentials in the environment"
        raise Unreachable(
            f"{shown(url)!r} is no store: {shown(words_of(error))}", hint=hint, server=shown(url)
        ) from error


def words_of(error: Exception) -> str:
    """The words of obstore, without the dump of its own structures."""
    return str(error).partition("\n\nDebug source")[0].strip()


@contextmanager
def _driver_errors(sha256: str) -> Iterator[None]:
    """obstore's errors as ours."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        hint = "`backplane artifacts list` names those that runs made; was it made on another platform?"
        raise UnknownArtifact(f"no artifact {sha256} is in the store", hint=hint, sha256=sha256) from error
    except (BaseError, OSError) as error:
        hint = "check `artifacts.url` in the settings, its credentials and the disk"
        raise Unreachable(
            f"the artifact store cannot be used: {words_of(error)}", hint=hint, server="artifacts"
        ) from error


def _place(sha256: str) -> str:
    """256 folders, so that none holds more names than a file browser can show."""
    return f"{sha256[:2]}/{sha256}"
