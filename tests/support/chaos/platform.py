"""The platform whose processes are killed: two ledgers, two executors, two processes of agents."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backplane.platform import ports
from backplane.platform.errors import NotRunning
from backplane.platform.parts import TABLE as USUAL
from backplane.platform.parts import Launch, Part, Site, python_part
from backplane.platform.platform import LocalPlatform
from backplane.platform.ports import LOOPBACK
from tests.support.chaos.lane import Lane

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


def target(data_dir: Path, parts: Sequence[str] = PARTS, *, users: bool = True, **env: str) -> LocalPlatform:
    """A platform to be started; without ``users`` its Kafka asks nobody who he is."""
    return LocalPlatform(
        data_dir,
        parts=parts,
        workers={"ledger": 2, "executor": 2},
        table="tests.support.chaos.platform:TABLE",
        env={"PYTHONPATH": str(ROOT), "BACKPLANE_CAPABILITIES__PATHS": str(HERE / "capabilities"), **env},
        users=users,
    )


LANES: Final = "CHAOS_LANES"
"""The variable that says which ports lead through a lane: by name, the lane's and the broker's behind it."""


def _laned_format(site: Site) -> Launch | None:
    """The broker has a listener behind each lane, and tells whoever comes by it to come back by it."""
    launch = next(part for part in USUAL if part.name == "format").launch(site)
    config = site.layout.store("kafka") / "server.properties"
    lanes: dict[str, tuple[int, int]] = json.loads(os.environ[LANES])
    kinds = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *(f"{_listener(name)}:PLAINTEXT" for name in lanes)]
    doors = "".join(f",{_listener(name)}://{LOOPBACK}:{door}" for name, (_, door) in lanes.items())
    ways = "".join(f",{_listener(name)}://{LOOPBACK}:{lane}" for name, (lane, _) in lanes.items())
    text = re.sub(r"^listeners=.*$", rf"\g<0>{doors}", config.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^advertised\.listeners=.*$", rf"\g<0>{ways}", text, flags=re.MULTILINE)
    mapped = f"listener.security.protocol.map={','.join(kinds)}"
    text = re.sub(r"^listener\.security\.protocol\.map=.*$", mapped, text, flags=re.MULTILINE)
    config.write_text(f"{text}\ninter.broker.listener.name=PLAINTEXT\n")
    return launch


def _listener(lane: str) -> str:
    return lane.replace("-", "").upper()


def _in_a_lane(part: Part) -> Part:
    """The first worker takes the first lane, its copy the second."""

    def launch(site: Site) -> Launch | None:
        usual = part.launch(site)
        lanes = list(json.loads(os.environ[LANES]).values())
        second = site.ports.get(f"{part.name}-2") == site.ports[part.name]
        assert usual is not None
        way = f"{LOOPBACK}:{lanes[1 if second else 0][0]}"
        return Launch(usual.argv, {**usual.env, "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": way})

    return replace(part, launch=launch)


LANED: Final = tuple(
    replace(part, launch=_laned_format)
    if part.name == "format"
    else _in_a_lane(part)
    if part.name in ("ledger", "executor")
    else part
    for part in TABLE
)
"""As ``TABLE``; each worker reaches the broker through a lane of the test's."""


@contextlib.contextmanager
def laned(
    data_dir: Path, seed: int, parts: Sequence[str] = PARTS, **env: str
) -> Iterator[tuple[LocalPlatform, dict[str, Lane]]]:
    """The platform whose processes are killed, started, and the lanes of its workers."""
    names = ("lane-1", "lane-2")
    chosen = ports.choose([*names, *(f"{name}/door" for name in names)], {})
    told = {name: (chosen[name], chosen[f"{name}/door"]) for name in names}
    clock = data_dir / "clock"
    data_dir.mkdir(parents=True, exist_ok=True)
    clock.write_text("0")
    platform = target(data_dir, parts, users=False, **env)  # its lanes are listeners of their own
    platform._options[platform._options.index("--table") + 1] = "tests.support.chaos.platform:LANED"
    path = os.pathsep.join((str(HERE / "site"), str(ROOT)))
    platform._env |= {LANES: json.dumps(told), "CHAOS_CLOCK": str(clock), "PYTHONPATH": path}
    with contextlib.ExitStack() as stack:
        lanes = {name: stack.enter_context(Lane(*pair, seed=seed)) for name, pair in told.items()}
        yield stack.enter_context(platform), lanes


class AgentsProcess:
    """A process that runs the agents, started again when it was killed. With an ``instance`` it gets its work back at
    once, without one when its session has timed out."""

    def __init__(
        self,
        data_dir: Path,
        name: str,
        instance: str = "",
        module: str = "agents.py",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._env = {**os.environ, **(env or {})}
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
        command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(self._module)]
        command += ["--data-dir", str(self._data_dir), "--instance", self._instance]
        self._starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=self._env)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        if self._process is None or self._process.poll() is not None:
            raise NotRunning("the agents have no process at this moment")
        return self._process.pid

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
