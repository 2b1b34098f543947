"""How a command line names a run: by its id, by the first characters of an id, or as ``last``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from pathlib import Path

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, its first characters, or `last`.")]
"""``run: RunName`` in every command that takes a run; see ``named_run``."""
BEGINNING: Final = re.compile(r"[0-9a-fA-F-]{4,35}")
"""Possible first characters of an id that was made up for a run; other names are ids of the caller's own."""


def named_run(text: str, data_dir: Path | None = None, *, wait: bool = True) -> str:
    """The id of the run that ``text`` names. The store is asked only where the name is not an id itself.

    Args:
        text: a name; an empty one stays empty.
        data_dir: the platform's.
        wait: wait until the store has what Kafka has, since a run may have begun a moment ago.

    Raises:
        UnknownRun: the store has no such run, or several.
        Unreachable: the store has to be asked, and does not answer.
    """
    from agents_sdk.settings import load_settings
    from backplane.cli.asked_run import await_store
    from backplane.insight.answers import LATEST, find_run
    from backplane.store.queries import connect_store

    if text not in LATEST and not BEGINNING.fullmatch(text):
        return text
    options: dict[str, Any] = {"data_dir": data_dir} if data_dir else {}
    settings = load_settings(**options)
    if wait:
        await_store(settings)
    return find_run(connect_store(settings), text)
