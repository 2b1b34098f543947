"""The platform that is shot at: two ledgers, two executors, two processes of agents."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from infra.local.parts import TABLE as USUAL
from infra.local.parts import python_part
from infra.local.platform import LocalPlatform

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
LEDGERS: Final = ("ledger", "ledger-2")
EXECUTORS: Final = ("executor", "executor-2")
PARTS: Final = ("kafka", "registry", "topics", "ledger", "executor")


def _table() -> Any:
    ledger = python_part("ledger", "tests.support.chaos.ledger", worker=True)
    return tuple(replace(ledger, nice=part.nice) if part.name == "ledger" else part for part in USUAL)


TABLE: Final = _table()
"""The platform's parts; the ledger takes snapshots more often."""


def target(data_dir: Path, **env: str) -> LocalPlatform:
    """A platform to be started."""
    return LocalPlatform(
        data_dir,
        parts=PARTS,
        workers={"ledger": 2, "executor": 2},
        table="tests.support.chaos.platform:TABLE",
        env={"PYTHONPATH": str(ROOT), "BACKPLANE_CAPABILITIES__PATHS": str(HERE / "capabilities"), **env},
    )


class AgentsProcess:
    """A process that runs the agents, started again when it was killed. With an ``instance`` it gets its work back at
    once, without one when its session has timed out."""

    def __init__(self, data_dir: Path, name: str, instance: str = "", module: str = "agents.py") -> None:
        self._module = HERE / module
        self._data_dir = data_dir
        self._instance = instance
        self.log = data_dir / "logs" / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def ready(self) -> bool:
        """Whether the process started last has said that it works."""
        return self.log.exists() and self.log.read_text().count("agents: ready") >= self._starts

    def start(self) -> None:
        command = [sys.executable, "-m", "services.cli.app", "agents", "run", str(self._module)]
        command += ["--data-dir", str(self._data_dir), "--instance", self._instance]
        self._starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def watch(self) -> None:
        """Starts it again if it ended by itself: it cannot start while the broker is down, and says so."""
        if self._process is not None and self._process.poll() is not None:
            self.start()
