"""The tiers mirror the packages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.conftest import BESIDE_NOBODY, KILLED, SEALED, SERVED
from tests.support.durations import BUDGETS_S

ROOT: Final = Path(__file__).parents[2]
OF_TESTS: Final = {"chaos"}
"""Folders of unit tests whose subject lies in ``tests/support``."""


def packages() -> set[str]:
    """Names of the rooms: packages of the platform, the SDK, and the packages of the SDK."""
    parents = (ROOT / "services" / "backplane", ROOT / "agents_sdk")
    return {"agents_sdk"} | {found.parent.name for parent in parents for found in parent.glob("*/__init__.py")}


def test_a_folder_of_unit_tests_has_the_name_of_its_package() -> None:
    folders = {path.parent.name for path in (ROOT / "tests" / "unit").rglob("test_*.py")}
    assert folders - packages() - OF_TESTS == set()


def test_the_tiers_are_the_same_everywhere() -> None:
    """The Makefile, the budgets and the order of the tests name the same tiers, and each is a folder."""
    line = re.search(r"^TIERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    assert set(line[1].split()) == {*SEALED, *SERVED} == set(BUDGETS_S)
    assert all((ROOT / "tests" / name).is_dir() for name in BUDGETS_S)


def test_modules_that_share_a_platform_run_in_one_process() -> None:
    """The lists in the scheduler name the modules that take the fixture of their tier, and no others."""
    faults = {path.name: path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py")}
    own = ("def platform(", "laned(", "LocalPlatform(")
    sharing = {name for name, text in faults.items() if "platform: " in text and not any(one in text for one in own)}
    assert sharing == set(KILLED)
    others = {path.name: path.read_text() for path in (ROOT / "tests" / "integration").rglob("test_*.py")}
    assert {name for name, text in others.items() if re.search(r"[(]broker: ", text)} == set(BESIDE_NOBODY)
