"""``backplane up | down | status | logs``: the local platform."""

from __future__ import annotations

import shlex
import time
from typing import Annotated, Any, Final

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli import extras
from backplane.cli.output import DataDir, ExitCode, JsonFlag, message, print_json, print_rows
from backplane.cli.shown import write_line
from backplane.platform.errors import NotRunning, PlatformError, UnknownPart
from backplane.platform.layout import Layout

FOLLOW_EVERY_S: Final = 0.2
SHOWN_RIGHTS: Final = 6
"""Of what an agent asks for, in one line."""


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it is ready; it goes on running.")
    ] = False,
    data_dir: DataDir = None,
    profile: Annotated[str, typer.Option(help="How much memory: small, dev or bench.")] = "dev",
    worker: Annotated[
        list[str] | None, typer.Option("--workers", metavar="PART=N", help="Run N ledgers or executors.")
    ] = None,
    parts: Annotated[str, typer.Option(help="Only these parts, joined by commas.")] = "",
    trust: Annotated[
        bool, typer.Option("--trust", help="Grant whatever agents declare, without asking: while developing.")
    ] = False,
    kafka_login: Annotated[
        bool, typer.Option("--kafka-login/--no-kafka-login", help="Kafka asks who is there, or lets everybody in.")
    ] = True,
) -> None:
    """Start the local platform and keep it running until Ctrl-C, or in the background with --detach.

    The first start fetches Kafka and the registry (150 MB); later ones need no network.
    """
    names = [name for name in parts.split(",") if name]
    extras.require(names or ("executor", "console"))
    from backplane.platform.java import PROFILES
    from backplane.platform.parts import load_table, select

    if profile not in PROFILES:
        raise typer.BadParameter(f"no profile {profile!r}; there are {', '.join(PROFILES)}")
    workers = _workers(worker or [])
    rows = select(load_table(), names, workers)
    layout = Layout(settle_data_dir(data_dir))
    if detach:
        flags = [*(["--trust"] if trust else []), *([] if kafka_login else ["--no-kafka-login"])]
        _up_detached(layout, profile, names, workers, flags)
        return
    from backplane.platform.supervisor import Supervisor, say_on_stderr

    if Supervisor(layout, rows, profile=profile, trust=trust, users=kafka_login, say=say_on_stderr).run():
        raise typer.Exit(ExitCode.INTERRUPTED)


def _workers(given: list[str]) -> dict[str, int]:
    workers = {}
    for item in given:
        name, _, number = item.partition("=")
        if not number.isdigit() or not int(number):
            raise typer.BadParameter(f"{item!r} is not PART=NUMBER, for instance ledger=2")
        workers[name] = int(number)
    return workers


def _up_detached(layout: Layout, profile: str, names: list[str], workers: dict[str, int], flags: list[str]) -> None:
    from backplane.platform import artifacts
    from backplane.platform.platform import launch, wait_until_ready

    artifacts.jars()  # here, where its progress can be seen
    options = ["--profile", profile, "--parts", ",".join(names), *flags]
    for name, count in workers.items():
        options += ["--worker", f"{name}={count}"]
    began = time.monotonic()
    supervisor = launch(layout, options)
    try:
        wait_until_ready(layout, supervisor)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    message(f"platform: ready after {time.monotonic() - began:.1f} s, pid {supervisor.pid}, data in {layout.data_dir}")
    where = "" if layout.data_dir == settle_data_dir(None) else f" --data-dir {shlex.quote(str(layout.data_dir))}"
    message(f"stop it with `backplane down{where}`, see it with `backplane status{where}`")


def down(data_dir: DataDir = None) -> None:
    """Stop the local platform and wait until nothing of it is left; stopping what does not run is no error."""
    from backplane.platform.platform import stop

    layout = Layout(settle_data_dir(data_dir))
    if stop(layout):
        message("platform: stopped")
    else:
        message(f"no platform runs in {str(layout.data_dir)!r}")


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
    """What was not granted, as far as a line has room."""
    more = len(missing) - SHOWN_RIGHTS
    return ", ".join(missing[:SHOWN_RIGHTS]) + (f" and {more} more" if more > 0 else "")


def _alarms(found: dict[str, Any]) -> list[str]:
    """Partitions that stand still, parts that die again and again, and what else an operator has to mend."""
    lines = [f"ALARM: {notice['what']}; {notice['mend']} ({notice['times']} times)" for notice in found["notices"]]
    again = [part["part"] for part in found["parts"] if part["state"] == "backoff"]
    return lines + [f"ALARM: {name} ended and is started again: `backplane logs {name}`" for name in again]


def _books(books: dict[str, Any] | None) -> list[str]:
    """What the store found when it last held its rows against Kafka's offsets."""
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


def logs(
    part: Annotated[str, typer.Argument(help="A part, or `supervisor`; without it, the last lines of all.")] = "",
    data_dir: DataDir = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")] = False,
) -> None:
    """Show what the parts have logged, also after they have stopped."""
    from backplane.platform.child import tail

    layout = Layout(settle_data_dir(data_dir))
    known = sorted(path.stem for path in layout.logs.glob("*.log"))
    if part and part not in known:
        raise UnknownPart(f"no log of {part!r} in {str(layout.logs)!r}", hint=f"there are {', '.join(known) or 'none'}")
    if not known:
        raise PlatformError(f"no logs in {str(layout.logs)!r}", hint="start the platform with `backplane up`")
    chosen = [part] if part else known
    seen = {name: _size(layout, name) for name in chosen}
    for name in chosen:
        for line in tail(layout.log(name), lines if part else 5):
            write_line(line if part else f"{name}: {line}")
    while follow:
        for name in chosen:
            seen[name] = _print_new(layout, name, seen[name], "" if part else f"{name}: ")
        time.sleep(FOLLOW_EVERY_S)


def _size(layout: Layout, name: str) -> int:
    return layout.log(name).stat().st_size


def _print_new(layout: Layout, name: str, start: int, prefix: str) -> int:
    """Print the whole lines after byte ``start``; returns where the next ones begin."""
    if _size(layout, name) < start:  # cut short by the supervisor: begin anew
        start = 0
    with layout.log(name).open("rb") as file:
        file.seek(start)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        write_line(prefix + line)
    return start + len(whole)
