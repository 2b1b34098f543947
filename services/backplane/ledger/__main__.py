"""``python -m backplane.ledger``: one ledger worker; more of them share the partitions."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from typing import Final

from agents_sdk import core_dumps
from agents_sdk.patience import Patience
from agents_sdk.settings import load_settings
from agents_sdk.topics import COMMANDS, FACT_TOPICS, REPLIES
from backplane.ledger.app import create
from backplane.runtime.app import run
from backplane.runtime.reached import reached
from backplane.runtime.spare import when_its_turn_comes

log = logging.getLogger("backplane.ledger")

LATER: Final[tuple[str, ...]] = ()
"""Modules that are imported when they are needed, which is at the start."""


def main() -> None:
    """Parses the command line and runs until it is stopped."""
    core_dumps.forbid(wholly=True)
    parser = argparse.ArgumentParser(prog="backplane.ledger", description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--http-port", type=int, required=True)
    options = parser.parse_args()
    overrides = {"data_dir": options.data_dir} if options.data_dir else {}
    needed = (COMMANDS, REPLIES, *FACT_TOPICS)
    settings, codec = when_its_turn_comes(
        partial(load_settings, **overrides), partial(reached, needed=needed, patience=Patience(log)), LATER
    )
    run(create(settings, codec, options.http_port))


if __name__ == "__main__":
    main()
