"""Files by their content: written once, whole or not at all, under the data directory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file."""

    path: Path
    sha256: str
    size: int


def store(data_dir: Path, content: bytes, extension: str) -> Artifact:
    """Keeps the bytes as ``artifacts/<first two of the hash>/<hash>.<extension>``; equal bytes are kept once."""
    digest = hashlib.sha256(content).hexdigest()
    path = data_dir / "artifacts" / digest[:2] / f"{digest}.{extension}"
    if not path.exists():
        write_whole(path, content)
    return Artifact(path, digest, len(content))


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file so that no reader ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
