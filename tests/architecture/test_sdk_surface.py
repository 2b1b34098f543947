"""The SDK's public names, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys

import agents_sdk

HEAVY = ("faust", "mode", "aiokafka", "clickhouse_connect", "chdb", "backplane", "confluent_kafka", "pydantic")
SERVICES_ONLY = ("faust", "mode", "aiokafka", "clickhouse_connect", "chdb", "backplane")


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running this."""
    program = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_all_is_sorted_and_every_name_is_there() -> None:
    """The list is what the package offers, no more and no less."""
    assert agents_sdk.__all__ == sorted(agents_sdk.__all__, key=str)
    assert all(getattr(agents_sdk, name).__name__ == name for name in agents_sdk.__all__)
    assert set(agents_sdk._HOME) <= set(agents_sdk.__all__)


def test_importing_the_names_of_an_agents_module_loads_nothing_heavy() -> None:
    """An author's module is imported by tools and tests that never connect."""
    assert not loaded_after("from agents_sdk import Agent, Backplane") & set(HEAVY)


def test_the_whole_sdk_knows_nothing_of_the_services() -> None:
    """Neither faust nor clickhouse_connect, nor our own processes, even with every module loaded."""
    code = (
        "import importlib, pkgutil, agents_sdk\n"
        "for found in pkgutil.walk_packages(agents_sdk.__path__, 'agents_sdk.'): importlib.import_module(found.name)"
    )
    loaded = loaded_after(code)

    assert "confluent_kafka" in loaded or "fastavro" in loaded
    assert not loaded & set(SERVICES_ONLY)
