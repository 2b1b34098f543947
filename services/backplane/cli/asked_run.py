"""A run that a command asks the store about, and the wait until the store has all of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import (
    ExitCode,
    message,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from backplane.insight.answers import Progress


WAIT_S: Final = 10.0
"""The store lags by two seconds at most; a busy machine gets five times that."""

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, its first characters, or `last`.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait up to 10 s until the store has all facts of the run.")
]


def await_store(settings: Settings) -> None:
    """Waits, at most WAIT_S, until the store has what Kafka has: a run that began a moment ago may not be there."""
    from backplane.store.queries import behind

    deadline = time.monotonic() + WAIT_S
    while behind(settings) and time.monotonic() < deadline:
        time.sleep(0.1)


class AskedRun:
    """A run, found in the store, or all runs for an empty text; ``seen`` says whether all of it is there."""

    def __init__(self, text: str, data_dir: Any, wait: bool) -> None:
        from backplane.insight.answers import Progress, find_run, wait_for
        from backplane.store.queries import behind, connect_store

        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        self.settings = settings
        self.client: Client = connect_store(settings)
        self.run: str
        self.seen: Progress
        if wait:
            await_store(settings)
        if not text:
            self.run, self.seen = "", Progress(0, 0, 0)
            return
        self.run = find_run(self.client, text)
        timeout = WAIT_S if wait else 0.0
        self.seen = wait_for(self.client, self.run, lambda: behind(settings), timeout)

    def finish(self) -> None:
        """Ends the command, with what it means when facts are missing."""
        if self.run and not self.seen.whole:
            lacking = self.seen.last_seq - self.seen.facts
            message(f"warning: the store lacks {lacking} facts of this run; what is shown is not all of it")
            message("hint: try again in a moment; `backplane status` shows how many facts the store lacks")
            raise typer.Exit(ExitCode.NOT_VERIFIED)


def slim(event: Any) -> dict[str, Any]:
    """The event's fields that say something."""
    return {name: value for name, value in msgspec.to_builtins(event).items() if value not in ("", 0, False, [])}
