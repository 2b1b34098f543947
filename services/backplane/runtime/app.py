"""A faust app with batch delivery, wired for Backplane: makes it, runs it as a process, tells its health."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import faust
from faust.tables import TableManager
from yarl import URL

from agents_sdk.peers import Peers
from agents_sdk.settings import Settings
from agents_sdk.wire.eviction import evict
from backplane.access.gate import Gate
from backplane.metrics.exposition import CONTENT_TYPE, Metrics
from backplane.runtime import brokers
from backplane.runtime.batch import UNTOUCHED, Batch, BatchConsumer, BatchTransport
from backplane.runtime.http_guard import HANDLER_ARGS, guarded
from backplane.runtime.reached import away, begin_again

log = logging.getLogger("backplane.worker")

SESSION_TIMEOUT_S: Final = 6.0
"""How long a killed worker's partitions wait for a successor, unless it comes back under its own name before.
Faust's default is 60 s. Not shorter: a worker may stand still for some seconds (a full disk, a machine that swaps). It
keeps its partitions, or each such moment would be two takeovers."""
HEARTBEAT_S: Final = 0.3
"""Also how late a worker hears that the group is rebalanced, and the others wait for it."""
MAX_BATCH_RECORDS: Final = 500
"""Records of one fetch over all partitions: bounds a transaction, and so the latency of later commands."""
GC_THRESHOLD: Final = (50_000, 20, 50)
"""A batch makes thousands of objects that die together, and a book holds millions that live. By Python's default the
collector goes through the young ones every few commands and through the whole book within minutes, for milliseconds."""


LISTENING: Final = "127.0.0.1"
"""Where workers answer."""
PATHS: Final = ("/health", "/metrics", "/inboxes", "/refused", "/withheld")
"""All that workers answer."""
MAX_RECORD_BYTES: Final = 4_000_000
"""As our own producers have it: a run or a memory is one record of the snapshot, and faust's limit is 1 MB."""


def make_app(name: str, settings: Settings, http_port: int) -> faust.App:
    """A faust app for the consumer group ``name``. ``http_port`` also names the group member. So the broker knows a
    worker that comes back on its port as the same one and gives it its partitions at once (static membership)."""
    datadir = Path(settings.data_dir) / "faust" / f"{name}-{http_port}"
    datadir.mkdir(parents=True, exist_ok=True)
    app = _App(
        name,
        broker=[URL(f"aiokafka://{server}") for server in brokers.addresses(settings.kafka)],
        broker_credentials=brokers.credentials(settings.kafka),
        store="rocksdb://",
        datadir=str(datadir),
        value_serializer="raw",
        key_serializer="raw",
        topic_partitions=settings.topics.partitions,
        topic_replication_factor=settings.topics.replication,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_port=http_port,
        web_bind=LISTENING,
        web_host=LISTENING,
        # faust's own pages show tables and routes: nobody needs them
        web_application_options={
            "middlewares": [guarded(LISTENING, PATHS, Gate(settings))],
            "handler_args": HANDLER_ARGS,
        },
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_commit_interval=1.0,
        broker_max_poll_records=MAX_BATCH_RECORDS,
        consumer_group_instance_id=f"{name}-{http_port}",
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=16,
        stream_wait_empty=False,
        producer_max_request_size=MAX_RECORD_BYTES,
        TableManager=_Tables,
    )
    app.transport = BatchTransport(app.conf.broker, app, app.loop)
    app.peers = Peers(settings.data_dir, name, f"{name}-{http_port}", partial(evict, settings.kafka, name))
    return app


async def watched() -> None:
    """Ends the process when its event loop stands still; runs until cancelled. A record whose deciding never ends must
    not hold a worker for good; what it was at is noted, and not tried for ever. The timer is the interpreter's own
    thread, which needs neither the loop nor the interpreter's lock."""
    try:
        while True:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            await asyncio.sleep(HANG_S / 6)
    finally:
        faulthandler.cancel_dump_traceback_later()


def on_crash(app: faust.App, callback: Callable[[], None]) -> None:
    """``callback`` is called when the app ends because of an exception, before anything else is."""
    cast(_App, app).crash_callbacks = (*getattr(app, "crash_callbacks", ()), callback)


def batches(app: faust.App, topic: str) -> Any:
    """The channel of a topic whose messages are Batches; hand it to ``app.agent``."""
    cast(BatchTransport, app.transport).batched.add(topic)
    return app.topic(topic, value_serializer=UNTOUCHED, key_serializer=UNTOUCHED, internal=False)


