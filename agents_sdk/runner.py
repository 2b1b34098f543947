"""Runs agents: registers them, reads their inboxes, runs their handlers, and tells the ledger how each ended.

Order of work on a delivery, which is the delivery guarantee:
1. read from the inbox; runs side by side, the deliveries of one run one after the other;
2. run the handler, whose commands the ledger applies once however often it runs; if its run ends meanwhile, the
   handler is cancelled, and there is nothing to tell;
3. tell the ledger that it completed or failed, and wait until it has heard;
4. only then is the record finished; the offset committed is the lowest unfinished one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.agent import Agent, Handler
from agents_sdk.answers import checked
from agents_sdk.broadcast import broadcast
from agents_sdk.context import Context, HandlerStopped
from agents_sdk.core import ids
from agents_sdk.core.commands import Command, HandlerBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.errors import BackplaneError, DeliverySettled, Refused, RunFinished, Unanswered, UnknownRun, Unreachable
from agents_sdk.event import event_of
from agents_sdk.inbox import Arrived, Inbox
from agents_sdk.lanes import Lanes
from agents_sdk.scope import REQUEST_TIMEOUT_S, Scope
from agents_sdk.topics import dead_letter, inbox
from agents_sdk.values import to_json
from agents_sdk.wire.codec import Undecodable

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.transport import Transport

log = logging.getLogger("backplane.agents")

CONCURRENCY: Final = 64
"""Runs one agent works on at a time in one process."""
DRAIN_S: Final = 8.0
"""What running handlers are given to end when the process is told to; the local platform kills after 10 s."""
JOIN_S: Final = 15.0
ERROR_TEXT_LIMIT: Final = 2_000
"""Characters; the facts' limit."""
INBOX_KINDS: Final = frozenset({"MessageDelivered", "DeliveryCancelled"})
TELL_AGAIN_S: Final = 1.0
CLOCKS_APART_US: Final = 5_000_000
"""How far this machine's clock may be behind the broker's without a message being handled that has expired."""
SETTLED: Final = (DeliverySettled, RunFinished, UnknownRun)
"""Refusals that mean: nothing is left to do about this delivery."""


