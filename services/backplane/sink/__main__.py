"""``python -m backplane.sink --data-dir D --http-port N``: the process that takes the facts into ClickHouse.

Without an address of a ClickHouse server in the settings (or with its own), it owns the embedded engine in the data
directory. It answers ClickHouse's HTTP interface on the port. With one, it writes there, and the port tells its health.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from agents_sdk import core_dumps
from agents_sdk.settings import load_settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from backplane.sink.audit import Audit
    from backplane.sink.ingest import Ingest, IngestPorts
    from backplane.sink.reconcile import Positions
    from backplane.sink.source import FactSource
    from backplane.sink.suspects import Notes
    from backplane.sink.writer import Writer
    from backplane.store.engine import Engine
    from backplane.store.http import Door

log = logging.getLogger("backplane.sink")

GC_THRESHOLD: Final = (50_000, 20, 50)
"""A batch is tens of thousands of tuples that die together; Python's default looks through them 50 times a batch."""
SETTLE_S: Final = 0.2
TAKEN_S: Final = 1.0
"""How long a server's store has to stand still before a sink begins to write to it."""
LOOPBACK: Final = "127.0.0.1"
HERE: Final = (LOOPBACK, "localhost", "::1")


def main() -> None:
    """Parses, wires, runs until SIGTERM or SIGINT; exits with 1 when ingestion cannot go on."""
    core_dumps.forbid()
    parser = argparse.ArgumentParser(prog="python -m backplane.sink", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the platform's data directory")
    parser.add_argument("--http-port", type=int, required=True, help="loopback port of the HTTP interface")
    parser.add_argument(
        "--http-host", default=LOOPBACK, help="where it listens; elsewhere than on loopback with a password only"
    )
    arguments = parser.parse_args()
    os.environ["TZ"] = "UTC"  # before the engine starts: times without a zone are UTC everywhere
    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("aiohttp.access", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel("WARNING")
    gc.set_threshold(*GC_THRESHOLD)
    overrides = {"data_dir": arguments.data_dir} if arguments.data_dir else {}
    sys.exit(asyncio.run(serve(load_settings(**overrides), arguments.http_port, arguments.http_host)))


async def serve(settings: Settings, port: int, host: str = LOOPBACK) -> int:
    """The whole process; its exit code."""
    from aiohttp import web

    from agents_sdk.proofs import fact_guard
    from backplane.sink.audit import Audit
    from backplane.sink.dead import DeadLetters
    from backplane.sink.ingest import Ingest
    from backplane.sink.source import FactSource
    from backplane.store.engine import Engine
    from backplane.store.http import make_server

    door = door_of(settings, host)
    if door is None:
        return 2
    engine = Engine(Path(settings.data_dir) / "clickhouse") if embedded(settings, port, host) else None
    stop = threading.Event()
    guard = fact_guard(settings)
    letters = DeadLetters(settings.kafka)
    source = FactSource(settings.kafka, guard=guard, passed=letters.passed_over)
    ingest = Ingest(source, letters, lambda: _open(settings, engine, audit), stop, guard, _notes(settings))
    audit = Audit(lambda: _client(settings, engine), lambda: _positions(source, ingest), stop)
    server = make_server(engine, lambda: health(ingest, source, letters, audit), door, settings.clickhouse.database)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await asyncio.to_thread(ingest.run)
        return 0
    except Exception as error:  # noqa: BLE001 — whatever it was, the supervisor starts us again
        log.error("ingestion ended: %s: %s", type(error).__name__, error)
        return 1
    finally:
        stop.set()
        audit.join()
        source.close()
        await runner.cleanup()
        if engine is not None:
            engine.close()


def _notes(settings: Settings) -> Notes:
    """Of what this process and those before it were at."""
    from backplane.sink.suspects import Notes

    return Notes(Path(settings.data_dir) / "sink-is-at.json")


def door_of(settings: Settings, host: str) -> Door | None:
    """Users of the port; None, which is logged: everybody is let in, on a port that other machines reach."""
    from backplane.access.gate import Gate
    from backplane.store.http import Door, Login

    password = settings.clickhouse.password.get_secret_value()
    gate = Gate(settings)
    if host not in HERE and not password and not gate.asks:
        log.error(
            "a store that listens at %s needs a password or principals: set BACKPLANE_CLICKHOUSE__PASSWORD, or run "
            "`backplane access add NAME --role viewer`",
            host,
        )
        return None
    return Door(gate, Login(settings.clickhouse.username or "default", password) if password else None, host)


def embedded(settings: Settings, port: int, host: str = LOOPBACK) -> bool:
    """Whether the store is ours: no address is configured, or the one that we are listening at."""
    url = urlsplit(settings.clickhouse.url)
    return not settings.clickhouse.url or (url.hostname in (*HERE, host) and url.port == port)


def _client(settings: Settings, engine: Engine | None) -> Client:
    """A client of the store's database."""
    from backplane.store.queries import connect_store

    return engine.client(settings.clickhouse.database) if engine is not None else connect_store(settings)


def _positions(source: FactSource, ingest: Ingest) -> Positions | None:
    """How far Kafka and the sink are; None when Kafka does not say."""
    from confluent_kafka import KafkaException

    from backplane.sink.reconcile import Positions

    following = dict(ingest.status.following)
    try:
        return Positions(source.ends(), following)
    except KafkaException:
        return None


def _open(settings: Settings, engine: Engine | None, audit: Audit) -> IngestPorts:
    """The store, migrated, with nothing of a predecessor still under way, and the codec."""
    from agents_sdk.wire.registry import connect_codec
    from backplane.sink.ingest import IngestPorts
    from backplane.sink.rebuild import rebuild_if_asked
    from backplane.sink.stage import Stages
    from backplane.sink.writer import Writer
    from backplane.store.engine import parser
    from backplane.store.migrate import migrate
    from backplane.store.queries import connect_store

    codec = connect_codec(settings)
    database = settings.clickhouse.database
    client = engine.client() if engine is not None else connect_store(settings, database="")
    rebuild_if_asked(client, settings)
    for name in migrate(client, database):
        log.info("migration applied: %s", name)
    stages = Stages(engine.connection if engine is not None else parser, codec, in_store=engine is not None)
    writer = Writer(client, database)
    while writer.inserting():  # a dead predecessor's last insert: what it stores must count before we look
        log.info("waiting for an insert under way")
        time.sleep(SETTLE_S)
    if engine is None:
        _wait_for_others(writer)
    opened = IngestPorts(Writer(client, database, stages, shared=engine is None), codec.decode_own)
    audit.start()
    return opened


def _wait_for_others(writer: Writer) -> None:
    """Raises StoreTaken while another sink writes."""
    from backplane.sink.ingest import StoreTaken

    before = writer.stored()
    time.sleep(TAKEN_S)
    if writer.stored() != before:
        raise StoreTaken("another sink writes to it; this one waits until that one stands still")


async def health(ingest: Ingest, source: FactSource, letters: Any, audit: Audit) -> dict[str, Any]:
    """The answer of ``/health``: status ``ok`` while facts flow, and the lag of each topic, asked of Kafka now. It also
    says whether the books balanced at the last check."""
    from confluent_kafka import KafkaException

    status = ingest.status
    said: dict[str, Any] = {
        "status": "ok" if status.state == "running" else status.state,
        "lag": {},
        "rows": status.rows,
        "dead_letters": letters.written,
        "lost": source.lost,
        "ahead": {f"{topic}[{number}]": why for (topic, number), why in source.ahead.items()},
        "books": audit.summary,
    }
    if status.error:
        said["error"] = status.error
    if status.state != "starting":
        try:
            said["lag"] = await asyncio.to_thread(source.lag, status.following)
        except KafkaException as error:  # the store answers all the same
            said |= {"status": "degraded", "error": f"Kafka does not tell the ends of the topics: {error}"}
    return said


if __name__ == "__main__":
    main()
