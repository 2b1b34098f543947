"""The jars of Kafka and of the registry: fetched once, checked against ``jars.lock.json``, shared by all platforms.

A start with a filled cache touches no network and resolves nothing. It compares names and sizes with the lock, and a
stamp says that the hashes were right when the files came in. The repository the files come from is jgo's default, or
``BACKPLANE_MAVEN_URL``; whatever it sends must have the locked hash.

``python -m backplane.platform.artifacts`` fills the cache; with ``--write-lock`` it resolves again and writes the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agents_sdk.proxies import proxy_for
from agents_sdk.settings import cache_dir
from backplane.platform.errors import ArtifactBroken, ArtifactMissing, disk_error
from backplane.platform.progress import Progress

if TYPE_CHECKING:
    from jgo.maven import Artifact as MavenArtifact
    from jgo.maven import MavenContext

LOCK_FILE: Final = Path(__file__).with_name("jars.lock.json")
ROOTS: Final = {
    "kafka": ("org.apache.kafka:kafka_2.13:4.4.0", "org.slf4j:slf4j-simple:1.7.36"),
    "registry": ("io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all",),
}
"""The roots of the lock. Without an slf4j binding Kafka's errors go nowhere; slf4j-simple is the one that starts
fastest."""

PARALLEL_DOWNLOADS: Final = 6
TIMEOUT_S: Final = 60
STABLE_MTIME: Final = 1_700_000_000
"""Every jar's modification time: Java's start-up archive is thrown away when that of a jar changes."""


@dataclass(frozen=True)
class Artifact:
    """One locked file."""

    part: str
    """Its owner: ``kafka`` or ``registry``."""
    coordinate: str
    """``group:artifact:version:packaging:classifier``, the last two only where they are not ``jar`` and empty."""
    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Jars:
    """The programs of the parts."""

    kafka: tuple[Path, ...]
    """Kafka's class path."""
    registry: Path
    """The folder with the registry's runner jar."""
    key: str
    """Changes whenever the lock does."""


def read_lock(path: Path = LOCK_FILE) -> tuple[Artifact, ...]:
    """The files that make up the platform."""
    return tuple(Artifact(**entry) for entry in json.loads(path.read_text())["artifacts"])


