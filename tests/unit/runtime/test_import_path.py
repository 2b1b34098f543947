"""A user's modules beside ours, Python's and installed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backplane.runtime.import_path import admit, module_name

OURS = (
    "import sys; from pathlib import Path; from backplane.runtime.import_path import admit; admit(Path(sys.argv[1]));"
)


def said(folder: Path, code: str) -> str:
    """What a process prints that runs ``code`` with the folder's modules importable."""
    command = [sys.executable, "-P", "-c", f"{OURS} {code}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["services", "infra", "tests", "schemas", "agents", "httpx"])
def test_a_module_of_the_project_wins_over_an_installed_one(tmp_path: Path, name: str) -> None:
    """As in a script; packages too."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("OWN = 1")
    assert said(tmp_path, f"import {name}; print({name}.OWN)") == "1"


@pytest.mark.parametrize("name", ["secrets", "types", "queue", "platform"])
def test_no_module_of_the_project_takes_the_place_of_one_of_python(tmp_path: Path, name: str) -> None:
    """Our packages, and those they rest on, import these."""
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('not Python's own')")
    assert said(tmp_path, f"import {name}; print({name}.__name__)") == name


def test_a_file_is_loaded_under_its_own_name_unless_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file ``secrets.py`` must not become the module ``secrets`` for everybody else."""
    assert module_name(Path("/shop/helpful_agents.py")) == "helpful_agents"
    assert module_name(Path("/shop/secrets.py")) == "secrets_of_shop"
    monkeypatch.setitem(sys.modules, "helpful_agents", sys)
    assert module_name(Path("/shop/helpful_agents.py")) == "helpful_agents_of_shop"


def test_a_folder_is_admitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often modules of it are loaded."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    admit(tmp_path)
    admit(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
