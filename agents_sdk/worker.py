"""One agent in this process: reads its inbox, runs its handlers, and tells the ledger how each ended.

Order of work on a delivery, which is the delivery guarantee:
1. read from the inbox; runs side by side, the deliveries of one run one after the other;
2. ask the ledger, where another process may have begun it, which attempt is the one to make;
3. run the handler, whose commands the ledger applies once however often it runs. If its run ends meanwhile, the handler
   is cancelled, and there is nothing to say;
4. report to the ledger that it completed or failed, and wait for the answer. Where that names another attempt, it is
   made here, now or when it is due, so that later messages stay later;
5. only then is the record finished; the offset committed is the lowest unfinished one.
"""

# long because: the order of work on a delivery is the guarantee, and has to be read as a whole

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.agent import Agent, Handler
from agents_sdk.answers import checked, open_attempt, wait_seconds
from agents_sdk.burial import Burial
from agents_sdk.context import Context, HandlerStopped, attempt_of, entered
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, HandlerBody
from agents_sdk.core.facts import MessageEvent, Reply
from agents_sdk.core.ids import canonical
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.divergence import HANDLER_DIVERGED
from agents_sdk.deaths import Deaths, noted
from agents_sdk.errors import (
    BackplaneError,
    DeliverySettled,
    Diverged,
    InvalidCommand,
    Overloaded,
    Oversize,
    RunFinished,
    ScopeDenied,
    UnknownRun,
)
from agents_sdk.event import event_of
from agents_sdk.inbox import Inbox, InboxRecord
from agents_sdk.lanes import AttemptsMadeAhead, Lanes
from agents_sdk.proofs import WHY, InboxGuard
from agents_sdk.scope import REQUEST_TIMEOUT_S, Scope
from agents_sdk.tracebacks import said, where
from agents_sdk.values import to_json
from agents_sdk.wire.codec import Undecodable

if TYPE_CHECKING:
    from agents_sdk.local import LocalCalls
    from agents_sdk.toolbox import Toolbox
    from agents_sdk.transport import Transport

log = logging.getLogger("backplane.agents")

CONCURRENCY: Final = 64
"""Runs one agent works on at a time in one process."""
DRAIN_S: Final = 8.0
"""The time that running handlers have to end when the process is stopped; the local platform kills after 10 s."""
JOIN_S: Final = 15.0
TELL_AGAIN_S: Final = 1.0
TELL_AGAIN_LIMIT_S: Final = 30.0
CLOCKS_APART_US: Final = 5_000_000
"""How far this machine's clock may lag the broker's without a message being handled that has expired."""
SETTLED: Final = (DeliverySettled, Diverged, RunFinished, UnknownRun)
"""Refusals that mean: nothing is left to do about this delivery."""
UNTOLD: Final = (InvalidCommand, Oversize, ScopeDenied)
"""Refusals of what is said itself. Any other says nothing of the delivery: this process is not believed as yet, the
ledger is overloaded or has a fault. An unsettled end must not be passed over, so it is said again."""
UNTELLABLE: Final = "the error's text cannot be recorded"


