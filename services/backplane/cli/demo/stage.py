"""The needs of the demo: a platform, a search service with a quota, two processes of agents; and their end.

Order of work, so that everything starts as early as it can:
1. the search service, which builds the index meanwhile, and the platform unless one runs in the data directory;
2. the agents, as soon as there are topics: beside ledger, executor and store, not after them;
3. ``wait`` returns when a run can begin; the store may still be on its way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from backplane.builtin.files import write_whole
from backplane.builtin.search import CORPUS
from backplane.builtin.search_server import ADDRESS_FILE
from backplane.cli.output import CommandError
from backplane.platform.child import Child, tail
from backplane.platform.errors import PlatformError
from backplane.platform.layout import Layout
from backplane.platform.parts import base_environment
from backplane.platform.platform import LocalPlatform, launch, wait_until_ready

if TYPE_CHECKING:
    from agents_sdk.blocking import Backplane
    from agents_sdk.settings import Settings

QUOTA: Final = 1
"""Searches that the preferred provider allows; the research agent makes two at least, whatever it finds."""
WINDOW_S: Final = 600
"""In which the quota is refilled: longer than any run of the demo."""
PROCESSES: Final = ("newsroom", "press")
NEEDED: Final = ("kafka", "registry", "ledger", "executor")
"""Parts without which no run begins; a platform that was started without one cannot show the demo."""
START_S: Final = 600.0
"""With a first download over a slow line."""
END_S: Final = 3.0
"""For agents to end after the signal; nothing of theirs is open then."""
STOP_S: Final = 12.0
LOOK_S: Final = 0.02
LOG_LINES: Final = 15


def content() -> Path:
    """The folder of the example's agents: in a wheel beside this file, else in the checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "_content"
    return packaged if packaged.is_dir() else here.parents[3] / "examples" / "content"


