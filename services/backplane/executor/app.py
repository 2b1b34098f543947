"""The executor's faust app: partitions and batches of bp.calls to the engine, the engine's progress to the group.

The work of a new owner of a partition, in this order, so that no call runs again whose outcome is recorded:
1. hold the calls that the first batch brings;
2. read the outcomes after that batch to the end of the partition, and to its new end where it grew meanwhile. The
   predecessor's last ones are committed while we take over;
3. start those held calls that have none, and from then on every call as it comes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import faust
import uuid_utils
from confluent_kafka import Message, TopicPartition
from faust.types import TP

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core import kinds
from agents_sdk.core.facts import AttemptEvent, CallEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.deaths import Deaths
from agents_sdk.proofs import WHY, dispatch_guard
from agents_sdk.registrar import Registrar
from agents_sdk.settings import Settings
from agents_sdk.topics import ATTEMPTS, CALLS
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.proof import Place
from agents_sdk.wire.topic_ids import topic_ids
from backplane.executor.breaker_topic import BreakerTopic
from backplane.executor.cache import ResultCache
from backplane.executor.engine import CallEngine
from backplane.executor.heartbeat import Heartbeat
from backplane.executor.live import LiveRegistry
from backplane.executor.open_call import NO_ATTEMPTS, PriorAttempts
from backplane.executor.ports import Clock
from backplane.executor.producer import KafkaOutbox
from backplane.executor.settle import Settler
from backplane.ledger.notices import Notices
from backplane.manifests.egress import policy_of
from backplane.manifests.model import environment
from backplane.metrics import catalogue
from backplane.metrics.exposition import Metrics
from backplane.providers.fleet import Fleet
from backplane.recovery.breakers import Breakers
from backplane.runtime import clients
from backplane.runtime.again import until_done
from backplane.runtime.app import done, make_app, on_crash, serve_health, serve_metrics, take_batches, watched
from backplane.runtime.batch import Batch, BatchConsumer, Record
from backplane.runtime.clients import QUICK_MS
from backplane.runtime.freed_memory import give_back_each_minute
from backplane.runtime.log import read_range
from backplane.runtime.partitions import first_since
from backplane.runtime.places import last_place

log = logging.getLogger("backplane.executor")

T = TypeVar("T")
GROUP: Final = EXECUTOR
WATERMARK_TIMEOUT_S: Final = 10.0
LOOKS: Final = 4
"""How often the end of a partition is looked up when it is taken over: others may write faster than this reads."""
CLOCKS_APART_MS: Final = 60_000
"""How far the clock of the ledger that wrote an attempt may lag the broker's, which stamped the request."""
LOOK_S: Final = 1.0
"""Between two looks whether bp.calls is still the same topic."""
HANDOVER_GRACE_S: Final = 4.0
"""For unsafe calls under way when partitions are taken from us; below the session timeout of 6 s."""
STOP_GRACE_S: Final = 5.0
"""For running calls when the process is stopped; the supervisor kills after 10 s."""


