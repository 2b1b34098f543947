"""Files by key, in a folder of the data directory; the same on S3 is a contract test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.errors import Unreachable
from backplane.builtin.storage import file_storage
from backplane.recovery.outcome import ProviderError
from tests.support.catalogue import Bench

Do = Callable[..., Any]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def do(bench: Bench) -> Do:
    """One operation, held to the capability's contract."""
    return lambda operation, **params: bench.call("file_storage", file_storage, {"operation": operation, **params})


def test_text_is_put_and_got(do: Do, bench: Bench) -> None:
    """Its bytes are an artifact, its text is given besides; putting it again changes nothing."""
    put = do("put", key="notes/ä b.txt", text="Größe")
    got = do("get", key="notes/ä b.txt")

    assert (put["size"], put["mime"]) == (7, "text/plain")
    assert (got["text"], got["size"], got["mime"]) == ("Größe", 7, "text/plain")
    assert bench.artifacts.get(got["artifact"]["uri"]) == "Größe".encode()
    assert do("put", key="notes/ä b.txt", text="Größe")["size"] == 7
    assert len(do("list")["files"]) == 1


def test_an_artifact_is_put_and_got(do: Do, bench: Bench) -> None:
    """What one capability made is kept by another, byte for byte, and has the same reference when it is got."""
    made = bench.artifacts.put(bytes(range(256)), "image/png").descriptor()

    do("put", key="a.png", artifact=made)
    got = do("get", key="a.png")

    assert got["artifact"] == made
    assert "text" not in got


def test_files_are_listed_by_prefix_in_order(do: Do) -> None:
    """A prefix is whole parts of a path; what was left out is said."""
    for key in ("b/2", "b/1", "bb/3", "a"):
        do("put", key=key, text=key)

    assert [file["key"] for file in do("list")["files"]] == ["a", "b/1", "b/2", "bb/3"]
    assert [file["key"] for file in do("list", prefix="b")["files"]] == ["b/1", "b/2"]
    cut = do("list", limit=1)
    assert ([file["key"] for file in cut["files"]], cut["truncated"]) == (["a"], True)


def test_a_file_is_described_and_deleted(do: Do) -> None:
    """Deleting what is gone is no error: the outcome is the same."""
    do("put", key="report.pdf", text="x")

    head = do("head", key="report.pdf")
    assert (head["size"], head["mime"]) == (1, "application/pdf")
    assert do("delete", key="report.pdf") == {"key": "report.pdf", "deleted": True}
    assert do("delete", key="report.pdf") == {"key": "report.pdf", "deleted": False}


@pytest.mark.parametrize("operation", ["get", "head"])
def test_that_there_is_no_file_is_an_answer(do: Do, operation: str) -> None:
    """Whoever asks may well not know; it is nothing to be retried or escalated."""
    assert do(operation, key="nowhere") == {"key": "nowhere", "found": False}


def test_a_key_that_is_taken_can_be_kept(do: Do) -> None:
    """``if_absent``: of two writers only one comes through."""
    do("put", key="lock.txt", text="first", if_absent=True)

    with pytest.raises(ProviderError, match="taken") as caught:
        do("put", key="lock.txt", text="second", if_absent=True)
    assert caught.value.code == "exists"
    assert do("get", key="lock.txt")["text"] == "first"


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/../secret", "a//b", "a\0b", ".", "a/./b"])
def test_no_key_leaves_the_store(do: Do, tmp_path: Path, key: str) -> None:
    """Neither to read nor to write."""
    (tmp_path / "secret").write_text("secret")

    for operation, more in (("get", {}), ("put", {"text": "x"}), ("delete", {}), ("head", {})):
        with pytest.raises(ProviderError) as caught:
            do(operation, key=key, **more)
        assert caught.value.error_class == "invalid_request"
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_store_that_cannot_be_used_is_unreachable(tmp_path: Path) -> None:
    """It may be there again later: an outage."""
    (tmp_path / "files").write_text("a file where the folder should be")

    with pytest.raises(Unreachable, match="files"):
        Bench(tmp_path).call("file_storage", file_storage, {"operation": "put", "key": "a", "text": "x"})
