"""A data directory with topics, schemas, permissions and manifests in it, made once and copied for each platform.

A first start formats Kafka's storage, makes a hundred partitions and registers each schema. Together that is a quarter
of the processor time of a platform that a test starts. A start on a copy finds all of it, checks it, and goes on.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import Final

from backplane.platform.platform import LocalPlatform

KEPT: Final = ("kafka", "keys", "registry")
"""Stores and keys. Ports, logs and ownership belong to a platform that runs."""


class Prepared:
    """The original in ``folder``, which several processes share: the first of them makes it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._original = folder / "original"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._original.exists():
                _make(folder / "draft").rename(self._original)

    def copy(self, data_dir: Path) -> Path:
        """``data_dir`` with a copy in it, for a platform whose Kafka asks for a login. Its keys are those of each other
        copy. A test that needs an empty Kafka or keys of its own starts without a copy."""
        for name in KEPT:
            shutil.copytree(self._original / name, data_dir / name)
        return data_dir


def _make(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)  # a process may have died here
    with LocalPlatform(folder, parts=("kafka", "registry", "topics")):
        return folder