def lock_key(path: Path = LOCK_FILE) -> str:
    """A name for exactly this set of files."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def jars(cache: Path | None = None, lock_file: Path = LOCK_FILE) -> Jars:
    """All files present, right and unpacked; fetches what is missing.

    Raises:
        ArtifactMissing: a file cannot be fetched.
        ArtifactBroken: a file is not the locked one; it was not kept.
        DiskFull, PlatformError: the cache cannot be written.
    """
    folder = (cache or cache_dir()) / "jars"
    lock = read_lock(lock_file)
    key = lock_key(lock_file)
    registry = folder / f"registry-{key}"
    stamp = folder / f".complete-{key}"
    if not (stamp.exists() and not absent(lock, folder) and registry.is_dir()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / ".lock"):
                _fill(lock, folder, registry)
                stamp.touch()
        except OSError as error:
            raise disk_error(error, folder) from error
    return Jars(tuple(folder / item.file for item in lock if item.part == "kafka"), registry, key)


def absent(lock: tuple[Artifact, ...], folder: Path) -> list[Artifact]:
    """The files of ``lock`` that are not in ``folder`` with their size."""

    def there(item: Artifact) -> bool:
        try:
            return (folder / item.file).stat().st_size == item.size
        except OSError:
            return False

    return [item for item in lock if not there(item)]


def _fill(lock: tuple[Artifact, ...], folder: Path, registry: Path) -> None:
    for item in lock:  # no stamp, or files are gone: trust nothing by its name
        path = folder / item.file
        if path.exists() and sha256(path) != item.sha256:
            path.unlink()
    wanted = absent(lock, folder)
    if wanted:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            _download(wanted, folder, Path(scratch))
    if not registry.is_dir():
        archive = next(folder / item.file for item in lock if item.part == "registry")
        _unpack(archive, registry)


def _download(wanted: list[Artifact], folder: Path, scratch: Path) -> None:
    context = _maven(scratch)
    with (
        Progress("fetching Kafka and the registry", sum(item.size for item in wanted)) as progress,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        jobs = {pool.submit(_fetch, context, item): item for item in wanted}
        try:
            for job in as_completed(jobs):
                path, item = job.result(), jobs[job]
                os.utime(path, (STABLE_MTIME, STABLE_MTIME))
                path.replace(folder / item.file)
                progress.advance(item.size, item.file)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(context: MavenContext, item: Artifact) -> Path:
    import requests

    try:
        path: Path = _artifact(context, item.coordinate).resolve()
    except (requests.RequestException, RuntimeError) as error:
        proxy_for("https://repo1.maven.org", os.environ)  # one that cannot be used is the cause, and says so
        raise ArtifactMissing(
            f"cannot fetch {item.coordinate!r}: {type(error).__name__}",
            hint="check the network (HTTPS_PROXY and BACKPLANE_MAVEN_URL are honoured), then try again",
            coordinate=item.coordinate,
        ) from error
    found = sha256(path)
    if found != item.sha256:
        raise ArtifactBroken(
            f"{item.coordinate!r} has the SHA-256 {found}, the lock file wants {item.sha256}",
            hint="it was not kept; try again, and if it stays so, the repository sends something else",
            coordinate=item.coordinate,
            expected=item.sha256,
            found=found,
        )
    return path


def _artifact(context: MavenContext, coordinate: str) -> MavenArtifact:
    group, name, version, packaging, classifier = [*coordinate.split(":"), *("jar", "")][:5]
    if coordinate.count(":") == 2:
        packaging, classifier = "jar", ""
    return context.project(group, name).at_version(version).artifact(classifier=classifier, packaging=packaging)


def _maven(scratch: Path) -> MavenContext:
    from jgo.maven import MavenContext

    mirror = os.environ.get("BACKPLANE_MAVEN_URL")
    known = next((path for path in _certificates() if path and Path(path).exists()), None)
    if known:
        # requests brings its own list, in which the certificate of a company's proxy is missing.
        os.environ.setdefault("REQUESTS_CA_BUNDLE", known)
    return MavenContext(
        repo_cache=scratch, remote_repos={"mirror": mirror.rstrip("/")} if mirror else None, timeout=TIMEOUT_S
    )


def _certificates() -> Iterator[str | None]:
    """Where this machine may keep the certificates it trusts."""
    yield ssl.get_default_verify_paths().cafile
    yield "/etc/ssl/certs/ca-certificates.crt"
    yield "/etc/pki/tls/certs/ca-bundle.crt"


def _unpack(archive: Path, target: Path) -> None:
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpack-"))
    try:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(scratch, filter="data")
            else:  # Python 3.11 before 3.11.4; the archive's SHA-256 was checked, so its paths are known to be good
                tar.extractall(scratch)  # noqa: S202
        scratch.chmod(0o755)
        scratch.replace(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock, however the holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """The hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock(path: Path = LOCK_FILE) -> int:
    """Resolve the roots again and write the lock; returns how many files it has."""
    entries: dict[str, Artifact] = {}
    with tempfile.TemporaryDirectory() as scratch:
        context = _maven(Path(scratch))
        for part, roots in ROOTS.items():
            for artifact in _resolve(context, roots):
                found = artifact.resolve()
                parts = [artifact.groupId, artifact.artifactId, artifact.version]
                if (artifact.packaging, artifact.classifier) != ("jar", ""):
                    parts += [artifact.packaging, artifact.classifier]
                coordinate = ":".join(parts)
                entries[coordinate] = Artifact(part, coordinate, found.name, sha256(found), found.stat().st_size)
    ordered = sorted(entries.values(), key=lambda item: (item.part, item.coordinate))
    path.write_text(json.dumps({"artifacts": [asdict(item) for item in ordered]}, indent=1) + "\n")
    return len(ordered)


def _resolve(context: MavenContext, roots: tuple[str, ...]) -> list[MavenArtifact]:
    plain = [root for root in roots if root.count(":") == 2]
    found = [_artifact(context, root) for root in roots if root not in plain]
    if plain:
        given, transitive = context.resolver.resolve([context.create_dependency(root) for root in plain])
        found += [dependency.artifact for dependency in (*given, *transitive)]
    return found


def main() -> None:
    """Fill the cache, or write the lock."""
    if sys.argv[1:] == ["--write-lock"]:
        print(f"{write_lock()} files locked", file=sys.stderr)
    else:
        print(jars().registry.parent)


if __name__ == "__main__":
    main()
