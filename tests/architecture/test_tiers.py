"""The tiers mirror the packages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.conftest import SEALED, SERVED
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
