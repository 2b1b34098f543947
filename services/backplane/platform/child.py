"""One child process: dies with its supervisor, writes to a bounded log, and its end can be said in words."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from backplane.platform.errors import JavaMissing, disk_error

PR_SET_PDEATHSIG: Final = 1
LOG_BYTES: Final = 16 * 1024 * 1024
"""A log above this is moved to ``<part>.log.1``: two of them a part is what a laptop can spare."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# Loaded here and not in the child: between fork and exec only what is there already is safe to call.


class Child:
    """A running process with a log.

    It leads a session of its own, so that Ctrl-C in a terminal reaches only the supervisor. On Linux the kernel kills
    it when the supervisor ends, however that ends. The kernel watches the *thread* that forked: make children in the
    main thread only.

    Raises:
        JavaMissing: the program cannot be executed.
        DiskFull, PlatformError: the log cannot be written.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], log: Path, nice: int = 0, *, waits: bool = False
    ) -> None:
        """``waits``: it does nothing before ``begin``, see ``backplane.runtime.spare``."""
        self.log = log
        self.started_at = time.time()
        parent = os.getpid()

        def before_exec() -> None:
            if _libc is not None:
                _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:  # it died before the line above
                    os._exit(1)
            if nice:
                os.nice(nice)

        try:
            out = log.open("ab")
        except OSError as error:
            raise disk_error(error, log) from error
        with out:
            self._from = out.tell()
            try:
                self._process = subprocess.Popen(
                    argv,
                    env=dict(env),
                    stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=before_exec,  # noqa: PLW1509 -- no other thread runs in a supervisor
                )
            except OSError as error:
                # Not there, not executable, or made for another processor; ours runs already, so it is Java.
                raise JavaMissing(f"cannot execute {argv[0]!r}: {error.strerror}", program=argv[0]) from error

    def begin(self, ended: str) -> bool:
        """Let a waiting process begin, with the news how the one before it ended; False where it has died meanwhile."""
        self.started_at = time.time()
        assert self._process.stdin is not None
        try:
            self._from = self.log.stat().st_size
            self._process.stdin.write(f"{ended}\n".encode())
            self._process.stdin.close()
        except OSError:
            return False
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id, and that of its session."""
        return self._process.pid

    @property
    def ended(self) -> str:
        """``pid:code`` once it has ended; the code is minus the signal that killed it."""
        code = self._process.poll()
        return "" if code is None else f"{self.pid}:{code}"

    def exit_reason(self) -> str | None:
        """None while it runs, empty after a good end, else the code or signal and the last line it logged."""
        code = self._process.poll()
        if not code:
            return None if code is None else ""
        reason = f"exit code {code}"
        if code < 0:
            reason = f"signal {-code} ({signal.Signals(-code).name})"
        lines = self.tail(1)
        return f"{reason}: {lines[-1][:300]}" if lines else reason

    def tail(self, lines: int) -> list[str]:
        """The last lines that this process, not one before it, wrote to the log."""
        return tail(self.log, lines, self._from)

    def send(self, number: signal.Signals) -> None:
        """Signal it and all it started."""
        if self._process.poll() is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass  # ended in between, or has not made its session yet
            except PermissionError:
                self._process.send_signal(number)

    def send_rest(self) -> None:
        """Kill what is left of its session once it is gone itself."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            return

    def bound_log(self) -> None:
        """Move the log aside when it has grown too large; the process goes on writing at the new file's start."""
        try:
            if self.log.stat().st_size < LOG_BYTES:
                return
            # Copied and cut rather than renamed: the process holds this very file open, in append mode.
            self.log.with_suffix(".log.1").write_bytes(self.log.read_bytes())
            os.truncate(self.log, 0)
            self._from = 0
        except OSError:
            return  # a full disk: the next round tries again


def tail(path: Path, lines: int, start: int = 0) -> list[str]:
    """The last non-empty lines of a file from byte ``start``; none when it is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(start, size), size - 200 * lines - 4096, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]
