"""The ledger's faust app: which partitions are ours, and their batches to their books."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import faust
from faust.types import TP

from agents_sdk.core.ledger import rights
from agents_sdk.errors import BackplaneError
from agents_sdk.keys import verifier
from agents_sdk.settings import Settings
from agents_sdk.topics import COMMANDS, FACT_TOPICS, REPLIES
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.topic_files import max_message_bytes
from agents_sdk.wire.topic_ids import topic_ids
from agents_sdk.wire.topics_admin import configs, connect
from backplane.ledger.committer import Fenced
from backplane.ledger.marks import Marks
from backplane.ledger.notices import Notices
from backplane.ledger.outgoing import GROUP
from backplane.ledger.partition import PartitionLedger
from backplane.ledger.proofs import seal_key
from backplane.ledger.snapshots import Snapshots
from backplane.metrics import catalogue
from backplane.metrics.exposition import Metrics
from backplane.runtime import clients
from backplane.runtime.app import (
    done,
    ending,
    make_app,
    serve,
    serve_health,
    serve_metrics,
    take_batches,
    watched,
)
from backplane.runtime.batch import Batch, BatchConsumer
from backplane.runtime.clients import MESSAGE_MAX_BYTES
from backplane.runtime.freed_memory import give_back_each_minute
from backplane.runtime.reread import reread

log = logging.getLogger("backplane.ledger")

LOOK_S: Final = 1.0
"""Between two looks whether bp.commands is still the same topic."""
CONFIRM_S: Final = 1.0
"""Three heartbeats: a worker that lost a partition to another one has heard of it by then."""


class Ledger:
    """The partitions this worker owns, each opened once, in the background, as soon as it is assigned."""

    def __init__(self, app: faust.App, settings: Settings, codec: Codec) -> None:
        self._app = app
        self._settings = settings
        self._codec = codec
        self._snapshots = Snapshots(app, settings.topics.partitions, settings.kafka, seal_key(settings))
        self._replies = clients.producer(
            settings.kafka, enable_idempotence=False, acks=1, **{"delivery.report.only.error": True}
        )
        self._commands = clients.producer(settings.kafka, **{"delivery.report.only.error": True})
        if verifier(settings) is None:
            log.warning("no master key: who can write to bp.commands can speak for any agent; see identity.master_file")
        self.metrics = Metrics("ledger")
        self.notices = Notices()
        self._marks = Marks(Path(app.conf.datadir) / "marks")
        self._limit = ThreadPoolExecutor(1).submit(record_limit, settings)
        """Known by the time at which the first partition is opened: nobody waits for the broker twice."""
        self._snapshots.connect()
        self.joined = False
        """The group has assigned this worker its partitions, which may be none."""
        self.open: dict[int, asyncio.Task[PartitionLedger]] = {}
        self._committing: dict[int, asyncio.Task[None]] = {}
        self._ringing: dict[int, asyncio.Task[None]] = {}
        self._saving: dict[int, asyncio.Task[None]] = {}
        self._reopening: dict[int, asyncio.Task[None]] = {}

    def assign(self, partition: int) -> None:
        """Begins to open a partition."""
        if partition not in self.open:
            self.open[partition] = asyncio.get_running_loop().create_task(self._open(partition))

    async def _open(self, partition: int) -> PartitionLedger:
        opened = PartitionLedger(
            partition,
            self._settings,
            self._codec,
            self._replies,
            self._commands,
            self._snapshots,
            lambda offset: done(self._app, COMMANDS, partition, offset),
            self.metrics,
            partial(reread, self._app, COMMANDS),
            self._marks,
            self.notices,
            await asyncio.wrap_future(self._limit),
        )
        async with ending(self._app, log, "partition %d cannot be taken over", partition):
            await opened.open()
        self._committing[partition] = asyncio.get_running_loop().create_task(self._commit(opened))
        self._ringing[partition] = asyncio.get_running_loop().create_task(opened.alarms.run())
        self._saving[partition] = asyncio.get_running_loop().create_task(self._save(opened))
        return opened

    async def _commit(self, opened: PartitionLedger) -> None:
        try:
            await opened.committer.run()
        except Fenced as fenced:
            log.warning("partition %d is no longer ours: %s", opened.number, fenced)
            self.revoke(opened.number)
            self._reopening[opened.number] = asyncio.get_running_loop().create_task(self._reopen(opened.number))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # facts that cannot be written make the book a lie: stop, and let the successor fold the truth
            log.exception("partition %d cannot be written", opened.number)
            await self._app.crash(error)

    async def _reopen(self, partition: int) -> None:
        """Opens a partition again whose writer has ended, where the group still gives it to this worker. Not each end
        is a successor's work: the broker ends a slow transaction, and librdkafka gives a producer up for errors of its
        own. Commands that were read and not written are decided then: no later one may come, and no timer rings in a
        closed partition."""
        await asyncio.sleep(CONFIRM_S)
        del self._reopening[partition]
        if TP(COMMANDS, partition) in self._app.consumer.assignment():
            read = cast(BatchConsumer, self._app.consumer).delivered(COMMANDS, partition)
            await self.process(Batch(COMMANDS, partition, [], read, read))

    async def _save(self, opened: PartitionLedger) -> None:
        with contextlib.suppress(Fenced):
            await opened.keep_snapshots()

    async def watch_topic(self) -> None:
        """Decides nothing more where bp.commands is another topic of the same name; runs until cancelled."""
        watched = topic_ids(self._settings.kafka).watch(COMMANDS)
        while True:
            await asyncio.sleep(LOOK_S)
            if watched.made_again():
                for part in self.opened():
                    part.foreign = True
                    part.made_anew(self._app.consumer.highwater(TP(COMMANDS, part.number)) or 0)

    def revoke(self, partition: int) -> None:
        """Forgets a partition; what was decided but not written is decided again by its next owner."""
        for opened in self.opened():
            if opened.number == partition:
                opened.committer.end(Fenced("the partition was given back"))
        for tasks in (self.open, self._committing, self._ringing, self._saving, self._reopening):
            task = tasks.pop(partition, None)
            if task is not None:
                task.cancel()

    def opened(self) -> list[PartitionLedger]:
        """The partitions that are ready."""
        ready = [task for task in self.open.values() if task.done() and not task.cancelled()]
        return [task.result() for task in ready if task.exception() is None]

    @property
    def ready(self) -> bool:
        """Every partition of this worker is open, and takes only what it should."""
        opened = self.opened()
        opening = len(self.open) + len(self._reopening)
        return self.joined and len(opened) == opening and all(part.safe for part in opened)

    def inboxes(self) -> dict[str, int]:
        """Agent → its deliveries that are not handled yet; counted each time, over all runs."""
        waiting: Counter[str] = Counter()
        for part in self.opened():
            for run in part.book.runs.values():
                waiting.update(run.pending)
        return dict(+waiting)

    def refused(self) -> dict[str, int]:
        """Code → commands refused for want of identity, ever."""
        counted: Counter[str] = Counter()
        for part in self.opened():
            counted.update(part.book.refused)
        return dict(counted)

    def withheld(self) -> dict[str, list[str]]:
        """Agent → what it declares and was not granted, of those that wait for an operator."""
        books = [part.book for part in self.opened()]
        names = {name for book in books for name in book.agents}
        found = {name: max((rights.withheld(book, name) for book in books), key=len) for name in sorted(names)}
        return {name: missing for name, missing in found.items() if missing}

    def aside(self) -> dict[str, dict[str, Any]]:
        """Partition → where it stands still, since when and why; of those that do."""
        found = {}
        for part in self.opened():
            if part.aside is not None:
                part.report_aside()
                since, why = round(part.aside.since), part.aside.why
                found[str(part.number)] = {"offset": part.aside.record.offset, "since": since, "why": why}
        return found

    async def process(self, batch: Batch) -> None:
        """Applies one batch, if the partition is still ours; if not, its new owner does."""
        self.assign(batch.partition)
        with contextlib.suppress(asyncio.CancelledError, Fenced):
            ledger = await self.open[batch.partition]
            end = self._app.consumer.highwater(TP(COMMANDS, batch.partition))
            if not ledger.made_anew(end or ledger.next):
                await ledger.process(batch)


def record_limit(settings: Settings) -> int:
    """Bytes of a record that each of the ledger's topics takes: by the broker's word, or by the settings where it does
    not give it."""
    names = [*FACT_TOPICS, COMMANDS, REPLIES]
    try:
        found = configs(connect(settings), settings, names)
    except BackplaneError as error:
        log.warning("the topics' own limits are not known: %s", error.message)
        found = {}
    bounds = [
        int(properties["max.message.bytes"]) for properties in found.values() if "max.message.bytes" in properties
    ]
    return min([max_message_bytes(settings), MESSAGE_MAX_BYTES, *bounds])


def create(settings: Settings, codec: Codec, http_port: int) -> faust.App:
    """The app, ready to run."""
    app = make_app(GROUP, settings, http_port)
    ledger = Ledger(app, settings, codec)
    app.task(watched)
    app.task(give_back_each_minute)
    app.task(ledger.watch_topic)

    take_batches(app, COMMANDS, "bp.ledger.commands", ledger.process, log)

    @app.on_partitions_assigned.connect
    async def assigned(_: Any, /, *args: Any, signal: Any, **__: Any) -> None:
        for tp in args[0]:
            if tp.topic == COMMANDS:
                ledger.assign(tp.partition)
        ledger.joined = True

    @app.on_partitions_revoked.connect
    async def revoked(_: Any, /, *args: Any, signal: Any, **__: Any) -> None:
        for tp in args[0]:
            if tp.topic == COMMANDS:
                ledger.revoke(tp.partition)

    async def health() -> dict[str, Any]:
        return _health(app, ledger)

    serve_health(app, health)
    serve_metrics(app, ledger.metrics, GROUP, health)
    _serve_counts(app, ledger)
    return app


def _health(app: faust.App, ledger: Ledger) -> dict[str, Any]:
    opened = ledger.opened()
    ready = ledger.ready and not app.rebalancing
    consumer = cast(BatchConsumer, app.consumer)
    lag = {f"{COMMANDS}[{part.number}]": consumer.behind(COMMANDS, part.number, part.next) for part in opened}
    runs = sum(len(part.book.runs) for part in opened)
    aside = ledger.aside()
    ledger.metrics.set(catalogue.OPEN_RUNS, runs)
    ledger.metrics.set(catalogue.PUT_ASIDE, len(aside))
    ledger.metrics.reach(catalogue.NOTICES, ledger.notices.total)
    status = "ok" if ready else "starting"
    return {"status": status, "lag": lag, "runs": runs, "aside": aside, "notices": ledger.notices.shown()}


def _serve_counts(app: faust.App, ledger: Ledger) -> None:
    """For ``backplane status``."""
    serve(app, "/inboxes", ledger.inboxes)
    serve(app, "/refused", ledger.refused)
    serve(app, "/withheld", ledger.withheld)