class Stage:
    """A context manager. ``corpus``: a folder of documents, empty for the installed distributions."""

    def __init__(self, layout: Layout, corpus: str) -> None:
        self.layout = layout
        self.own = False
        """Whether the platform was started here, and ends with the demo."""
        self.agents: dict[str, Child] = {}
        self._corpus = corpus
        self._children: dict[str, Child] = {}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.layout.create()
            stack.callback(self._stop_platform)
            if not self.layout.running():
                self._start_platform()
            stack.callback(self._stop_children)
            stack.enter_context(_kept(self.layout.data_dir / CORPUS.file))
            self._start_search()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait(self, starting: Callable[[dict[str, str]], None]) -> None:
        """Waits until a run can begin; ``starting`` gets the states of the parts meanwhile.

        Raises:
            PlatformError: the platform did not come up; the message is the supervisor's.
            CommandError: a process of ours ended, or the platform lacks a part.
        """
        deadline = time.monotonic() + START_S
        while not self._ready(starting):
            if time.monotonic() > deadline:
                raise PlatformError(f"nothing can run after {START_S:.0f} s", hint=f"see {self.layout.logs}")
            time.sleep(LOOK_S)

    def wait_for_store(self) -> None:
        """Waits until the run can be looked at. Raises as ``wait``."""
        deadline = time.monotonic() + START_S
        while self._state("sink") != "ready":
            self.check()
            if self._state("sink") in ("", "failed", "stopped") or time.monotonic() > deadline:
                raise CommandError(
                    "unreachable", f"the store is {self._state('store') or 'not there'}", "see `backplane status`"
                )
            time.sleep(LOOK_S)

    def settings(self) -> Settings:
        """The platform's addresses, whatever else the environment says."""
        return LocalPlatform(self.layout.data_dir).settings

    @staticmethod
    def start_of_run(backplane: Backplane, topic: str, run_id: str) -> None:
        """Starts the run as the example's own script does."""
        from backplane.cli.agents import load

        load(str(content() / "start.py")).start(backplane, topic, run_id)

    def check(self) -> None:
        """Raises CommandError, with the end of its log, when a process of ours has ended."""
        for name, child in self._children.items():
            reason = child.exit_reason()
            if reason is not None:
                raise CommandError("failure", f"{name} ended: {reason or 'exit code 0'}{_quoted(child.log)}")

    def logs(self) -> str:
        """The last words of the agents."""
        return "".join(_quoted(child.log, f"{name} said:") for name, child in self.agents.items())

    def _start_platform(self) -> None:
        from backplane.platform import artifacts

        artifacts.jars()  # here, where its progress can be seen
        self._supervisor = launch(self.layout, ["--leash"], {**os.environ}, leash=True)
        self.own = True

    def _start_search(self) -> None:
        corpus = self.layout.data_dir / CORPUS.file
        write_whole(corpus, self._corpus.encode())
        (self.layout.data_dir / ADDRESS_FILE).unlink(missing_ok=True)  # of one that was killed
        quota = ["--quota", str(QUOTA), "--window-seconds", str(WINDOW_S)]
        module = "backplane.builtin.search_server"
        env = {**base_environment(), "BACKPLANE_CORPUS": self._corpus}
        self._spawn("search", ["-P", "-m", module, "--data-dir", str(self.layout.data_dir), *quota], env)

    def _start_agents(self, record: dict[str, Any]) -> None:
        env = {**base_environment(), **_addresses(record["settings"])}
        for name in PROCESSES:
            path = str(content() / f"{name}.py")
            argv = ["-P", "-m", "backplane.cli.app", "agents", "run", path, "--data-dir", str(self.layout.data_dir)]
            self.agents[name] = self._spawn(name, argv, env)

    def _spawn(self, name: str, argv: Sequence[str], env: dict[str, str]) -> Child:
        child = Child([sys.executable, *argv], env, self.layout.log(f"demo-{name}"))
        self._children[name] = child
        return child

    def _ready(self, starting: Callable[[dict[str, str]], None]) -> bool:
        record = self.layout.read_record()
        states = {name: part["state"] for name, part in record.get("parts", {}).items()}
        self._check_platform(record, states)
        self.check()
        topics = states.get("topics", "ready" if record.get("state") == "ready" else "") in ("done", "ready")
        if not self.agents and topics:
            self._start_agents(record)
        states |= {"search": self._search_state(), **{name: _state_of(child) for name, child in self.agents.items()}}
        starting(states)
        return all(states.get(name) == "ready" for name in (*NEEDED, "search", *PROCESSES))

    def _state(self, part: str) -> str:
        return str(self.layout.read_record().get("parts", {}).get(part, {}).get("state", ""))

    def _check_platform(self, record: dict[str, Any], states: dict[str, str]) -> None:
        if self._supervisor is not None and self._supervisor.poll() is not None:
            wait_until_ready(self.layout, self._supervisor)  # tells what it died of
        lacking = [name for name in NEEDED if name not in states]
        if self._supervisor is None and record.get("state") == "ready" and lacking:
            hint = "`backplane down`, then try again"
            raise CommandError("unreachable", f"the platform runs without {' and '.join(lacking)}", hint)

    def _search_state(self) -> str:
        return "ready" if (self.layout.data_dir / ADDRESS_FILE).exists() else "starting"

    def _stop_children(self) -> None:
        for child in self._children.values():
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while any(child.exit_reason() is None for child in self._children.values()):
            if time.monotonic() > deadline:
                for child in self._children.values():
                    child.send(signal.SIGKILL)
            time.sleep(LOOK_S)

    def _stop_platform(self) -> None:
        process, self._supervisor = self._supervisor, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


@contextmanager
def _kept(file: Path) -> Iterator[None]:
    """Afterwards the file holds its present content again."""
    before = file.read_bytes() if file.exists() else None
    try:
        yield
    finally:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            write_whole(file, before)


def _state_of(child: Child) -> str:
    return "ready" if any(line.startswith("agents: ready") for line in child.tail(LOG_LINES)) else "starting"


def _addresses(sections: dict[str, dict[str, str]]) -> dict[str, str]:
    """The platform's addresses as environment, above any file that the working directory may hold."""
    return {
        f"BACKPLANE_{section}__{key.replace('.', '_')}".upper(): value
        for section, values in sections.items()
        for key, value in values.items()
    }


def _quoted(log: Path, title: str = "") -> str:
    lines = tail(log, LOG_LINES)
    return "".join(f"\n    {line}" for line in ([title, *lines] if title and lines else lines))