class Worker:
    """One agent in this process."""

    def __init__(
        self,
        agent: Agent,
        transport: Transport,
        concurrency: int,
        instance: str,
        toolbox: Toolbox | None = None,
        local: LocalCalls | None = None,
        deaths: Deaths | None = None,
    ) -> None:
        """``deaths`` knows at which deliveries processes under this instance's name died."""
        self._deaths = deaths
        self.agent = agent
        self._transport = transport
        self._toolbox = toolbox
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._guard: InboxGuard | None = None
        self._inbox = Inbox(transport.settings, agent.name, self._loop, self._arrived, instance=instance)
        self._lanes: Lanes[tuple[InboxRecord, MessageEvent]] = Lanes(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handling: dict[str, asyncio.Task[None]] = {}
        """Delivery → the task that handles it."""
        self._stopped: set[str] = set()
        """Of these, those whose run has ended."""
        self._made = AttemptsMadeAhead()
        self._due: dict[str, float] = {}
        """Delivery → when its open attempt is to be made, by the clock of the loop."""
        self._burial = Burial(agent.name, transport, self._inbox, self._spawn)
        self._ids_key = b""
        """The root of the ids of its commands; empty: the delivery alone."""
        self._closing = False
        self._closed = asyncio.Event()

    async def start(self) -> None:
        """Joins the group; returns when it has assigned our partitions. Raises KeyUnusable, and what ended the reading
        of the inbox."""
        keys = self._transport.signer.keys
        self._guard = InboxGuard(self._transport.settings, keys, self.agent.name)
        key = keys.get(self.agent.name)
        self._ids_key = key.ids if key is not None else b""
        self._inbox.open()
        waited = 0.0
        while not await asyncio.to_thread(self._inbox.joined.wait, JOIN_S / 10):
            waited += JOIN_S / 10
            if JOIN_S <= waited < JOIN_S * 1.1:
                log.warning("agent %s waits for its group %s", self.agent.name, self._inbox.group)
        self.check()

    def check(self) -> None:
        """Raises what ended the reading of the inbox, if something did."""
        if self._inbox.error is not None:
            raise self._inbox.error

    async def close(self) -> None:
        """Drains and leaves the group."""
        self._closing = True
        self._closed.set()
        self._inbox.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            if late:
                log.warning("agent %s: %d handlers did not end in %g s", self.agent.name, len(late), DRAIN_S)
                await asyncio.wait(late, timeout=1.0)
        await asyncio.to_thread(self._inbox.close)

    def _arrived(self, batch: list[InboxRecord]) -> None:
        for arrived in batch:
            record = arrived
            try:
                record, delivery = self._accepted(arrived)
                self._take(record, delivery)
            except Undecodable as error:
                self._burial.put(record, error, "decode")
            except Exception as error:  # whatever a record may hold: it costs itself alone
                log.exception("agent %s: offset %d of its inbox", self.agent.name, record.offset)
                self._burial.put(record, error, "decode")
        self._start_some()

    def _accepted(self, record: InboxRecord) -> tuple[InboxRecord, MessageEvent]:
        """The delivery that a record of the inbox is, if it is to be believed. Raises Undecodable."""
        if self._guard is not None and self._guard.possible:
            verdict, record = self._guard.judge_arrived(record)
            if verdict:
                raise Undecodable(verdict, WHY[verdict])
        delivery = self._transport.codec.decode(record.value)
        if not isinstance(delivery, MessageEvent) or delivery.kind not in kinds.INBOX:
            raise Undecodable("undecodable", f"a {type(delivery).__name__} is no delivery")
        return record, delivery

    def _take(self, record: InboxRecord, delivery: MessageEvent) -> None:
        if delivery.kind == kinds.DELIVERY_CANCELLED:
            self._cancel(record, delivery)
        else:
            self._lanes.add(delivery.run_id, (record, delivery))

    def _cancel(self, record: InboxRecord, cancelled: MessageEvent) -> None:
        """The run of a delivery has ended: its handler is stopped, or will not start."""
        delivery_id = cancelled.delivery_id
        for queued, _ in self._lanes.drop(cancelled.run_id, lambda item: item[1].delivery_id == delivery_id):
            self._inbox.finish(queued)
        task = self._handling.get(delivery_id)
        if task is not None and delivery_id not in self._stopped:
            self._stopped.add(delivery_id)
            task.cancel("the run has ended")
        self._inbox.finish(record)

    def _start_some(self) -> None:
        while not self._closing and (started := self._lanes.start()) is not None:
            run_id, (record, delivery) = started
            if self._inbox.ours(record):
                self._handling[delivery.delivery_id] = self._spawn(self._work(record, delivery))
            else:
                self._lanes.finish(run_id)  # somebody else gets it

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work, context=contextvars.Context())  # of no handler's
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _work(self, record: InboxRecord, delivery: MessageEvent) -> None:
        try:
            if await self._settled(record, delivery):
                self._inbox.finish(record)
        except asyncio.CancelledError:
            if delivery.delivery_id not in self._stopped:
                raise
            log.info("agent %s: delivery %s stopped, its run has ended", self.agent.name, delivery.delivery_id)
            self._inbox.finish(record)
        except Exception as error:  # a bug of ours, or a record that no ledger wrote: the others go on
            log.exception("agent %s: delivery %s", self.agent.name, delivery.delivery_id)
            self._burial.put(record, error, "handle")
        finally:
            self._handling.pop(delivery.delivery_id, None)
            self._stopped.discard(delivery.delivery_id)
            self._due.pop(delivery.delivery_id, None)
            self._lanes.finish(delivery.run_id)
            self._start_some()

    async def _settled(self, record: InboxRecord, delivery: MessageEvent) -> bool:
        """Makes all attempts at a delivery, in the place of the first. False where that is left to somebody else."""
        if self._made.passed(record.epoch, delivery.delivery_id, delivery.attempt):
            return True
        attempt = await self._open_attempt(record, delivery)
        while attempt is not None:
            if attempt is not delivery:
                self._made.note(record.epoch, delivery.delivery_id, attempt.attempt)
            await self._wait_until_due(attempt)
            if self._closing or not self._inbox.ours(record):
                return False
            attempt = await self._handle(record, attempt)
        if self._deaths is not None:
            self._deaths.end(delivery.delivery_id)
        return True

    async def _wait_until_due(self, delivery: MessageEvent) -> None:
        """Waits for the time of an attempt; what else there is for its run waits too. Returns at once when the process
        ends. How long is what the ledger said, whose clock this machine need not share."""
        due = self._due.pop(delivery.delivery_id, 0.0)
        if not due and delivery.not_before:
            longest = (delivery.not_before - delivery.at) / 1e6
            due = self._loop.time() + min(delivery.not_before / 1e6 - time.time(), longest)
        wait = due - self._loop.time()
        if wait <= 0:
            return
        with self._waiting(delivery.run_id):
            try:
                await asyncio.wait_for(self._closed.wait(), wait)
            except TimeoutError:
                return

    async def _open_attempt(self, record: InboxRecord, delivery: MessageEvent) -> MessageEvent | None:
        """The attempt to make, None where the delivery is settled. The ledger is asked where this process cannot know.
        Another one may have begun it, or it may have expired (this machine's clock says only that it may)."""
        late = delivery.deadline_at and time.time() * 1e6 > delivery.deadline_at - CLOCKS_APART_US
        if not record.earlier and not late:
            return delivery
        reply = await self._heard(self._start(record, delivery))
        if reply is None:
            log.info("agent %s: delivery %s was handled before", self.agent.name, delivery.delivery_id)
            return None
        return self._next(reply, delivery) or delivery

    def _next(self, reply: Reply, delivery: MessageEvent) -> MessageEvent | None:
        """The newer attempt that an answer tells of, and when it is due; None where there is none."""
        newer = open_attempt(reply, delivery)
        if newer is not None:
            self._due[delivery.delivery_id] = self._loop.time() + wait_seconds(reply)
        return newer

    def _start(self, record: InboxRecord, delivery: MessageEvent) -> Command:
        """Says that an attempt begins here: its time runs from now, also where another process had begun it."""
        here = f"start/{delivery.attempt}/{self._transport.client_id}/{record.epoch}"
        body = HandlerBody(attempt=delivery.attempt)
        return self._scope(delivery).command(kinds.START_HANDLER, body, self._id_of(delivery, here))

    async def _handle(self, record: InboxRecord, delivery: MessageEvent) -> MessageEvent | None:
        """Makes one attempt and tells how it ended; the attempt that follows, if one does."""
        handler = self.agent.handler_for(delivery.name)
        context = self._context(record, delivery)
        attempt = attempt_of(context)
        try:
            if handler is None:
                known = ", ".join(self.agent.subscriptions)
                raise UnknownMessage(f"this version of {self.agent.name!r} has no handler for it; it handles {known}")
            answer = self._answer(delivery, await self._timed(handler, record, delivery, context))
            if attempt.diverged is not None:  # a handler that catches everything
                raise HandlerStopped(str(attempt.diverged))
        except HandlerStopped:
            if attempt.diverged is not None and not attempt.diverged.fields.get("parked"):
                return await self._diverged(delivery, attempt.diverged)
            log.info("agent %s: delivery %s was handled before", self.agent.name, delivery.delivery_id)
            return None
        except asyncio.CancelledError as cancelled:
            if self._closing or delivery.delivery_id in self._stopped:
                raise
            return await self._failed(delivery, cancelled)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it raises, sys.exit() too, costs the attempt and no more
            # an end of the run meanwhile is no failure of the handler; the ledger tells which it is
            level = logging.INFO if isinstance(error, SETTLED) else logging.WARNING
            log.log(level, "agent %s: handler of %s failed", self.agent.name, delivery.name, exc_info=error)
            return await self._failed(delivery, error)
        try:
            name, asked = f"complete/{delivery.attempt}", len(attempt.asked)
            return await self._tell(kinds.COMPLETE_HANDLER, name, delivery, result=answer, counted=True, commands=asked)
        except UNTOLD as error:
            return await self._failed(delivery, error)

    def _context(self, record: InboxRecord, delivery: MessageEvent) -> Context:
        first = delivery.attempt == 1 and not record.earlier
        got = partial(self._deaths.got, delivery.delivery_id) if self._deaths is not None else None
        waiting, key = partial(self._waiting, delivery.run_id), self._ids_key
        return Context(
            self._transport, self.agent.name, delivery, self._toolbox, waiting, self._local, key, got, first=first
        )

    async def _timed(self, handler: Handler, record: InboxRecord, delivery: MessageEvent, context: Context) -> Any:
        """Runs the handler, within the agent's timeout if it has one. The ledger hears of it before, so that it can
        give the handler up where this process cannot. Raises HandlerTimedOut, ProcessDied, and what the handler
        raises."""
        seconds = self.agent.handler_timeout_seconds
        event = event_of(delivery)
        if seconds is None:
            with entered(context):
                async with noted(self._deaths, delivery.delivery_id):
                    return await handler(context, event)
        self._transport.send(self._start(record, delivery))
        await asyncio.sleep(0)  # so that it is on its way even if the handler never lets go of the event loop
        try:
            with entered(context):
                async with noted(self._deaths, delivery.delivery_id), asyncio.timeout(seconds) as limit:
                    return await handler(context, event)
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimedOut(f"the handler took longer than {seconds:g} s") from error
            raise

    @contextmanager
    def _waiting(self, run_id: str) -> Iterator[None]:
        """The handler of this run waits for others, which may have to be handled here."""
        self._lanes.wait(run_id)
        self._inbox.idle = self._lanes.waits
        self._start_some()
        try:
            yield
        finally:
            self._lanes.resume(run_id)
            self._inbox.idle = self._lanes.waits

    def _answer(self, delivery: MessageEvent, returned: Any) -> str:
        """The handler's return value, for the asker; nobody else sees it, so that it may be anything. Raises
        InvalidCommand, Oversize, which fail the attempt."""
        if not delivery.request_id or returned is None:
            return ""
        return to_json(returned, self._transport.max_value_bytes, "result")

    async def _failed(self, delivery: MessageEvent, error: BaseException) -> MessageEvent | None:
        """Tells that the attempt has failed. Raises UNTOLD where the ledger knows no such attempt."""
        name, kind = f"fail/{delivery.attempt}", type(error).__qualname__[:200]
        try:
            return await self._tell(
                kinds.FAIL_HANDLER, name, delivery, error_type=kind, error_message=said(error), traceback=where(error)
            )
        except UNTOLD as refused:
            log.error("agent %s: FailHandler of %s: %s", self.agent.name, delivery.delivery_id, refused)
            again = f"{name}/untellable"
            return await self._tell(kinds.FAIL_HANDLER, again, delivery, error_type="Error", error_message=UNTELLABLE)

    async def _diverged(self, delivery: MessageEvent, diverged: Diverged) -> MessageEvent | None:
        """Tells the run of a divergence in a memory, which lies in another partition."""
        difference = canonical(diverged.difference)
        name = f"diverged/{delivery.attempt}"
        return await self._tell(kinds.FAIL_HANDLER, name, delivery, error_type=HANDLER_DIVERGED, difference=difference)

    async def _tell(self, kind: CommandKind, name: str, delivery: MessageEvent, **fields: Any) -> MessageEvent | None:
        """Tells the ledger how an attempt ended: its word is what ends a delivery. The attempt that follows."""
        body = HandlerBody(attempt=delivery.attempt, **fields)
        reply = await self._heard(self._scope(delivery).command(kind, body, self._id_of(delivery, name)))
        return self._next(reply, delivery) if reply is not None else None

    async def _heard(self, command: Command) -> Reply | None:
        """Says it until the ledger has heard; None where it refuses, since nothing is left to do. Raises UNTOLD."""
        wait = TELL_AGAIN_S
        while True:
            try:
                return checked(await self._transport.request(command, REQUEST_TIMEOUT_S))
            except SETTLED as settled:
                log.info("agent %s: %s of %s: %s", self.agent.name, command.kind, command.delivery_id, settled)
                return None
            except UNTOLD:
                raise
            except BackplaneError as error:
                level = logging.WARNING if error.passes or isinstance(error, Overloaded) else logging.ERROR
                log.log(level, "agent %s: %s is said again: %s", self.agent.name, command.kind, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, TELL_AGAIN_LIMIT_S)

    def _id_of(self, delivery: MessageEvent, name: str) -> str:
        """The id of what this process says of a delivery: whichever process says it, and nobody else knows it."""
        return ids.keyed(self._ids_key, delivery.delivery_id, name)

    def _scope(self, delivery: MessageEvent) -> Scope:
        return Scope(
            self._transport,
            delivery.run_id,
            self.agent.name,
            correlation_id=delivery.correlation_id,
            causation_id=delivery.event_id,
            delivery_id=delivery.delivery_id,
        )


class HandlerTimedOut(TimeoutError):
    """A handler took longer than its agent allows; the ledger knows this error by its name."""


class UnknownMessage(LookupError):
    """An agent was sent a message that this version of it does not handle."""
