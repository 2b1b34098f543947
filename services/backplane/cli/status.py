"""``backplane status``: each part of the local platform."""

from __future__ import annotations

import shlex
import time
from typing import Any, Final

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli.output import (
    DataDir,
    ExitCode,
    JsonFlag,
    message,
    print_json,
    print_rows,
)
from backplane.platform.errors import NotRunning
from backplane.platform.layout import Layout

SHOWN_RIGHTS: Final = 6
"""Of what an agent asks for, in one line."""
COLUMNS: Final = ("part", "state", "pid", "port", "rss_mb", "restarts", "uptime_s", "lag", "last_exit")


def status(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show each part of the platform. The exit code is 0 when all are ready, 1 when not, 5 when none runs."""
    from backplane.platform.status import read

    layout = Layout(settle_data_dir(data_dir))
    found = read(layout)
    if found["state"] == "stopped":
        raise NotRunning(f"no platform runs in {str(layout.data_dir)!r}", data_dir=str(layout.data_dir))
    if as_json:
        print_json(found)
    else:
        message(f"platform: {found['state']}, {found['rss_mb']} MB, data in {layout.data_dir}")
        print_rows(COLUMNS, [[_cell(part[column]) for column in COLUMNS] for part in found["parts"] if part["shown"]])
        for part in found["parts"]:
            if part["part"] == "console" and part["state"] == "ready":
                message(f"console: http://127.0.0.1:{part['port']}/")
        for agent, waiting in found["inboxes"].items():
            message(f"inbox of {agent}: {waiting} not handled yet")
        if found["refused"]:
            counted = ", ".join(f"{count} {code}" for code, count in found["refused"].items())
            message(f"refused for want of identity: {counted}; `backplane agents list` says of whom")
        for agent, missing in found["withheld"].items():
            message(f"approval: {agent!r} asks for {_listed(missing)}; `backplane agents approve {shlex.quote(agent)}`")
        for line in (*_alarms(found), *_books(found["books"])):
            message(line)
    if found["state"] != "ready":
        raise typer.Exit(ExitCode.FAILURE)


def _listed(missing: list[str]) -> str:
    """Rights that were not granted, as far as a line has room."""
    more = len(missing) - SHOWN_RIGHTS
    return ", ".join(missing[:SHOWN_RIGHTS]) + (f" and {more} more" if more > 0 else "")


def _alarms(found: dict[str, Any]) -> list[str]:
    """Partitions that stand still, parts that die again and again, and what else an operator has to mend."""
    lines = [f"ALARM: {notice['what']}; {notice['mend']} ({notice['times']} times)" for notice in found["notices"]]
    again = [part["part"] for part in found["parts"] if part["state"] == "backoff"]
    return lines + [f"ALARM: {name} ended and is started again: `backplane logs {name}`" for name in again]


def _books(books: dict[str, Any] | None) -> list[str]:
    """The store's last comparison of its rows with Kafka's offsets."""
    if not books or "balanced" not in books:
        return []
    ago = max(0, round(time.time() - books["checked_at_ms"] / 1000))
    verdict = "balance" if books["balanced"] else "DO NOT BALANCE"
    return [
        f"books: {verdict}, {books['rows']} facts, checked {ago} s ago",
        *map("books: {}".format, books["problems"]),
    ]


def _cell(value: Any) -> Any:
    return sum(value.values()) if isinstance(value, dict) else value
