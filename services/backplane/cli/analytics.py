"""``backplane analytics``: the schema of the store, and filling it again from Kafka."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import CommandError, DataDir, ExitCode, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The store's schema; filling it again from Kafka.")

WAIT_S: Final = 600.0
POLL_S: Final = 0.5


@app.callback()
def group() -> None:
    """The store's schema; filling it again from Kafka."""


def _settings(data_dir: Path | None) -> Settings:
    return load_settings(**({"data_dir": data_dir} if data_dir else {}))


@app.command()
def status(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Show which migrations are applied, and how large the tables are. The exit code is 1 when one is missing or was
    edited since."""
    from backplane.store.migrate import applied, migrations
    from backplane.store.queries import ask, connect_store
    from backplane.store.tables import Table

    settings = _settings(data_dir)
    client = connect_store(settings)
    done = applied(client, settings.clickhouse.database)
    states = [
        {
            "migration": one.name,
            "state": "missing" if one.number not in done else "applied" if done[one.number] == one.sha256 else "edited",
        }
        for one in migrations()
    ]
    tables = ask(client, "tables", Table)
    if as_json:
        import msgspec

        print_json(
            {"database": settings.clickhouse.database, "migrations": states, "tables": msgspec.to_builtins(tables)}
        )
    else:
        print_rows(("migration", "state"), [tuple(one.values()) for one in states])
        print_rows(
            ("table", "rows", "parts", "on disk", "bodies"),
            [(one.name, one.rows, one.parts, _mb(one.bytes_on_disk), _mb(one.body_bytes)) for one in tables],
        )
    if any(one["state"] != "applied" for one in states):
        message(
            "hint: `backplane analytics migrate` applies what is missing; after an edit, `backplane analytics rebuild`"
        )
        raise typer.Exit(ExitCode.FAILURE)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@app.command()
def migrate(
    cluster: Annotated[str, typer.Option(help="Create everything on this cluster, replicated.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the statements of all migrations.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Apply the migrations that are missing to a ClickHouse server. The embedded engine does so at each start."""
    from backplane.store.migrate import migrate as apply
    from backplane.store.migrate import migrations
    from backplane.store.queries import connect_store, store_errors

    settings = _settings(data_dir)
    if dry_run:
        for one in migrations():
            for statement in one.statements(settings.clickhouse.database, cluster):
                print(f"{statement};\n")
        return
    client = connect_store(settings, database="")
    if _embedded(client):
        message(
            "the embedded engine migrates by itself when it starts; `backplane analytics status` shows how far it is"
        )
        return
    with store_errors():
        done = apply(client, settings.clickhouse.database, cluster)
    for name in done:
        message(f"applied: {name}")
    message(f"migrations: {len(done)} applied, the store is up to date")


def _embedded(client: Client) -> bool:
    """Whether the store is the one in the sink, which lets nobody write."""
    from backplane.store.queries import query

    return bool(query(client, "SELECT getSetting('readonly') > 0").result_rows[0][0])


@app.command()
def rebuild(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if Kafka no longer has all that is stored.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Empty the store and fill it from Kafka, from the first offset on. The result is what it was: rows are a function
    of the records. Refused where Kafka has deleted facts that the store still has."""
    from backplane.sink.rebuild import ask_for_rebuild, lost_by_rebuild

    settings = _settings(data_dir)
    lost = lost_by_rebuild(settings)
    if lost and not force:
        first = ", ".join(f"{topic}[{partition}] {count}" for (topic, partition), count in sorted(lost.items())[:3])
        raise CommandError(
            "refused",
            f"Kafka no longer has {sum(lost.values())} offsets that the store has: {first}",
            "--force drops them",
        )
    if not yes and not typer.confirm("Empty the store and read all facts again?", err=True):
        raise typer.Abort
    ask_for_rebuild(settings)
    pid = _store_pid(settings)
    if pid is None:
        message("the store is emptied when `python -m backplane.sink` starts next")
        return
    os.kill(pid, signal.SIGTERM)
    _wait(settings, pid)


def _store_pid(settings: Settings) -> int | None:
    from backplane.platform.layout import Layout

    layout = Layout(Path(settings.data_dir))
    part: dict[str, Any] = layout.read_record().get("parts", {}).get("sink", {}) if layout.running() else {}
    return part.get("pid")


def _wait(settings: Settings, old: int) -> None:
    """Until the store has taken all in, as it says itself."""
    from backplane.sink.rebuild import asked_for
    from backplane.store.queries import behind

    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if _store_pid(settings) not in (old, None) and not asked_for(settings):
            lacking = behind(settings)
            if lacking == 0:
                message("the store is filled again; `backplane reconcile` holds it against Kafka")
                return
            if lacking is not None:
                message(f"{lacking} facts to read")
        time.sleep(POLL_S)
    message("the store is still reading; `backplane status` shows how many facts it lacks")
    raise typer.Exit(ExitCode.NOT_VERIFIED)
