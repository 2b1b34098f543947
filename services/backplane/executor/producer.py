"""The executor's way to the ledger: commands by its own producer, claims by the SDK's transport."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException

from agents_sdk.core.bounds import within
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.errors import Overloaded, Unanswered, Unreachable
from agents_sdk.keys import Keys, KeyUnusable
from agents_sdk.settings import Settings
from agents_sdk.signer import Signer
from agents_sdk.topics import COMMANDS
from agents_sdk.transport import Transport
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.headers import command_headers
from backplane.executor import reports
from backplane.executor.reports import ClaimOf
from backplane.executor.settle import OutboxBroken
from backplane.recovery.decide import Route
from backplane.runtime import clients

log = logging.getLogger("backplane.executor")

LINGER_MS: Final = 0.2
"""Reports of calls that end together share a request; a call alone waits this long."""
POLL_S: Final = 0.1
QUEUE_FULL_WAIT_S: Final = 0.05
CLAIM_TIMEOUT_S: Final = 30.0
PROBE_TIMEOUT_S: Final = 5.0
CLAIM_PAUSE_S: Final = 1.0
CLOSE_FLUSH_S: Final = 10.0


class NotSendable(Exception):
    """A command about one call cannot be written: the call fails, and no other."""


def _refused(error: KafkaError) -> Exception:
    """Why bp.commands did not take a command: for its size, or for good."""
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD):
        return NotSendable(f"a command about the call is larger than a record may be: {error.str()}")
    return OutboxBroken(f"{COMMANDS} did not take a command: {error}")


class Batch:
    """Commands handed over together; ``future`` is done when all are in the log, or one cannot be."""

    __slots__ = ("error", "future", "left")

    def __init__(self, left: int, future: asyncio.Future[None]) -> None:
        self.left = left
        self.future = future
        self.error: KafkaError | None = None


class KafkaOutbox:
    """Sends commands in the order in which they are handed over. The producer retries for as long as it takes, so an
    unreachable broker delays outcomes and loses none. Belongs to the event loop that opened it."""

    def __init__(self, settings: Settings, codec: Codec, executor: str) -> None:
        self._settings = settings
        self._signer = Signer(codec, Keys.of(settings))
        self._executor = executor
        self._transport = Transport(settings, codec, executor)
        self._claims_open: asyncio.Task[None] | None = None
        self._delivered: deque[Batch] = deque()
        self._waking = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="executor-producer", daemon=True)

    def open(self) -> None:
        """Begins to deliver, unless it has; connecting is librdkafka's, in the background."""
        if self._thread.is_alive():
            return
        self._loop = asyncio.get_running_loop()
        # 0: a report is never given up; it is the only record that money was spent
        self._producer = clients.producer(self._settings.kafka, linger_ms=LINGER_MS, message_timeout_ms=0)
        self._thread.start()

    async def close(self) -> None:
        """Delivers what is queued, within ten seconds."""
        if not self._thread.is_alive():
            return
        await asyncio.to_thread(self._producer.flush, CLOSE_FLUSH_S)
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        if self._claims_open is not None and self._claims_open.done() and self._claims_open.exception() is None:
            await self._transport.close()

    def send(self, commands: Sequence[Command]) -> asyncio.Future[None]:
        """Hands over now; the future is done when all of them are durable. It fails with OutboxBroken."""
        future: asyncio.Future[None] = self._loop.create_future()
        batch = Batch(len(commands), future)
        try:
            for command in commands:
                self._produce(command, batch)
        except KafkaException as error:
            future.set_exception(_refused(error.args[0]))
        except KeyUnusable as error:
            future.set_exception(OutboxBroken(f"commands cannot be signed: {error}"))
        except Exception as error:  # noqa: BLE001 — a field that cannot be encoded: its call fails, and no other
            future.set_exception(NotSendable(f"a command about the call cannot be encoded: {error}"))
        return future

    async def claim(self, fact: CallEvent, claim: ClaimOf, route: Route) -> Reply:
        """Sends StartAttempt and gives the answer; asks again, with the same id, for as long as there is none."""
        while True:
            try:
                transport = await self._connected()
                command = reports.started(
                    fact,
                    claim,
                    route,
                    executor=self._executor,
                    reply_to=transport.client_id,
                    reply_partition=transport.reply_partition,
                )
                return await transport.request(command, CLAIM_TIMEOUT_S)
            except (Unanswered, Unreachable, Overloaded) as error:
                log.warning("claim of call %s is not answered, asking again: %s", fact.call_id, error)
                await asyncio.sleep(CLAIM_PAUSE_S)

    async def probe(self, command: Command) -> Reply | None:
        """Sends ProbeBreaker and gives the ledger's answer; None where there is none soon: the provider is not worth
        waiting for then."""
        try:
            transport = await self._connected()
            address = {"reply_to": transport.client_id, "reply_partition": transport.reply_partition}
            return await transport.request(msgspec.structs.replace(command, **address), PROBE_TIMEOUT_S)
        except (Unanswered, Unreachable, Overloaded) as error:
            log.warning("a probe of %s is not granted: %s", command.run_id, error)
            return None

    async def _connected(self) -> Transport:
        """The SDK's transport, opened for the first claim: most executors never need one."""
        if self._claims_open is None or (self._claims_open.done() and self._claims_open.exception() is not None):
            self._claims_open = self._loop.create_task(self._transport.open())
        await asyncio.shield(self._claims_open)
        return self._transport

    def _produce(self, command: Command, batch: Batch) -> None:
        value = self._signer.encode(within(command))
        key = command.run_id.encode()
        headers = command_headers(command)

        def delivered(error: Any, _: Any) -> None:
            # on the polling thread; one wake-up of the loop serves all that came in meanwhile
            if error is not None:
                batch.error = error
            batch.left -= 1
            if batch.left == 0:
                self._delivered.append(batch)

        while True:
            try:
                self._producer.produce(COMMANDS, value, key, headers=headers, on_delivery=delivered)  # type: ignore[arg-type]  # the stub wants str | bytes | None values
                return
            except BufferError:
                # the broker is slow or gone and 100,000 reports wait: hold everything here until some are taken
                self._producer.poll(QUEUE_FULL_WAIT_S)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(POLL_S)
            if self._delivered and not self._waking:
                self._waking = True
                try:
                    self._loop.call_soon_threadsafe(self._settle)
                except RuntimeError:
                    return  # the loop is gone, and with it all waiters

    def _settle(self) -> None:
        self._waking = False
        while self._delivered:
            batch = self._delivered.popleft()
            if batch.future.done():
                continue
            if batch.error is not None:
                batch.future.set_exception(_refused(batch.error))
            else:
                batch.future.set_result(None)