class Executor:
    """The engine, its way to the ledger, and what is known about the partitions' past."""

    def __init__(self, app: faust.App, settings: Settings, codec: Codec, live: LiveRegistry) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid_utils.uuid7()}"
        self.joined = False
        self._app = app
        self._settings = settings
        self._codec = codec
        self._live = live
        store = ArtifactStore(settings.data_dir, settings.artifacts.url)
        self._fleet = Fleet(settings.data_dir, environment(), live.registry.switch, store, policy_of(settings))
        self._outbox = KafkaOutbox(settings, codec, self.name)
        breakers = Breakers()
        self._guard = dispatch_guard(settings)
        self._following: dict[int, int] = {}
        """Partition → where the batch after the last one starts."""
        self._breakers = BreakerTopic(settings.kafka, codec, breakers.take, dispatch_guard(settings))
        settler = Settler(
            live.registry,
            self._fleet,
            self._outbox,
            executor=self.name,
            max_result_bytes=settings.limits.max_value_bytes,
            clock=Clock(),
            breakers=breakers,
            cache=ResultCache(settings.executor.cache_bytes),
        )
        self.notices = Notices(log=log)
        self.deaths = Deaths(Path(app.conf.datadir) / "calls")
        self.engine = CallEngine(
            settler,
            max_in_flight=settings.executor.max_in_flight,
            done=self._done,
            crash=self._crash,
            deaths=self.deaths,
            put_aside=self._put_aside,
        )
        self.owned: set[int] = set()
        self._taking: dict[int, asyncio.Task[None]] = {}
        """Partitions that are being taken over."""
        self._heart = Heartbeat(self.name, live, self._fleet, Registrar(settings, codec))
        self._beating: asyncio.Task[None] | None = None

    def assign(self, partitions: set[int]) -> None:
        """These are ours now, and no others."""
        self._outbox.open()
        if self._beating is None:
            self._live.follow(self._switched)
            self._beating = asyncio.get_running_loop().create_task(self._heart.run())
        self._breakers.follow()
        self.owned = partitions
        self.engine.own(partitions)
        self.joined = True

    async def watch_topic(self) -> None:
        """Begins again where bp.calls is another topic of the same name; runs until cancelled."""
        topic = topic_ids(self._settings.kafka).watch(CALLS)
        while True:
            await asyncio.sleep(LOOK_S)
            if topic.made_again():
                log.error("%s was deleted and made again: it is read from its beginning", CALLS)
                self._begin_again(self.owned)
                consumer = cast(BatchConsumer, self._app.consumer)
                for number in self.owned:
                    consumer.finished.pop(TP(CALLS, number), None)
                    await consumer.seek(TP(CALLS, number), 0)

    def _begin_again(self, partitions: set[int]) -> None:
        """These are other partitions of the same numbers."""
        self.engine.own(self.owned - partitions)
        self.engine.own(self.owned)

    def _switched(self) -> None:
        self._heart.trigger()
        self.engine.resumed()

    async def take(self, batch: Batch) -> None:
        """Hands one batch to the engine; returns when there is room for the next. Partitions that are new are taken
        over side by side: until the past of one is known, the others' batches go on."""
        taking = self._taking.get(batch.partition)
        if taking is not None:
            await asyncio.wait({taking})
        if self.engine.is_ready(batch.partition):
            await self.process(batch)
        elif batch.partition in self.owned:
            task = self._taking[batch.partition] = asyncio.create_task(self._take_over(batch))
            task.add_done_callback(lambda _: self._taking.pop(batch.partition, None))

    async def _take_over(self, batch: Batch) -> None:
        try:
            await self.process(batch)
        except Exception as error:
            log.exception("partition %d cannot be taken over", batch.partition)
            await self._app.crash(error)

    async def process(self, batch: Batch) -> None:
        """Hands one batch to the engine, and makes its partition ready where that is new. A partition that is lost
        meanwhile comes again from its beginning, if it comes again: then this batch is not for it."""
        assignment = self.engine.assignment(batch.partition)
        if batch.partition not in self.owned:
            return
        await self._breakers.known.wait()
        await self._watch(batch)
        if self.engine.assignment(batch.partition) != assignment:
            return
        records = [(record.offset, self._request(batch.partition, record)) for record in batch.records]
        end = self._app.consumer.highwater(TP(CALLS, batch.partition))
        if end and end < self.engine.next(batch.partition):
            log.error("%s[%d] ends at %d, before what was read: it was made again", CALLS, batch.partition, end)
            self._begin_again({batch.partition})
            assignment = self.engine.assignment(batch.partition)
        await self.engine.deliver(batch.partition, records)
        if not self.engine.is_ready(batch.partition):
            last = batch.records[-1]
            settled, until = await self._read(self._outcomes, batch.partition, last.offset + 1)
            held = [call.at // 1_000 for call in self.engine.held(batch.partition)]
            since_ms = min(held, default=last.timestamp_ms)
            asked_before = bool(held) or until > last.offset + 1
            past = await self._read(self._past, batch.partition, since_ms) if asked_before else {}
            if self.engine.assignment(batch.partition) == assignment:
                self.engine.ready(batch.partition, settled, past, until)

    async def _read(self, read: Callable[..., T], partition: int, *about: Any) -> T:
        """The result of ``read``, in a thread; as often as the broker is away meanwhile."""
        reading = partial(asyncio.to_thread, read, partition, *about)
        return await until_done(log, f"reading what is known of partition {partition}", reading)

    async def _watch(self, batch: Batch) -> None:
        """Makes known up to which place the partition was read before this batch, where that is not the batch before.
        By it a copy of an older request is recognized."""
        if self._guard is not None and self._following.get(batch.partition) != batch.start:
            first = batch.records[0].offset
            last = await self._read(self._place_before, batch.partition, first)
            self._guard.sequence.begin(CALLS, batch.partition, last)
        self._following[batch.partition] = batch.stop

    def _place_before(self, partition: int, offset: int) -> Place:
        """The place of the last proven record before this offset."""
        assert self._guard is not None
        consumer = clients.reader(self._settings.kafka, fetch_wait_max_ms=QUICK_MS)
        try:
            return last_place(consumer, self._guard, CALLS, partition, offset)
        finally:
            consumer.close()

    def _request(self, partition: int, record: Record) -> CallEvent | None:
        """The record as it is acted on; None where it is not to be believed, or cannot be read."""
        if self._guard is not None:
            verdict = self._guard.judge(CALLS, partition, record.offset, record.key, record.value, record.headers)
            if verdict:
                log.error("%s[%d] offset %d is passed over: %s", CALLS, partition, record.offset, WHY[verdict])
                return None
        return self._decode(partition, record.offset, record.value)

    def health(self, metrics: Metrics) -> dict[str, Any]:
        """The answer of ``/health``."""
        ready = self.joined and not self._app.rebalancing
        waiting = {number: self.engine.backlog(number) + _unread(self._app, number) for number in self.owned}
        metrics.set(catalogue.IN_FLIGHT, self.engine.in_flight)
        metrics.reach(catalogue.NOTICES, self.notices.total)
        return {
            "status": "ok" if ready else "starting",
            "lag": {f"{CALLS}[{number}]": count for number, count in waiting.items()},
            "in_flight": self.engine.in_flight,
            "notices": self.notices.shown(),
        }

    async def stop(self) -> None:
        """Lets running calls end, then closes everything."""
        if self._beating is not None:
            self._beating.cancel()
            await self._heart.stop()
        await self.engine.stop(STOP_GRACE_S)
        await self._outbox.close()
        await self._breakers.close()
        await self._fleet.close()
        await asyncio.to_thread(self._live.close)

    def _outcomes(self, partition: int, start: int) -> tuple[set[str], int]:
        """Calls with an outcome between ``start`` and the end of the partition, looked up again where it has grown; and
        that end."""
        settled: set[str] = set()
        guard = dispatch_guard(self._settings)
        consumer = clients.reader(self._settings.kafka, fetch_wait_max_ms=QUICK_MS)
        try:
            place = TopicPartition(CALLS, partition)
            for _ in range(LOOKS):
                end = int(consumer.get_watermark_offsets(place, timeout=WATERMARK_TIMEOUT_S)[1])
                if start >= end:
                    break
                for message in read_range(consumer, CALLS, partition, start, end):
                    if guard is not None and guard.message(message):
                        continue
                    fact = self._decode(partition, message.offset() or 0, message.value())
                    if fact is not None and fact.kind in kinds.CALL_ENDS:
                        settled.add(fact.call_id)
                start = end
        finally:
            consumer.close()
        return settled, start

    def _past(self, partition: int, since_ms: int) -> dict[str, PriorAttempts]:
        """Call → its attempts on record; of calls that were asked for from that time on. Each was asked for before it
        was tried, so its attempts lie after it."""
        past: dict[str, PriorAttempts] = {}
        guard = dispatch_guard(self._settings)
        began_ms = max(since_ms - CLOCKS_APART_MS, 0)
        consumer = clients.reader(self._settings.kafka, fetch_wait_max_ms=QUICK_MS)
        try:
            start = first_since(consumer, ATTEMPTS, partition, began_ms)
            place = TopicPartition(ATTEMPTS, partition)
            end = int(consumer.get_watermark_offsets(place, timeout=WATERMARK_TIMEOUT_S)[1])
            for message in read_range(consumer, ATTEMPTS, partition, start, end) if start is not None else ():
                if guard is not None and guard.message(message):
                    continue
                fact = self._attempt(message)
                if fact is not None and fact.kind != kinds.ATTEMPT_STARTED:
                    past[fact.call_id] = past.get(fact.call_id, NO_ATTEMPTS).and_then(fact)
        finally:
            consumer.close()
        return past

    def _attempt(self, message: Message) -> AttemptEvent | None:
        """The attempt that a record of bp.attempts is; None: it is none."""
        try:
            record = self._codec.decode_own(message.value())
        except Undecodable as error:
            log.error("%s[%s] offset %s is skipped: %s", ATTEMPTS, message.partition(), message.offset(), error)
            return None
        return record if isinstance(record, AttemptEvent) else None

    def _decode(self, partition: int, offset: int, value: bytes | None) -> CallEvent | None:
        try:
            record = self._codec.decode_own(value)
        except Undecodable as error:
            # written by no ledger of ours: there is no call to fail, and the record stays where it is
            log.error("%s[%d] offset %d is skipped: %s", CALLS, partition, offset, error)
            return None
        return record if isinstance(record, CallEvent) else None

    def _put_aside(self, fact: CallEvent, why: str) -> None:
        self.notices.report(
            f"capability {fact.capability}",
            f"call {fact.call_id} of {fact.capability} is put aside: {why}",
            f"`backplane capabilities disable {fact.capability}`, or mend its provider; the call is a dead letter",
        )

    def _done(self, partition: int, offset: int) -> None:
        if partition in self.owned and not self._app.rebalancing:
            done(self._app, CALLS, partition, offset)

    def _crash(self, error: Exception) -> None:
        self._crashing = asyncio.get_running_loop().create_task(self._app.crash(error))


def create(settings: Settings, codec: Codec, live: LiveRegistry, http_port: int) -> faust.App:
    """The app, ready to run."""
    app = make_app(GROUP, settings, http_port)
    executor = Executor(app, settings, codec, live)
    metrics = Metrics("executor")
    app.task(watched)
    app.task(give_back_each_minute)
    app.task(executor.watch_topic)
    on_crash(app, executor.deaths.ending)

    take_batches(app, CALLS, "bp.executor.calls", executor.take, log)

    @app.on_partitions_assigned.connect
    async def assigned(_: Any, /, *args: Any, signal: Any, **__: Any) -> None:
        executor.assign({tp.partition for tp in args[0] if tp.topic == CALLS})

    @app.on_partitions_revoked.connect
    async def revoked(_: Any, /, *args: Any, signal: Any, **__: Any) -> None:
        await executor.engine.drain_unsafe(HANDOVER_GRACE_S)

    @app.on_before_shutdown.connect
    async def stopping(*_: Any, **__: Any) -> None:
        await executor.stop()

    async def health() -> dict[str, Any]:
        return executor.health(metrics)

    serve_health(app, health)
    serve_metrics(app, metrics, GROUP, health)
    return app


def _unread(app: faust.App, partition: int) -> int:
    """Records that were not fetched yet; after the last record stands the marker of its transaction, which is none."""
    place = TP(CALLS, partition)
    read = cast(BatchConsumer, app.consumer)._read_offset.get(place)
    return max((app.consumer.highwater(place) or 0) - (read or 0) - 2, 0)
