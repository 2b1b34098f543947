"""Whether an executor can load the Python functions that manifests name: asked in a process like the executor's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from backplane.manifests.registry import RegisteredCapability

LOAD: Final = """
import json, sys
from pathlib import Path
from backplane.manifests.python_functions import load
from backplane.runtime.import_path import admit
admit(Path.cwd())
asked, problems = json.load(sys.stdin), {}
for name in asked:
    try:
        load(name)
    except BaseException as error:
        problems[name] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps({"problems": problems, "path": sys.path}))
"""
LIMIT_S: Final = 60.0
"""For all imports together."""


class Place(NamedTuple):
    """Where an executor of this machine runs."""

    folder: str
    environment: Mapping[str, str]


def executor_of(data_dir: Path) -> Place | None:
    """Where an executor of the local platform runs; None: none runs here."""
    import psutil

    from backplane.platform.layout import Layout

    layout = Layout(data_dir)
    if not layout.running():
        return None
    for name, part in layout.read_record().get("parts", {}).items():
        if name.startswith("executor") and part.get("pid"):
            try:
                process = psutil.Process(part["pid"])
                return Place(process.cwd(), process.environ())
            except psutil.Error:
                continue
    return None


def functions(contracts: Iterable[RegisteredCapability]) -> dict[str, str]:
    """The functions that manifests name → the manifest."""
    named: dict[str, str] = {}
    for contract in contracts:
        for provider in contract.capability.providers:
            for function in (getattr(provider, "function", ""), getattr(provider, "reconcile", "")):
                if isinstance(function, str) and ":" in function:
                    named[function] = f"{contract.source}: {contract.capability.name}/{provider.name}"
    return named


def problems(named: Mapping[str, str], place: Place) -> tuple[list[str], list[str]]:
    """Modules that cannot be loaded there, a line each; and the folders in which Python looks."""
    if not named:
        return [], []
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", LOAD],
            input=json.dumps(list(named)),
            cwd=place.folder,
            env=dict(place.environment),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
        said: dict[str, Any] = json.loads(done.stdout.rsplit("\n", 2)[-2])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        return [f"the functions could not be tried: {type(error).__name__}"], []
    lines = [f"{named[name]}: {name} cannot be loaded: {why}" for name, why in said["problems"].items()]
    return lines, [path or place.folder for path in said["path"]]
