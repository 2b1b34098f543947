"""The artifact store on a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agents_sdk.artifacts import ArtifactBroken, ArtifactStore, UnknownArtifact
from agents_sdk.errors import Unreachable


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def test_bytes_come_back_under_their_hash(store: ArtifactStore) -> None:
    """By reference or bare hash, equal bytes once, empty ones too."""
    for content in (b"", b"content", bytes(range(256)) * 5_000):
        made = store.put(content, "text/plain")
        assert made == store.put(content, "text/plain")
        assert made.sha256 == hashlib.sha256(content).hexdigest()
        assert store.get(made.uri) == store.get(made.sha256) == content
        assert store.size(made.uri) == made.size == len(content)


def test_a_file_that_was_changed_is_not_given(store: ArtifactStore, tmp_path: Path) -> None:
    """A reference means the same bytes for ever."""
    made = store.put(b"content", "text/plain")
    store.file(made.uri, tmp_path).write_bytes(b"CONTENT")

    with pytest.raises(ArtifactBroken):
        store.get(made.uri)


@pytest.mark.parametrize("reference", ["artifact:" + "0" * 64, "../../etc/passwd", "", "artifact:zz"])
def test_what_is_not_there_is_unknown(store: ArtifactStore, tmp_path: Path, reference: str) -> None:
    """Nothing but a hash is looked for: a reference is no way to other files."""
    for ask in (store.get, store.size, lambda text: store.file(text, tmp_path)):
        with pytest.raises(UnknownArtifact):
            ask(reference)


def test_a_store_that_cannot_be_opened_is_told_apart(tmp_path: Path) -> None:
    """From a file that is missing: the one passes, the other does not."""
    (tmp_path / "artifacts").write_text("a file where the folder should be")

    with pytest.raises(Unreachable):
        ArtifactStore(tmp_path).put(b"x", "text/plain")
    with pytest.raises(Unreachable, match="bogus"):
        ArtifactStore(tmp_path, "bogus://x").get("0" * 64)
