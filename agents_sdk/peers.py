"""The other processes of a consumer group on this machine, and which of them have died.

A static member that was killed keeps its partitions until its session is over, since the broker cannot tell death from
slowness. The kernel can. Each process holds a lock on a file of its own name. A waiter for that lock gets it when the
process has ended, however it ended. A frozen process holds its lock. So the dead member is taken out of its group at
once, unless it is back under its name within ``GRACE_S``. The lock on its file is held meanwhile, so that it cannot
come back in the middle. Processes on other machines wait for the session to end, also where they see the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

log = logging.getLogger("backplane.peers")

GRACE_S: Final = 0.5
"""How long a dead process may take to be back: one that is started again at once gets its own partitions again."""
LOOK_S: Final = 1.0
"""How late a process that has just come is watched."""
_TRY_S: Final = 0.05
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
MOST: Final = 16
"""Processes that one watches, each by a thread: the next ones by name, so that all are watched by somebody."""
OWN_S: Final = 2.0
"""How long a process waits for the lock on its own name, which another one may hold while it evicts. It then goes on
without: two processes may have been given one name, of which the group lets in the later one."""


class Peers:
    """This process among those of its group in one data directory."""

    def __init__(self, data_dir: Path | str, group: str, name: str, evict: Callable[[str], None]) -> None:
        """``name``: the ``group.instance.id`` of this process. ``evict(name)`` takes a dead member out of the group; it
        is called in a thread, and what it raises is logged."""
        folder = hashlib.sha256(group.encode()).hexdigest()[:16]
        self._folder = Path(data_dir) / "members" / folder
        self._group = group
        self._name = quote(name, safe="")
        """Of the file, as all names here."""
        self._evict = evict
        self._stop = threading.Event()
        self._own = -1
        self._watched: set[str] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Takes the lock on this process's name, and begins to watch the others; to be called before the group is
        joined. Blocks for ``OWN_S`` at most. Without a folder that can be written nobody is watched, and nobody watches
        this process."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            ends = time.monotonic() + OWN_S
            while not (locked := self._own_lock(fcntl.LOCK_NB)) and time.monotonic() < ends:
                self._stop.wait(_TRY_S)
        except OSError as error:
            log.warning("group %s: other processes are not watched: %s", self._group, error)
            return
        if not locked:
            log.warning("group %s: another process has the name of this one, %s", self._group, unquote(self._name))
            threading.Thread(target=self._lock_later, name="bp-peer", daemon=True).start()
        threading.Thread(target=self._run, name="bp-peers", daemon=True).start()

    def close(self) -> None:
        """Gives the lock away: from now on this process counts as ended."""
        with self._lock:
            self._stop.set()
            own, self._own = self._own, -1
        if own >= 0:
            os.close(own)

    def _own_lock(self, kind: int = 0) -> bool:
        """Whether this process has the lock on its name now. Raises OSError."""
        path = self._folder / self._name
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # a process that evicts removes the file: a lock on one that has no name any more says nothing
        if _lock(file, fcntl.LOCK_EX | kind) and _same(file, path):
            with self._lock:
                if not self._stop.is_set():
                    os.pwrite(file, _machine(), 0)
                    self._own = file
                    return True
        os.close(file)
        return False

    def _lock_later(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.is_set() and not self._own_lock():
                self._stop.wait(_TRY_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            with contextlib.suppress(OSError):
                for name in self._next():
                    if name not in self._watched:
                        self._watched.add(name)
                        threading.Thread(target=self._watch, args=(name,), name="bp-peer", daemon=True).start()

    def _next(self) -> list[str]:
        """The names after this process's, around the circle. Raises OSError."""
        names = sorted(name for name in os.listdir(self._folder) if name != self._name)
        later = [name for name in names if name > self._name]
        return [*later, *names[: len(names) - len(later)]][:MOST]

    def _watch(self, name: str) -> None:
        try:
            while not self._stop.is_set():
                file = os.open(self._folder / name, os.O_RDWR)
                try:
                    if os.pread(file, 200, 0) != _machine():
                        return  # over a network some file systems tell of the locks of their own machine alone
                    _lock(file, fcntl.LOCK_SH)  # for as long as the process lives
                finally:
                    os.close(file)
                if self._stop.wait(GRACE_S):
                    return
                if self._ended(name):
                    return
        except FileNotFoundError:
            return  # another process was quicker
        except OSError as error:
            log.warning("group %s: %s is not watched: %s", self._group, name, error)
        finally:
            self._watched.discard(name)

    def _ended(self, name: str) -> bool:
        """Whether the process is not back; then it is evicted and its file is gone."""
        path = self._folder / name
        file = os.open(path, os.O_RDWR)
        try:
            if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) or not _same(file, path):
                return False
            log.info("group %s: %s has ended, its partitions go to others", self._group, unquote(name))
            try:
                self._evict(unquote(name))
            except Exception as error:  # noqa: BLE001 — the end of its session does the same, later
                log.warning("group %s: %s cannot be taken out: %s", self._group, unquote(name), error)
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(file)


def _machine() -> bytes:
    """Names this machine since its start: its kernel knows of the locks."""
    try:
        return BOOT.read_bytes().strip()
    except OSError:
        return os.uname().nodename.encode()


def _lock(file: int, kind: int) -> bool:
    """Whether the lock is held now. Raises OSError."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    return True


def _same(file: int, path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.fstat(file).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
