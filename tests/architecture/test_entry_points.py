"""The ways in: make, CI and the README say what there is, and no more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAKEFILE: Final = (ROOT / "Makefile").read_text()
README: Final = (ROOT / "README.md").read_text()


def targets(makefile: str) -> set[str]:
    """What can be asked of make: every rule but those that make files."""
    return set(re.findall(r"^([a-z][a-z-]*%?):", makefile, re.MULTILINE))


def test_make_help_lists_every_target() -> None:
    """A target without a line of help is one that nobody finds."""
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  make ([a-z%-]+) +\S", shown, re.MULTILINE))

    assert {"help", "install", "check", "test", "test-%", "demo", "bench"} <= listed
    assert targets(MAKEFILE) == listed
    assert targets("new: ; true\n") == {"new"}  # one that is not listed would be seen


def test_ci_runs_make_test_and_nothing_cleverer() -> None:
    """With a browser; what is green there is green on a desk."""
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]

    assert commands == ["make browser", "make test"]


def test_readme_names_only_what_there_is() -> None:
    """Every `make` target and every path of the checkout that the README sends people to."""
    assert set(re.findall(r"\bmake ([a-z-]+)`", README)) <= targets(MAKEFILE)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_an_agent_of_ones_own_is_twenty_lines(block: str) -> None:
    """The first thing a newcomer types is short."""
    assert 5 < len([line for line in block.splitlines() if line.strip()]) <= 20


def test_the_agent_of_the_readme_is_the_example() -> None:
    """It is the code of ``examples/hello.py``, which is type-checked and run."""
    (block,) = re.findall(r"```python\n# hello.py\n(.*?)```", README, re.DOTALL)

    assert (ROOT / "examples" / "hello.py").read_text().endswith(f'"""\n\n{block}')


def test_the_first_pages_are_short() -> None:
    """The README fits on a few screens, and the architecture is read in one sitting."""
    assert len(README.splitlines()) <= 120
    assert len((ROOT / "ARCHITECTURE.md").read_bytes()) <= 12 * 1024


def test_the_journeys_of_contributing_lead_somewhere() -> None:
    """Each file and folder that CONTRIBUTING names is in the checkout, below one of the places that it says."""
    named = re.findall(r"`([a-z_]+(?:/[a-zA-Z_.0-9]+)+)`", (ROOT / "CONTRIBUTING.md").read_text())
    places = (ROOT, ROOT / "services" / "backplane", ROOT / "agents_sdk")

    assert len(named) > 30
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
