"""Agents run by a test, in its own process or in others, against a platform that other tests use as well."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from agents_sdk import Agent, AgentsRunner, Settings
from agents_sdk.scope import new_id

AGENTS: Final = Path(__file__).parent / "sdk_agents.py"


class Process:
    """``backplane agents run`` in a process of its own."""

    def __init__(
        self, settings: Settings, *agents: str, instance: str = "", local: Sequence[str] = (), trust: bool = False
    ) -> None:
        options = [part for name in agents for part in ("--agent", name)]
        options += [part for name in local for part in ("--local", name)]
        options += ["--trust"] if trust else []
        options += ["--data-dir", str(settings.data_dir), "--instance", instance]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(AGENTS), *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("agents: ready: "), line + self.process.stderr.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.process.pid, number)
        self.process.communicate(timeout=20)
        return self.process.returncode


@contextlib.contextmanager
def processes(*started: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for one in started:
            if one.process.poll() is None:
                one.end(signal.SIGKILL)


@contextlib.asynccontextmanager
async def running(
    settings: Settings, *agents: Agent, concurrency: int = 64, trust: bool = False
) -> AsyncIterator[AgentsRunner]:
    """These agents, in this process; ``trust``: with whatever they declare."""
    runner = AgentsRunner(agents, settings, concurrency=concurrency, trust=trust)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def own(what: str) -> str:
    """A name nobody else has: the platform is shared."""
    return f"{what}-{new_id()[-12:]}"