class AgentsRunner:
    """Runs some agents in this process until ``stop``. Processes that run the same agent share its work."""

    def __init__(
        self,
        agents: Sequence[Agent],
        settings: Settings | None = None,
        *,
        concurrency: int = CONCURRENCY,
        instance: str = "",
    ) -> None:
        """``concurrency``: runs each agent works on at a time. ``instance``: a name that this process keeps over
        restarts; it then gets its work back at once when it was killed, instead of after 6 s.

        Raises:
            ValueError: no agents, two of one name, or one without handlers.
        """
        if not agents:
            raise ValueError("no agents to run")
        names = [agent.name for agent in agents]
        for agent in agents:
            if names.count(agent.name) > 1:
                raise ValueError(f"two agents are named {agent.name!r}")
            if not agent.subscriptions:
                raise ValueError(f"agent {agent.name!r} has no handlers; give it some with @agent.on(…)")
        self.agents = tuple(agents)
        self._settings = settings
        self._concurrency = concurrency
        self._instance = instance
        self._transport: Transport | None = None
        self._workers: list[_Worker] = []
        self._stopping: asyncio.Event | None = None

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Runs until ``stop`` is called; ``ready`` is called when all agents are registered and listening.

        Raises:
            NotConfigured, Unreachable, TopicsNotApplied, SchemasNotApplied: on the way up.
        """
        self._stopping = asyncio.Event()
        try:
            await self.start()
            if ready is not None:
                ready()
            while not self._stopping.is_set():
                for worker in self._workers:
                    worker.check()
                try:
                    await asyncio.wait_for(self._stopping.wait(), 0.5)
                except TimeoutError:
                    continue
        finally:
            await self.close()

    def stop(self) -> None:
        """Makes ``run`` end: running handlers get 8 s, what they do not finish is delivered again elsewhere."""
        if self._stopping is not None:
            self._stopping.set()

    async def start(self) -> None:
        """Connects, registers and begins to listen."""
        from agents_sdk.settings import load_settings
        from agents_sdk.transport import Transport
        from agents_sdk.wire.registry import connect_codec
        from agents_sdk.wire.topics_admin import ensure_inbox

        settings = self._settings or load_settings()
        codec = await asyncio.to_thread(connect_codec, settings)
        transport = self._transport = Transport(settings, codec, "agents")
        await transport.open()
        # 1. The inboxes, before the ledger knows the agents and puts something in. 2. The registrations.
        for agent in self.agents:
            await asyncio.to_thread(ensure_inbox, settings, agent.name)
        await asyncio.gather(*(register(transport, agent) for agent in self.agents))
        # 3. The work.
        self._workers = [_Worker(agent, transport, self._concurrency, self._instance) for agent in self.agents]
        await asyncio.gather(*(worker.start() for worker in self._workers))

    async def close(self) -> None:
        """Lets running handlers end, commits and disconnects."""
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))
        if self._transport is not None:
            await self._transport.close()


async def register(transport: Transport, agent: Agent) -> None:
    """Registers an agent's declaration in every partition; the same one again changes nothing. Raises Refused,
    Unanswered, Unreachable."""
    await broadcast(transport, agent.name, "RegisterAgent", agent.registration())


class _Worker:
    """One agent in this process."""

    def __init__(self, agent: Agent, transport: Transport, concurrency: int, instance: str) -> None:
        self.agent = agent
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(transport.settings, agent.name, self._loop, self._arrived, instance=instance)
        self._lanes: Lanes[tuple[Arrived, MessageEvent]] = Lanes(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handling: dict[str, asyncio.Task[None]] = {}
        """Delivery → the task that handles it."""
        self._stopped: set[str] = set()
        """Of these, those whose run has ended."""
        self._closing = False

    async def start(self) -> None:
        """Joins the group. Raises Unreachable when that takes too long."""
        self._inbox.open()
        if not await asyncio.to_thread(self._inbox.joined.wait, JOIN_S):
            raise Unreachable(f"agent {self.agent.name!r} could not join its group in {JOIN_S:g} s", server="kafka")

    def check(self) -> None:
        """Raises what ended the reading of the inbox, if something did."""
        if self._inbox.error is not None:
            raise self._inbox.error

    async def close(self) -> None:
        """Drains and leaves the group."""
        self._closing = True
        self._inbox.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            if late:
                log.warning("agent %s: %d handlers did not end in %g s", self.agent.name, len(late), DRAIN_S)
                await asyncio.wait(late, timeout=1.0)
        await asyncio.to_thread(self._inbox.close)

    def _arrived(self, batch: list[Arrived]) -> None:
        for record in batch:
            try:
                delivery = self._transport.codec.decode(record.value)
                if not isinstance(delivery, MessageEvent) or delivery.kind not in INBOX_KINDS:
                    raise Undecodable("undecodable", f"a {type(delivery).__name__} is no delivery")
            except Undecodable as error:
                self._spawn(self._bury(record, error))
                continue
            if delivery.kind == "DeliveryCancelled":
                self._cancel(record, delivery)
            else:
                self._lanes.add(delivery.run_id, (record, delivery))
        self._start_some()

    def _cancel(self, record: Arrived, cancelled: MessageEvent) -> None:
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
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _work(self, record: Arrived, delivery: MessageEvent) -> None:
        try:
            await self._handle(delivery)
            self._inbox.finish(record)
        except asyncio.CancelledError:
            if delivery.delivery_id not in self._stopped:
                raise
            log.info("agent %s: delivery %s stopped, its run has ended", self.agent.name, delivery.delivery_id)
            self._inbox.finish(record)
        except Exception:  # a bug of ours: the record stays unfinished and comes again after a restart
            log.exception("agent %s: delivery %s", self.agent.name, delivery.delivery_id)
        finally:
            del self._handling[delivery.delivery_id]
            self._stopped.discard(delivery.delivery_id)
            self._lanes.finish(delivery.run_id)
            self._start_some()

    async def _handle(self, delivery: MessageEvent) -> None:
        handler = self.agent.handler_for(delivery.name)
        try:
            if handler is None:
                known = ", ".join(self.agent.subscriptions)
                raise UnknownMessage(f"this version of {self.agent.name!r} has no handler for it; it handles {known}")
            answer = self._answer(delivery, await self._timed(handler, delivery))
        except HandlerStopped:
            log.info("agent %s: delivery %s was handled before", self.agent.name, delivery.delivery_id)
        except asyncio.CancelledError as cancelled:
            if self._closing or delivery.delivery_id in self._stopped:
                raise
            await self._failed(delivery, cancelled)
        except Exception as error:
            # an end of the run meanwhile is no failure of the handler; the ledger tells which it is
            level = logging.INFO if isinstance(error, SETTLED) else logging.WARNING
            log.log(level, "agent %s: handler of %s failed", self.agent.name, delivery.name, exc_info=error)
            await self._failed(delivery, error)
        else:
            await self._tell("CompleteHandler", f"complete/{delivery.attempt}", delivery, result=answer)

    async def _timed(self, handler: Handler, delivery: MessageEvent) -> Any:
        """Runs the handler, within the agent's timeout if it has one. The ledger is told before, so that it can give
        the handler up where this process cannot. Raises HandlerTimedOut, and what the handler raises."""
        seconds = self.agent.handler_timeout_seconds
        name = ids.derive(delivery.delivery_id, f"start/{delivery.attempt}")
        start = self._scope(delivery).command("StartHandler", HandlerBody(attempt=delivery.attempt), name)
        if delivery.deadline_at and time.time() * 1e6 > delivery.deadline_at - CLOCKS_APART_US:
            await self._still_open(start)
        context, event = Context(self._transport, self.agent.name, delivery), event_of(delivery)
        if seconds is None:
            return await handler(context, event)
        self._transport.send(start)
        await asyncio.sleep(0)  # so that it is on its way even if the handler never lets go of the event loop
        try:
            async with asyncio.timeout(seconds) as limit:
                return await handler(context, event)
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimedOut(f"the handler took longer than {seconds:g} s") from error
            raise

    async def _still_open(self, start: Command) -> None:
        """Asks the ledger whether the message has expired: this machine's clock only says that it may have. Raises
        HandlerStopped where it has."""
        try:
            checked(await self._transport.request(start, REQUEST_TIMEOUT_S))
        except SETTLED as settled:
            raise HandlerStopped(str(settled)) from settled

    def _answer(self, delivery: MessageEvent, returned: Any) -> str:
        """What the handler returned, for whoever asked; nobody else is shown it, so that it may be anything. Raises
        InvalidCommand, Oversize, which fail the attempt."""
        if not delivery.request_id or returned is None:
            return ""
        return to_json(returned, self._transport.max_value_bytes, "result")

    async def _failed(self, delivery: MessageEvent, error: BaseException) -> None:
        text = str(error)[:ERROR_TEXT_LIMIT]
        await self._tell(
            "FailHandler",
            f"fail/{delivery.attempt}",
            delivery,
            error_type=type(error).__qualname__[:200],
            error_message=text,
        )

    async def _tell(self, kind: str, name: str, delivery: MessageEvent, **fields: str) -> None:
        """Tells the ledger how a handler ended, until it has heard: its word is what ends a delivery."""
        scope = self._scope(delivery)
        body = HandlerBody(attempt=delivery.attempt, **fields)
        command = scope.command(kind, body, ids.derive(delivery.delivery_id, name))
        while True:
            try:
                await scope.sent(command)
                return
            except Refused as refused:
                level = logging.INFO if isinstance(refused, SETTLED) else logging.ERROR
                log.log(level, "agent %s: %s of %s: %s", self.agent.name, kind, delivery.name, refused)
                return
            except (Unanswered, Unreachable) as error_:
                log.warning("agent %s: %s is told again: %s", self.agent.name, kind, error_)
                await asyncio.sleep(TELL_AGAIN_S)

    def _scope(self, delivery: MessageEvent) -> Scope:
        return Scope(
            self._transport,
            delivery.run_id,
            self.agent.name,
            correlation_id=delivery.correlation_id,
            causation_id=delivery.event_id,
            delivery_id=delivery.delivery_id,
        )

    async def _bury(self, record: Arrived, error: Undecodable) -> None:
        """Puts what cannot be read in the dead letters, as it is; only then is it finished here."""
        from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers

        topic = inbox(self.agent.name)
        letter = DeadLetter.of(topic, record.partition, record.offset, self._inbox.group, error, stage="decode")
        headers = dead_letter_headers(letter, record.headers)
        log.error("agent %s: %s[%d]@%d: %s", self.agent.name, topic, record.partition, record.offset, error)
        while self._inbox.ours(record):
            try:
                await self._transport.write(dead_letter(topic), record.key, record.value, headers)
                self._inbox.finish(record)
                return
            except BackplaneError as failure:
                log.warning("agent %s: dead letter not written yet: %s", self.agent.name, failure)
                await asyncio.sleep(TELL_AGAIN_S)


class HandlerTimedOut(TimeoutError):
    """A handler took longer than its agent allows; the ledger knows this error by its name."""


class UnknownMessage(LookupError):
    """An agent was sent a message that this version of it does not handle."""


def run_until_signalled(runner: AgentsRunner, ready: Callable[[], None] | None = None) -> None:
    """Runs agents until SIGTERM or SIGINT; blocks. Raises what ``AgentsRunner.run`` raises."""
    import signal

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, runner.stop)
        await runner.run(ready)

    asyncio.run(main())
