"""``backplane up``: start the local platform."""

from __future__ import annotations

import shlex
import time
from typing import Annotated

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli import extras
from backplane.cli.output import (
    DataDir,
    ExitCode,
    message,
)
from backplane.platform.layout import Layout


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
    from backplane.platform.parts import RENAMED, load_table, select

    for old in set(names) & RENAMED.keys():
        message(f"hint: the part {old!r} is called {RENAMED[old]!r} now; the old name goes with 0.2")

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
