"""The embedded engine, one a process (chDB allows no more), with a fresh database for each test that wants one."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from backplane.store.http import make_server
from backplane.store.migrate import migrate

_numbers = itertools.count(1)


class Database(NamedTuple):
    """A migrated database, the client that writes and the writer over it."""

    name: str
    client: Any
    writer: Writer

    def rows(self, sql: str) -> list[Any]:
        """What a statement over this database answers."""
        return list(self.client.query(sql.replace("{database}", self.name)).result_rows)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    found = Engine(tmp_path_factory.mktemp("chdb"))
    yield found
    found.close()


@pytest.fixture
def database(engine: Engine) -> Iterator[Database]:
    """Fresh and migrated."""
    client = engine.client()
    name = f"test_{next(_numbers)}"
    migrate(client, name)
    yield Database(name, client, Writer(client, name))
    client.command(f"DROP DATABASE {name} SYNC")
    client.close()


async def _healthy() -> dict[str, Any]:
    return {"status": "ok", "lag": {"bp.runs": 0}}


@pytest.fixture(scope="session")
def port(engine: Engine) -> Iterator[int]:
    """The HTTP interface over the engine, on a free loopback port."""
    yield from serving(make_server(engine, _healthy))


def serving(app: Any) -> Iterator[int]:
    """The application in a thread, on a free loopback port, which is yielded."""
    from aiohttp import web

    from backplane.platform.ports import choose

    number = choose(["store"], {})["store"]
    loop = asyncio.new_event_loop()

    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", number).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield number
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its document."""
        return json.loads(self.out)


@pytest.fixture
def commands(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs a command line on the database, over HTTP."""
    from backplane.cli.app import run as run_command

    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("BACKPLANE_CLICKHOUSE__URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("BACKPLANE_CLICKHOUSE__DATABASE", database.name)

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        code = run_command(arguments)
        return Done(code, *capfd.readouterr())

    return run
