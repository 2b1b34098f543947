"""A release of the product in a folder of its own: one that was cut, and the one that comes next."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from agents_sdk.settings import cache_dir

ROOT: Final = Path(__file__).parents[2]
WHEELS: Final = ROOT / "tests" / "releases"
"""One wheel of each release that was cut, as it was."""
KEPT: Final = ("PATH", "BACKPLANE_MAVEN_URL", "BACKPLANE_PORTS")


def version_of(wheel: Path) -> tuple[int, ...]:
    """Of a release, by the name of its wheel."""
    return tuple(int(number) for number in wheel.name.split("-")[1].split("."))


def last_cut() -> Path:
    """The wheel of the newest release."""
    return max(WHEELS.glob("*.whl"), key=version_of)


class Release:
    """Code that runs with the packages of this environment, whose own version of it is not seen."""

    def __init__(self, home: Path, *roots: Path) -> None:
        """``roots``: where its packages lie; ``home``: nothing of the user's."""
        self._environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "HOME": str(home),
            # the jars and their start-up archives: a start without these costs twice the processor time
            "BACKPLANE_CACHE_DIR": str(cache_dir()),
            "PYTHONPATH": os.pathsep.join(map(str, roots)),
        }

    def process(self, data_dir: Path, *arguments: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A command of ours that goes on."""
        command = self._command(data_dir, *arguments)
        with log.open("wb") as out:
            return subprocess.Popen(command, env=self._environment | environment, stdout=out, stderr=out)

    def run(self, data_dir: Path, *arguments: str) -> str:
        """What a command of ours prints. Fails the test where it fails."""
        command = self._command(data_dir, *arguments)
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _command(self, data_dir: Path, *arguments: str) -> list[str]:
        command = [sys.executable, "-P", "-m", "backplane.cli.app", *arguments]
        return [*command, "--data-dir", str(data_dir)]


def unpacked(wheel: Path, home: Path) -> Release:
    """The release that a wheel has."""
    folder = home / wheel.stem
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return Release(home, folder)


FIELD: Final = "written_by_release"
"""What the next release adds to RunEvent."""


def next_release(home: Path) -> Release:
    """This checkout with what most releases bring: a field of a record, and a column of the store for it."""
    folder = home / "next"
    for name in ("agents_sdk", "services", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    avro = folder / "schemas" / "avro"
    newest = max(avro.glob("RunEvent.v*.avsc"), key=lambda path: int(path.stem.rsplit(".v", 1)[1]))
    number = int(newest.stem.rsplit(".v", 1)[1]) + 1
    schema = json.loads(newest.read_text())
    schema["fields"].append({"name": FIELD, "type": "string", "default": "", "doc": "Which release decided it."})
    (avro / f"RunEvent.v{number}.avsc").write_text(json.dumps(schema))

    facts = folder / "agents_sdk" / "core" / "facts.py"
    text, found = re.subn(r"(class RunEvent\(.*?\n    started_by: str = \"\"\n)", rf'\1    {FIELD}: str = ""\n',
                          facts.read_text(), flags=re.DOTALL)  # fmt: skip
    assert found == 1
    facts.write_text(text)

    migrations = folder / "schemas" / "clickhouse"
    last = max(int(path.name[:4]) for path in migrations.glob("*.sql"))
    column = f"ALTER TABLE {{database}}.events {{cluster}} ADD COLUMN IF NOT EXISTS {FIELD} String"
    (migrations / f"{last + 1:04}_next.sql").write_text(f"{column} COMMENT 'Which release decided it';\n")
    return Release(home, folder, folder / "services")
