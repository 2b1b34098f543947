"""What is imported is declared: by the distribution itself for the SDK and the command line, else by an extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

from backplane.cli.extras import EXTRA_OF

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL_IN_THE_SDK: Final = {"tantivy", "aiokafka", "genai_prices"}
"""Imported where they are used: with an error that names the extra, or not at all where it is missing."""
THROUGH: Final = {
    "httpx2": "mcp",
    "mcp_types": "mcp",
    "mode": "faust-streaming",
    "pydantic_monty": "pydantic-monty",
    "starlette": "fastapi",
}
"""Modules that a distribution brings by one of its own needs, as parts of itself."""


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, normalised."""
    return {re.split(r"[\[<>=; ]", each)[0].lower().replace("_", "-") for each in requirements}


OWN: Final = names(PROJECT["dependencies"])
EXTRAS: Final = {extra: names(needed) for extra, needed in PROJECT["optional-dependencies"].items() if extra != "all"}


def imported(folder: str) -> dict[str, str]:
    """Top-level modules that the folder's files import from elsewhere → one of the files."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            for module in modules:
                found.setdefault(module.partition(".")[0], str(path.relative_to(ROOT)))
    ours = {"agents_sdk", "backplane", *sys.stdlib_module_names}
    return {module: path for module, path in found.items() if module not in ours}


@cache
def installed() -> Mapping[str, list[str]]:
    """Module → the distributions that bring it. Reads the list of files of each one: seconds."""
    return packages_distributions()


def distributions(module: str) -> set[str]:
    """What is installed that brings the module."""
    return {name.lower().replace("_", "-") for name in installed().get(module, ())}


def test_the_sdk_imports_what_the_distribution_itself_needs() -> None:
    """Nothing of an extra, but for what it does without."""
    assert {
        module: path
        for module, path in imported("agents_sdk").items()
        if module not in OPTIONAL_IN_THE_SDK and not distributions(module) & OWN
    } == {}


def test_what_the_services_import_is_declared_and_its_extra_named() -> None:
    """A module of an extra is in the table by which a command says what to install, under an extra that brings it."""
    for module, path in imported("services/backplane").items():
        if distributions(module) & OWN:
            assert module not in EXTRA_OF, module
            continue
        assert module in EXTRA_OF, f"{path} imports {module}"
    for module, extra in EXTRA_OF.items():
        brought = distributions(module)
        assert brought, module
        assert brought & EXTRAS[extra] or THROUGH.get(module) in EXTRAS[extra], module


def test_all_is_every_extra() -> None:
    """Nothing is left out of what `backplane up` needs."""
    assert PROJECT["optional-dependencies"]["all"] == [f"agent-backplane[{','.join(EXTRAS)}]"]