def take_batches(
    app: faust.App, topic: str, name: str, take: Callable[[Batch], Awaitable[None]], log: logging.Logger
) -> None:
    """Gives each batch of the topic to ``take``, in order. An error ends the worker: to go on would skip records, which
    a successor reads again. ``name`` is that of faust's agent."""

    @app.agent(batches(app, topic), name=name)
    async def taking(stream: Any) -> None:
        async for batch in stream:
            async with ending(app, log, "partition %d cannot go on", batch.partition):
                await take(batch)


@asynccontextmanager
async def ending(app: faust.App, log: logging.Logger, message: str, partition: int) -> AsyncIterator[None]:
    """Around work without which a worker must not go on: what it raises is logged, and ends the worker."""
    try:
        yield
    except Exception as error:
        log.exception(message, partition)
        await app.crash(error)
        raise


def done(app: faust.App, topic: str, partition: int, offset: int) -> None:
    """Every record below ``offset`` is finished; committed within a second."""
    consumer = app.consumer
    assert isinstance(consumer, BatchConsumer)
    consumer.done(topic, partition, offset)


def serve_health(app: faust.App, health: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """``GET /health`` answers what ``health`` says, as JSON: 200 when its status is ok, else 503."""

    @app.page("/health")
    async def page(self: Any, request: Any) -> Any:
        body = await health()
        return self.json(body, status=200 if body.get("status") == "ok" else 503)


def serve_metrics(
    app: faust.App, metrics: Metrics, group: str, health: Callable[[], Awaitable[dict[str, Any]]]
) -> None:
    """``GET /metrics`` answers in Prometheus's text format, the lag of ``group`` included."""

    @app.page("/metrics")
    async def page(self: Any, request: Any) -> Any:
        # the headers, since aiohttp takes no content type with a charset as such
        return self.bytes(metrics.render(await health(), group), headers={"Content-Type": CONTENT_TYPE})


def serve(app: faust.App, path: str, answer: Callable[[], dict[str, Any]]) -> None:
    """``GET path`` answers what ``answer`` says, as JSON; for what costs too much to be part of every probe."""

    @app.page(path)
    async def page(self: Any, request: Any) -> Any:
        return self.json(answer())


HANG_S: Final = 90.0
"""How long the event loop of a worker may stand still. A stopped process that goes on is older than that at once."""
CRASH_LIMIT_S: Final = 10.0
"""The time that a crashed worker has to end. Its consumer's thread may hang where the broker is away, and a process
that neither works nor ends is never restarted."""


class _Tables(TableManager):
    """Faust's tables, which are declared before the app is started: there is no reason to wait a second for more."""

    async def on_start(self) -> None:
        """As faust's, at once."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class _App(faust.App):
    """Faust's app, which is gone for certain when it has crashed."""

    crash_callbacks: tuple[Callable[[], None], ...]
    peers: Peers
    """The other workers of its group on this machine."""

    async def crash(self, reason: BaseException) -> None:
        """As faust's; ends the process if that takes too long."""
        self.ended_by: BaseException | None = reason
        for callback in getattr(self, "crash_callbacks", ()):
            callback()
        last = threading.Timer(CRASH_LIMIT_S, os._exit, (1,))
        last.daemon = True
        last.start()
        await super().crash(reason)


class _Worker(faust.Worker):
    """Faust's worker without its terminal spinner, which writes control characters into our logs."""

    def on_init_dependencies(self) -> Any:
        self.spinner = None
        return super().on_init_dependencies()


def run(app: faust.App) -> None:
    """Runs the app until SIGTERM or SIGINT, then leaves the group and exits the process. Where it ends because Kafka
    went away, the process begins again and waits for it."""
    worker = _Worker(app, loglevel="INFO", quiet=True, redirect_stdouts=False, logging_config=LOGGING)
    worker.spinner = None
    gc.set_threshold(*GC_THRESHOLD)
    cast(_App, app).peers.open()
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        why = getattr(app, "ended_by", None) or ended.__context__
        if ended.code and why is not None and away(why):
            begin_again(why, log)
        raise


LOGGING: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"backplane": {"level": "INFO"}, "faust": {"level": "WARNING"}, "mode": {"level": "WARNING"}},
}
