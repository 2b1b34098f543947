"""A ledger's core, one agent's inbox and the processes that share it, in memory: as much of the platform as the order
in which messages are handled depends on. The workers are the real ones; nothing here waits for a clock."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec

from agents_sdk import Agent
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Fact, MessageEvent, Reply
from agents_sdk.inbox import InboxRecord
from agents_sdk.lanes import OffsetTracker
from agents_sdk.worker import Worker
from tests.support.ledger_desk import Desk

WIDTH = 4
"""Runs that a process works on at a time."""


class World:
    """The ledger and the one partition of the agent's inbox."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.desk = Desk()
        self.inbox: list[MessageEvent] = []
        self.committed = 0
        self.epochs = 0
        spec = msgspec.structs.asdict(agent.registration())
        self.desk.register(spec.pop("name"), **spec)

    def put(self, send: Any, *args: Any, **fields: Any) -> Any:
        """Lets the ledger decide, and puts what it delivers to the agent in the inbox."""
        step = send(*args, **fields)
        self.inbox += [
            fact
            for fact in step.facts
            if fact.kind in ("MessageDelivered", "DeliveryCancelled") and fact.recipient == self.agent.name
        ]
        return step

    def facts(self, *kinds: str) -> list[Any]:
        """The facts of these kinds, in the order in which they happened."""
        found: list[Fact] = [fact for fact in self.desk.facts if fact.kind in kinds]
        return found


class Process:
    """One process that runs the agent, as the owner of the partition from now on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.owns = True
        self.client_id = f"client-{world.epochs}"
        self.reply_partition = 0
        self.max_value_bytes = 1_048_576
        self.settings = None
        self.codec = SimpleNamespace(decode=lambda value: value)
        world.epochs += 1
        self.memory = _Inbox(self, world.epochs)
        with mock.patch("agents_sdk.worker.Inbox", lambda *args, **_: self.memory.to(args[3])):
            self.worker = Worker(world.agent, self, WIDTH, "")  # type: ignore[arg-type]  # a transport in all it is asked

    def feed(self) -> None:
        """Hands over what is in the inbox and was not read here yet."""
        self.memory.feed()

    def commit(self) -> None:
        """Commits how far it is finished."""
        offset = self.memory.tracker.committable()
        if self.alive and self.owns and offset is not None:
            self.world.committed = offset

    def kill(self) -> None:
        """Not one more command is heard of it."""
        self.alive = self.owns = False
        for task in list(self.worker._tasks):
            task.cancel()

    async def request(self, command: Command, timeout: float | None) -> Reply:
        """The transport's: decided in its turn, and answered if the process is still there."""
        await asyncio.sleep(0)
        if not self.alive:
            raise asyncio.CancelledError
        self.world.put(self.world.desk.put, command)
        while True:
            await asyncio.sleep(0)
            if not self.alive:
                raise asyncio.CancelledError
            told = (reply for reply in reversed(self.world.desk.replies) if reply.command_id == command.command_id)
            if (reply := next(told, None)) is not None:
                return reply

    def send(self, command: Command) -> None:
        """The transport's, without an answer."""
        if self.alive:
            self.world.put(self.world.desk.put, command)


class _Inbox:
    """As ``agents_sdk.inbox.Inbox``, of one partition that is read from the committed offset on."""

    error = None
    group = "the agents"

    def __init__(self, process: Process, epoch: int) -> None:
        self.process = process
        self.epoch = epoch
        self.tracker = OffsetTracker()
        self.next = process.world.committed
        self.end = len(process.world.inbox)
        self.joined = threading.Event()
        self.arrived: Any = None

    def to(self, arrived: Any) -> _Inbox:
        self.arrived = arrived
        return self

    def feed(self) -> None:
        log = self.process.world.inbox
        batch = []
        while self.next < len(log):
            self.tracker.add(self.next)
            batch.append(InboxRecord(0, self.epoch, self.next, None, log[self.next], [], self.next < self.end))  # type: ignore[arg-type]  # decoded as it is
            self.next += 1
        if batch:
            self.arrived(batch)

    def ours(self, record: InboxRecord) -> bool:
        return self.process.owns

    def finish(self, record: InboxRecord) -> None:
        if self.process.owns:
            self.tracker.finish(record.offset)
