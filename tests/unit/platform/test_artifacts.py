"""Jars come from a lock: fetched once, never trusted by their name, never half there."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backplane.platform.artifacts import LOCK_FILE, absent, jars, read_lock
from backplane.platform.errors import ArtifactBroken, ArtifactMissing

JAR_PATH = "/org/example/tool/1.0/tool-1.0.jar"
TAR_PATH = "/org/example/app/1.0/app-1.0-all.tar.gz"


class Repository(ThreadingHTTPServer):
    """A Maven repository on loopback: what it holds, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("BACKPLANE_MAVEN_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("runner.jar"))
        server.files = {JAR_PATH: b"a jar", TAR_PATH: archive.getvalue()}
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def lock(tmp_path: Path, repository: Repository) -> Path:
    entries = [
        {"part": "kafka", "coordinate": "org.example:tool:1.0", "file": "tool-1.0.jar", **signed(repository, JAR_PATH)},
        {
            "part": "registry",
            "coordinate": "org.example:app:1.0:tar.gz:all",
            "file": "app-1.0-all.tar.gz",
            **signed(repository, TAR_PATH),
        },
    ]
    path = tmp_path / "jars.lock.json"
    path.write_text(json.dumps({"artifacts": entries}))
    return path


def signed(repository: Repository, path: str) -> dict[str, object]:
    content = repository.files[path]
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def test_files_are_fetched_once_and_the_second_start_asks_nobody(
    tmp_path: Path, lock: Path, repository: Repository
) -> None:
    """The cache is enough, also without a network."""
    found = jars(tmp_path / "cache", lock)
    assert [path.read_bytes() for path in found.kafka] == [b"a jar"]
    assert (found.registry / "runner.jar").exists()

    repository.asked.clear()
    assert jars(tmp_path / "cache", lock) == found
    assert repository.asked == []


def test_file_that_is_not_the_locked_one_is_refused_and_not_kept(
    tmp_path: Path, lock: Path, repository: Repository
) -> None:
    """Whatever the repository sends."""
    repository.files[JAR_PATH] = b"a worm"

    with pytest.raises(ArtifactBroken) as caught:
        jars(tmp_path / "cache", lock)
    assert caught.value.fields["found"] == hashlib.sha256(b"a worm").hexdigest()
    assert not (tmp_path / "cache" / "jars" / "tool-1.0.jar").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # jgo does not close a 404
def test_file_that_cannot_be_had_is_named(tmp_path: Path, lock: Path, repository: Repository) -> None:
    """With what to check; the next start goes on where this one stopped."""
    held = repository.files.pop(TAR_PATH)
    with pytest.raises(ArtifactMissing, match="org\\.example:app"):
        jars(tmp_path / "cache", lock)
    gc.collect()  # what was left open is found now, and not in whichever test comes next

    repository.files[TAR_PATH] = held
    assert jars(tmp_path / "cache", lock).registry.is_dir()


def test_file_that_lost_bytes_is_fetched_again(tmp_path: Path, lock: Path, repository: Repository) -> None:
    """A cut-off file is seen by its size, and one of the right size and wrong content does not survive the repair."""
    found = jars(tmp_path / "cache", lock)
    found.kafka[0].write_bytes(b"a j")

    assert jars(tmp_path / "cache", lock).kafka[0].read_bytes() == b"a jar"


def test_two_first_starts_at_a_time_both_get_whole_files(tmp_path: Path, lock: Path, repository: Repository) -> None:
    """One fetches, the other waits for it."""
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(jars(tmp_path / "cache", lock).kafka[0].read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [b"a jar"] * 4
    assert repository.asked.count(JAR_PATH) == 1


def test_committed_lock_is_whole() -> None:
    """Kafka, its log binding and the registry; every file with hash and size; no host name."""
    lock = read_lock()
    names = {item.file for item in lock}

    assert {"kafka_2.13-4.4.0.jar", "slf4j-simple-1.7.36.jar", "apicurio-registry-app-3.0.9-all.tar.gz"} <= names
    assert all(len(item.sha256) == 64 and item.size > 0 for item in lock)
    assert len(names) == len(lock)
    assert "://" not in LOCK_FILE.read_text()


def test_absent_names_missing_and_cut_files(tmp_path: Path, lock: Path) -> None:
    """By size: the hash is for files that come in."""
    items = read_lock(lock)
    (tmp_path / "tool-1.0.jar").write_bytes(b"a ja")

    assert absent(items, tmp_path) == list(items)
    (tmp_path / "tool-1.0.jar").write_bytes(b"a jar")
    assert [item.file for item in absent(items, tmp_path)] == ["app-1.0-all.tar.gz"]
