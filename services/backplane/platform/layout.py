"""Where a platform keeps its things in the data directory, and who owns that directory::

    <data_dir>/platform.json   what runs: ports, pids, addresses; replaced atomically, kept after `down` for its ports
    <data_dir>/platform.lock   held (flock) by the supervisor as long as it lives; the kernel frees it, however it dies
    <data_dir>/logs/           one file a part
    <data_dir>/keys/           the master key and the keys issued here, each readable by its owner only
    <data_dir>/<part>/         what the part stores

``Layout`` gives each of these paths a name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents_sdk.core.identity import OPERATOR
from backplane.platform.errors import DataDirTaken, DiskFull, disk_error

LOCK_WAIT_S: Final = 1.0
"""How long to try for the lock: longer than another process's glance at it (``running``), too short to annoy."""

MIN_FREE_MB: Final = 256
"""Kafka preallocates index files of 10 MB for each partition it writes to, and fails hard when it cannot."""


@dataclass(frozen=True)
class Layout:
    """The paths of one data directory."""

    data_dir: Path

    @property
    def record(self) -> Path:
        """The published state of the platform."""
        return self.data_dir / "platform.json"

    @property
    def lock(self) -> Path:
        """The file whose lock is ownership."""
        return self.data_dir / "platform.lock"

    @property
    def logs(self) -> Path:
        """The folder of logs."""
        return self.data_dir / "logs"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.data_dir / "keys"

    def kafka_users(self) -> dict[str, str]:
        """The passwords of Kafka's own users here; empty where the master key is not ours to read."""
        from agents_sdk.kafka_login import USERS, password
        from agents_sdk.keys import MASTER, read_master

        master = read_master(self.keys / MASTER)
        return {user: password(master, user) for user in USERS} if master is not None else {}

    def registry_users(self) -> dict[str, str]:
        """The passwords of the registry's users here; empty where the master key is not ours to read."""
        from agents_sdk.keys import MASTER, read_master
        from agents_sdk.registry_login import passwords

        master = read_master(self.keys / MASTER)
        return passwords(master) if master is not None else {}

    def kafka_login(self, user: str = OPERATOR) -> tuple[str, str]:
        """A user of Kafka and its password, which is empty where the master key is not ours to read."""
        return user, self.kafka_users().get(user, "")

    def log(self, part: str) -> Path:
        """The log of ``part``."""
        return self.logs / f"{part}.log"

    def store(self, part: str) -> Path:
        """Where ``part`` keeps its data."""
        return self.data_dir / part

    def create(self) -> None:
        """Make the folders.

        Raises:
            DiskFull, PlatformError: they cannot be made.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.logs) from error

    def check_room(self) -> None:
        """Refuse to start where the first log segments would not fit.

        Raises:
            DiskFull: less than ``MIN_FREE_MB`` is free.
        """
        free_mb = shutil.disk_usage(self.data_dir).free // 1_048_576
        if free_mb < MIN_FREE_MB:
            raise DiskFull(
                f"only {free_mb} MB are free at {str(self.data_dir)!r}",
                hint=f"make room: Kafka and the registry need {MIN_FREE_MB} MB to start",
                path=str(self.data_dir),
            )

    def read_record(self) -> dict[str, Any]:
        """The published record; empty when there is none."""
        try:
            record = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace the record; a reader sees the old one or the new one, never half of one.

        Raises:
            DiskFull, PlatformError: it cannot be written.
        """
        draft = self.record.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(record, indent=1))
            draft.replace(self.record)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise disk_error(error, self.record) from error

    def running(self) -> bool:
        """Whether a supervisor owns this directory now."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def own(self) -> int:
        """Take the directory for this process; the descriptor returned is the ownership, until closed.

        Raises:
            DataDirTaken: another supervisor has it.
            DiskFull, PlatformError: the lock file cannot be made.
        """
        self.create()
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk_error(error, self.lock) from error
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                os.close(descriptor)
                raise self._taken() from None
            return descriptor

    def _taken(self) -> DataDirTaken:
        pid = self.read_record().get("supervisor", {}).get("pid")
        return DataDirTaken(
            f"the data directory {str(self.data_dir)!r} is in use by the platform with pid {pid}",
            hint="stop that one with `backplane down`, or start this one elsewhere with --data-dir",
            data_dir=str(self.data_dir),
            pid=pid,
        )
