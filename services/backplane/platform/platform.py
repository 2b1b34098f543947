"""A local platform from Python: for tests, demos and faults. The supervisor is a child process, as with `up --detach`.

with LocalPlatform(tmp_path, parts=("kafka", "registry")) as platform:
    client = AdminClient(platform.settings.kafka)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from backplane.platform.child import tail
from backplane.platform.errors import DataDirTaken, NotRunning, PlatformError, UnknownPart
from backplane.platform.layout import Layout

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

START_LIMIT_S: Final = 600.0
"""With a first download over a slow line."""

STOP_LIMIT_S: Final = 12.0
"""The supervisor promises 10."""


class LocalPlatform:
    """The platform in ``data_dir``: Kafka, the registry and our own services, or the ``parts`` named.

    ``workers`` says how many of a part to run, e.g. ``{"ledger": 2}``; copies are called ``ledger-2`` and so on.
    It ends with the process that made it, however that ends.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        parts: Sequence[str] = (),
        workers: Mapping[str, int] | None = None,
        profile: str = "dev",
        table: str = "",
        users: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``users``: Kafka asks who is there, as it does by default."""
        self.layout = Layout(Path(data_dir).absolute())
        self._options = ["--profile", profile, "--parts", ",".join(parts), "--table", table]
        self._options += [] if users else ["--no-kafka-login"]
        for name, count in (workers or {}).items():
            self._options += ["--worker", f"{name}={count}"]
        self._env = {**os.environ, **(env or {})}
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until every part is ready.

        Raises:
            DataDirTaken: another supervisor owns the directory.
            PlatformError: it did not come up; nothing of it is left running.
        """
        self._supervisor = launch(self.layout, [*self._options, "--leash"], self._env, leash=True)
        try:
            wait_until_ready(self.layout, self._supervisor)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all parts and wait until they are gone; nothing happens when it does not run."""
        process, self._supervisor = self._supervisor, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """Settings with this platform's addresses, whatever the environment or the working directory say."""
        from agents_sdk.settings import load_settings

        sections = self.record().get("settings", {})
        if not sections:
            raise NotRunning(f"no platform runs in {str(self.layout.data_dir)!r}")
        return load_settings(data_dir=self.layout.data_dir, **sections)

    @property
    def supervisor_pid(self) -> int:
        """The process id of the supervisor."""
        if self._supervisor is None:
            raise NotRunning(f"no platform runs in {str(self.layout.data_dir)!r}")
        return self._supervisor.pid

    def record(self) -> dict[str, Any]:
        """The supervisor's last record: state, ports, parts."""
        return self.layout.read_record()

    def part(self, name: str) -> dict[str, Any]:
        """State, pid, port, restarts and last_exit of a part."""
        parts = self.record().get("parts", {})
        if name not in parts:
            raise UnknownPart(f"no part {name!r}", hint=f"the parts are {', '.join(parts)}", part=name)
        described: dict[str, Any] = parts[name]
        return described

    def pid(self, name: str) -> int:
        """The process id of a part, now; None of a part that is being restarted is an error.

        Raises:
            NotRunning: the part has no process at this moment.
        """
        pid = self.part(name)["pid"]
        if pid is None:
            raise NotRunning(f"{name!r} has no process at this moment")
        return int(pid)

    def port(self, name: str) -> int:
        """The port a part listens on."""
        return int(self.part(name)["port"])

    def kill(self, name: str) -> int:
        """SIGKILL a part, by its pid, which is returned; the supervisor starts it again."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid


def launch(
    layout: Layout, options: Sequence[str], env: Mapping[str, str] | None = None, *, leash: bool = False
) -> subprocess.Popen[bytes]:
    """A supervisor in a session of its own, its words in ``logs/supervisor.log``.

    Raises:
        DataDirTaken: a supervisor owns the directory.
        DiskFull, PlatformError: the directory cannot be written.
    """
    os.close(layout.own())  # one message in the foreground, before anything is started
    layout.check_room()  # here too: on a full disk the supervisor could leave no word of why it ended
    command = [sys.executable, "-P", "-m", "backplane.platform", "--data-dir", str(layout.data_dir), *options]
    with layout.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if leash else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )


def wait_until_ready(layout: Layout, supervisor: subprocess.Popen[bytes], limit_s: float = START_LIMIT_S) -> None:
    """Wait for a supervisor that ``launch`` made.

    Raises:
        PlatformError: it did not come up; the message is that of the supervisor.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        ended = supervisor.poll() is not None
        record = layout.read_record()
        if not ended and record.get("supervisor", {}).get("pid") == supervisor.pid and record["state"] == "ready":
            return
        if ended:
            raise _reported(layout, record, supervisor.pid)
        time.sleep(0.02)
    raise PlatformError(f"the platform is not ready after {limit_s:.0f} s", hint=f"see {layout.logs}")


def stop(layout: Layout, limit_s: float = STOP_LIMIT_S) -> bool:
    """Stop the platform that owns the directory, whichever process started it; False when none does.

    Raises:
        PlatformError: it belongs to somebody else.
    """
    if not layout.running():
        return False
    deadline = time.monotonic() + limit_s
    number: signal.Signals | None = signal.SIGTERM
    while layout.running():
        pid = layout.read_record().get("supervisor", {}).get("pid")
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        if pid and number is not None:
            _signal(int(pid), number)
            # One SIGTERM only: a second one tells it not to wait for its parts.
            number = None if number is signal.SIGTERM else number
        time.sleep(0.05)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise PlatformError(f"the platform with pid {pid} belongs to another user") from error


def _reported(layout: Layout, record: Mapping[str, Any], pid: int) -> PlatformError:
    if layout.running():
        return DataDirTaken(f"the data directory {str(layout.data_dir)!r} was taken by another platform meanwhile")
    said = record.get("error")
    if said and record.get("last_pid") == pid:  # not the end of an earlier run
        error = PlatformError(said["message"], hint=said["hint"])
        error.code = said["code"]  # type: ignore[misc]  # as the supervisor's error had it
        return error
    log = layout.log("supervisor")
    lines = "".join(f"\n    {line}" for line in tail(log, 5))
    return PlatformError(f"the supervisor ended{lines}", hint=f"see {log}")
