"""Artifacts and files on S3: the same code as on a folder, against moto's server, which answers as S3 does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from agents_sdk.artifacts import ArtifactBroken, ArtifactStore, UnknownArtifact
from agents_sdk.errors import Unreachable
from backplane.builtin.storage import file_storage
from backplane.console.previews import Files, PreviewPart
from backplane.recovery.outcome import ProviderError
from tests.support.catalogue import Bench

BUCKET = "backplane-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its endpoint."""
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a bucket, with credentials where S3's own tools look for them."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/below"


def test_artifacts_are_kept_in_a_bucket(s3: str, tmp_path: Path) -> None:
    """Under the prefix, by content, with their kind; nothing is put on this machine's disk."""
    store = ArtifactStore(tmp_path, s3)
    made = store.put(b"content", "text/plain")

    assert store.get(made.uri) == b"content"
    assert store.size(made.uri) == 7
    assert store.file(made.uri, tmp_path).read_bytes() == b"content"
    [kept] = boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket=BUCKET, Prefix="below/")["Contents"]
    assert kept["Key"] == f"below/{made.sha256[:2]}/{made.sha256}"
    head = boto3.client("s3", region_name="us-east-1").head_object(Bucket=BUCKET, Key=kept["Key"])
    assert head["ContentType"] == "text/plain"
    assert not (tmp_path / "artifacts").exists()


def test_an_artifact_that_is_missing_or_was_changed_is_told(s3: str, tmp_path: Path) -> None:
    """As on a folder."""
    store = ArtifactStore(tmp_path, s3)
    made = store.put(b"another", "text/plain")
    key = f"below/{made.sha256[:2]}/{made.sha256}"
    boto3.client("s3", region_name="us-east-1").put_object(Bucket=BUCKET, Key=key, Body=b"changed")

    with pytest.raises(ArtifactBroken):
        store.get(made.uri)
    with pytest.raises(UnknownArtifact):
        store.get("0" * 64)


def test_the_console_shows_what_lies_in_a_bucket(s3: str, tmp_path: Path) -> None:
    """An image as it is, a page as text, and what is not there as missing: as from a folder."""
    store = ArtifactStore(tmp_path, s3)
    files = Files(tmp_path, store)
    png = b"\x89PNG\r\n\x1a\nrest"
    image, page, empty = store.put(png, "image/png"), store.put(b"<b>", "text/html"), store.put(b"", "text/plain")

    told = files.previews(f'["{image.uri}", "{page.uri}", "{empty.uri}", "artifact:{"0" * 64}"]')
    assert [(one.kind, one.size) for one in told] == [("image", 12), ("text", 3), ("text", 0), ("missing", 0)]
    assert files.artifact(image.sha256) == PreviewPart(png, "image/png")
    assert files.artifact(page.sha256) == PreviewPart(b"<b>", "text/plain; charset=utf-8")
    with pytest.raises(UnknownArtifact):
        files.artifact("0" * 64)


def test_a_bucket_that_is_not_there_is_told(s3: str, tmp_path: Path) -> None:
    """To write to it fails; it is not made by the way."""
    with pytest.raises((Unreachable, UnknownArtifact)):
        ArtifactStore(tmp_path, "s3://no-such-bucket").put(b"x", "text/plain")


def test_files_are_kept_in_a_bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put, got, described with their kind, listed, deleted; a key that is taken stays as it is."""
    monkeypatch.setenv("BACKPLANE_FILES_URL", s3 + "/files")
    bench = Bench(tmp_path)

    def do(operation: str, **params: object) -> dict[str, Any]:
        done = bench.call("file_storage", file_storage, {"operation": operation, **params})
        assert isinstance(done, dict)
        return done

    made = bench.artifacts.put(bytes(range(256)), "image/png").descriptor()
    for key in ("b/2", "b/1", "bb/3"):
        do("put", key=key, artifact=made)
    got = do("get", key="b/1")

    assert (got["found"], got["mime"], got["artifact"]) == (True, "image/png", made)
    assert [file["key"] for file in do("list", prefix="b")["files"]] == ["b/1", "b/2"]
    assert do("list", limit=1)["truncated"] is True
    assert do("head", key="b/1")["size"] == 256
    with pytest.raises(ProviderError, match="taken"):
        do("put", key="b/1", text="other", if_absent=True)
    assert do("delete", key="b/1") == {"key": "b/1", "deleted": True}
    assert do("get", key="b/1") == {"key": "b/1", "found": False}
    assert not (tmp_path / "files").exists()
