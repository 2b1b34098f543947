"""``python -m backplane.executor``: one executor; more of them share the partitions."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from agents_sdk import core_dumps
from agents_sdk.patience import Patience
from agents_sdk.settings import load_settings
from agents_sdk.topics import ATTEMPTS, CALLS, COMMANDS
from backplane.executor.app import create
from backplane.executor.live import LiveRegistry
from backplane.manifests.manifest import ManifestError
from backplane.manifests.registry import load_registry
from backplane.runtime.app import run
from backplane.runtime.import_path import admit
from backplane.runtime.reached import reached
from backplane.runtime.spare import when_its_turn_comes

log = logging.getLogger("backplane.executor")

LATER: Final[tuple[str, ...]] = ()
"""Modules that are imported when they are needed, which is at the start."""


def main() -> None:
    """Parses the command line and runs until it is stopped. Exits with 2 when a manifest cannot be used."""
    core_dumps.forbid(wholly=True)
    admit(Path.cwd())  # functions that manifests name
    parser = argparse.ArgumentParser(prog="backplane.executor", description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--http-port", type=int, required=True)
    options = parser.parse_args()
    overrides = {"data_dir": options.data_dir} if options.data_dir else {}
    needed = (CALLS, ATTEMPTS, COMMANDS)
    patience = Patience(log)
    with patience.together():
        settings, codec = when_its_turn_comes(
            partial(load_settings, **overrides), partial(reached, needed=needed, patience=patience), LATER
        )
        try:
            registry = load_registry(settings.capabilities.paths)
        except ManifestError as error:
            print(f"backplane executor: {error}", file=sys.stderr)
            sys.exit(2)
        live = LiveRegistry(settings, codec)
        patience.until_blocking(partial(live.open, registry, version("agent-backplane")))
    run(create(settings, codec, live, options.http_port))


if __name__ == "__main__":
    main()
