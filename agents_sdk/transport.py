"""Commands to Kafka and their answers back: one producer, one reader of answers, for a whole process.

Order of work for a command: bounded wait for room → encode, sign → produce → wait for the answer. It asks again with
the same id where the answer stays away. The producer is idempotent, so a retry neither duplicates nor reorders.
Commands of one sender about one run are applied in the order in which they were issued.
"""

# long because: the way of a command out and of its answer back, in one place

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from agents_sdk.answers import unanswered
from agents_sdk.artifacts import ArtifactStore
from agents_sdk.believed import Answers, SentCommand, Verdict
from agents_sdk.core import bounds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Reply
from agents_sdk.core.identity import OPERATOR
from agents_sdk.errors import (
    BackplaneError,
    InvalidCommand,
    NotGranted,
    Overloaded,
    Oversize,
    Refused,
    Unanswered,
    Unreachable,
)
from agents_sdk.inflight import SLOW_KINDS, TICK_S, CommandInFlight, InFlight
from agents_sdk.keys import Keys
from agents_sdk.replies import ReplyReader, accepted
from agents_sdk.scope import new_id
from agents_sdk.signer import Signer
from agents_sdk.topics import COMMANDS
from agents_sdk.turns import Turns
from agents_sdk.values import ELSEWHERE
from agents_sdk.window import MAX_WAITING, MOST, Window
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.headers import Headers, command_headers
from agents_sdk.wire.quiet import CLIENT_LOGGING
from agents_sdk.wire.topics_admin import NOT_ALLOWED, TIMEOUT_S, TopicRefused, TopicsNotApplied, mapped

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

MEET_S: Final = 2.0
"""How long the first command of a name waits for the introduction; it goes on meanwhile."""
log = logging.getLogger("backplane.sdk")

MAX_SLOW: Final = 20_000
"""Of the slow kinds, those under way: each is a call, a child, a question or a run that somebody waits for. They do not
count with the others, or their waiters would starve those they wait for."""
COMMAND_BYTES: Final = 3_900_000
"""Of one command: what the broker takes, less headers."""
CLOSE_FLUSH_S: Final = 5.0
DOUBT_S: Final = 1.0
"""How long a proven answer is waited for where one came that says that this process is not who it says it is."""
KEPT_SENDINGS: Final = 8
"""Of a command, by which an answer is known: its key may be another one meanwhile."""
_PRODUCER: Final = {
    **CLIENT_LOGGING,
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # Java's: a run has one partition number for every writer
    "linger.ms": 0,
    "compression.type": "lz4",
    "message.max.bytes": 4_000_000,
    "message.timeout.ms": 60_000,
    "queue.buffering.max.kbytes": 131_072,  # what a client holds of what a slow broker does not take
    "delivery.report.only.error": True,
}


class _Wire(NamedTuple):
    """A command as it is produced."""

    key: bytes
    value: bytes
    partition: int
    """-1: where its key belongs."""
    headers: Headers
    asked: SentCommand


class Transport:
    """The connection of one process to the ledger. Belongs to the event loop that opened it."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        name: str,
        *,
        max_in_flight: int = MOST,
        max_waiting: int = MAX_WAITING,
        max_slow: int = MAX_SLOW,
        introduces: bool = False,
    ) -> None:
        """``name`` begins the client id, which answers are addressed to. At most ``max_in_flight`` commands await an
        answer, fewer where answers take long; ``max_waiting`` more wait for room. ``introduces``: where this process
        can read the master key, clients that the platform does not know are granted all rights."""
        self.settings = settings
        self.codec = codec
        self.signer = Signer(codec, Keys.of(settings))
        self.client_id = f"{name}-{new_id()}"
        self._answers = Answers(self.client_id)
        self.reply_partition = 0
        self.max_value_bytes = settings.limits.max_value_bytes
        self._window = Window(max_in_flight, max_waiting)
        self._max_slow = max_slow
        self._slow = 0
        self._introduces = introduces
        self._introducing: dict[str, asyncio.Task[None]] = {}
        self._met: set[str] = set()
        """Names that need no introduction any more."""
        self._in_flight = InFlight()
        self._turns = Turns()
        self._counted = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        """Commands that wait for room, in order."""
        self._admitted = 0
        """Of these, those that have room now and have not run yet: nobody may overtake them."""
        self._producer: Producer | None = None
        self._outbox: list[_Wire] = []
        self._replies: ReplyReader | None = None
        self._writer: Producer | None = None
        """For ``write``."""
        self._writing = threading.Lock()
        self._ticking: asyncio.TimerHandle | None = None

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Where files are kept."""
        return ArtifactStore(self.settings.data_dir, self.settings.artifacts.url)

    async def open(self) -> None:
        """Connects. Raises Unreachable, TopicsNotApplied."""
        from confluent_kafka import Producer

        self._loop = asyncio.get_running_loop()
        self._replies = ReplyReader(self.settings, self.client_id, self._loop, self._arrived)
        await asyncio.to_thread(self._replies.open)
        self.reply_partition = self._replies.partition
        self._producer = Producer({**_PRODUCER, **self.settings.kafka})
        self._tick()

    async def close(self) -> None:
        """Sends what is queued and ends all waiting with Unanswered."""
        if self._ticking is not None:
            self._ticking.cancel()
        producer = self._producer
        if producer is not None:
            await asyncio.to_thread(producer.flush, CLOSE_FLUSH_S)
            self._producer = self._writer = None  # their threads end with the last reference
        if self._replies is not None:
            await asyncio.to_thread(self._replies.close)
        for waiting in self._in_flight.drain():
            self._fail(waiting, Unanswered("the connection was closed before the answer came"))

    async def request(self, command: Command, timeout: float | None, *, partition: int = -1) -> Reply:
        """Sends a command and returns its answer, whatever it says. ``timeout`` in seconds, None for ever;
        ``partition`` overrides the one of its run. The holder of the master key is introduced first, where that is
        needed.

        Raises:
            Unanswered: no answer in time; sending the same command again is safe.
            Unreachable, Oversize: the broker did not take it.
            Overloaded: more waits here than may; nothing was sent.
        """
        if self._introduces and command.agent not in self._met:
            await self._meet(command.agent)
        reply = await self._requested(command, timeout, partition)
        if reply.code == NotGranted.code and await self._introduced(command.agent):
            reply = await self._requested(command, timeout, partition)
        return reply

    async def _meet(self, name: str) -> None:
        """Introduces a name before its first command, unless that was done from here before. Where nobody answers, the
        command is sent all the same."""
        from agents_sdk.grants import introduced_before, note_introduced

        folder = Path(self.settings.data_dir)
        if not introduced_before(folder, name):
            try:
                async with asyncio.timeout(MEET_S):
                    if await self._introduced(name):
                        note_introduced(folder, name)
            except (BackplaneError, TimeoutError) as error:
                log.info("%s is not introduced yet: %r", name, error)
                if name in self._introducing and self._introducing[name].done():
                    del self._introducing[name]
        self._met.add(name)

    async def _introduced(self, name: str) -> bool:
        """Whether this process may have granted the name its rights: once for each name, with the master key."""
        if not self._introduces or name == OPERATOR or self.signer.key_of(OPERATOR) is None:
            return False
        if name not in self._introducing:
            self._introducing[name] = self._loop.create_task(self._introduce(name))
        await asyncio.shield(self._introducing[name])
        return True

    async def _introduce(self, name: str) -> None:
        from agents_sdk.grants import introduce

        try:
            await introduce(self, name)
        except Refused as known:
            log.info("%s is not introduced: %s", name, known)

    async def _requested(self, command: Command, timeout: float | None, partition: int) -> Reply:
        counted = command.kind not in SLOW_KINDS
        # what a handler says is remembered until its delivery is settled, however much it is
        in_turn = bool(command.run_id) and not command.delivery_id
        turn = await self._turn(command.run_id, counted) if in_turn else -1
        try:
            return await self._request(command, timeout, partition, counted)
        finally:
            if in_turn:
                self._turns.done(command.run_id, turn)

    async def _turn(self, run_id: str, counted: bool) -> int:
        """Waits until a command about the run may be sent. Raises Overloaded."""
        if self._window.full(self._turns.waiting):
            raise self._overloaded(self._turns.waiting, self._window.max_waiting, "wait for their turn")
        return await self._turns.take(run_id, counts=counted)

    async def _request(self, command: Command, timeout: float | None, partition: int, counted: bool) -> Reply:
        await self._admit(counted)
        asked_at = self._loop.time()
        try:
            wire = self._encoded(command, partition)
            future: asyncio.Future[Reply] = self._loop.create_future()
            waiting = self._in_flight.add(command, future, partition, asked_at, timeout)
            waiting.asked.append(wire.asked)
            try:
                self._produce(wire)
                return await future
            finally:
                self._in_flight.take(command.command_id)
        finally:
            if counted:
                self._counted -= 1
                self._window.answered(asked_at, self._loop.time())
                self._make_room()
            else:
                self._slow -= 1

    async def _admit(self, counted: bool) -> None:
        """Waits for room, in turn. Raises Overloaded."""
        if not counted:
            if self._slow >= self._max_slow:
                raise self._overloaded(self._slow, self._max_slow, "wait for an answer")
            self._slow += 1
        elif self._counted >= self._window.size or self._queue or self._admitted:
            if self._window.full(len(self._queue)):
                raise self._overloaded(len(self._queue), self._window.max_waiting, "wait for room")
            await self._wait_for_room()
        else:
            self._counted += 1

    def _overloaded(self, waiting: int, limit: int, what: str) -> Overloaded:
        seconds = round(self._window.retry_after_s(waiting), 1)
        return Overloaded(
            f"{waiting} commands of this process {what} already",
            hint=f"send fewer at a time, or send it again in {seconds:g} s",
            open=waiting,
            limit=limit,
            retry_after=seconds,
        )

    def _encoded(self, command: Command, partition: int) -> _Wire:
        try:
            value, issued_at, key = self.signer.said(command)
            name = (command.run_id or command.agent).encode()
            wire = _Wire(name, value, partition, command_headers(command), SentCommand.by(key, issued_at))
        except (TypeError, ValueError, AttributeError) as error:  # whatever fastavro meets in a field
            raise InvalidCommand(f"{command.kind} cannot be encoded: {error}", field="") from error
        broken = bounds.envelope_excess(command)
        if broken is not None:
            raise InvalidCommand(broken.message, field=broken.field, limit=broken.limit, value=broken.shown)
        if len(value) > COMMAND_BYTES:
            message = f"{command.kind} has {len(value)} bytes, the limit is {COMMAND_BYTES}"
            raise Oversize(message, hint=ELSEWHERE, size=len(value), limit=COMMAND_BYTES)
        return wire

    def send(self, command: Command, *, partition: int = -1) -> None:
        """Sends a command whose answer nobody waits for; an error of the broker is only logged."""
        self._produce(self._encoded(command, partition))

    async def write(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Writes any record and returns when the broker has it. For the rare ones, one at a time: the first opens a
        producer. Raises Unreachable, Oversize, TopicRefused."""
        await asyncio.to_thread(self._write, topic, key, value, headers)

    def _write(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        from confluent_kafka import KafkaException, Producer

        failed: list[Any] = []

        def report(error: Any, _: Any) -> None:
            failed.append(error)

        with self._writing:
            if self._writer is None:
                self._writer = Producer({**_PRODUCER, "message.timeout.ms": 10_000, **self.settings.kafka})
            try:
                self._writer.produce(topic, value, key, headers=list(headers), on_delivery=report)
            except KafkaException as refused:
                failed.append(refused.args[0])
            self._writer.flush()
        if failed:
            raise _of_driver(failed[0], len(value or b""))

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Blocks. Raises Unreachable, TopicsNotApplied."""
        assert self._producer is not None
        from confluent_kafka import KafkaException

        try:
            count = len(self._producer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions)
        except KafkaException as error:
            raise mapped(error, self.settings, f"topic {topic!r} cannot be described") from error
        if not count:
            raise TopicsNotApplied(f"there is no topic {topic!r}", hint=TopicsNotApplied.hint, topic=topic)
        return count

    def _produce(self, wire: _Wire) -> None:
        """Puts a command in the outbox, which goes out when the event loop has run what is ready now. Commands that are
        issued together travel together, and a lone command waits for nothing."""
        if not self._outbox:
            self._loop.call_soon(self._send_outbox)
        self._outbox.append(wire)

    def _send_outbox(self) -> None:
        from confluent_kafka import KafkaError, KafkaException

        outbox, self._outbox = self._outbox, []
        producer = self._producer
        if producer is None:  # closed meanwhile: the waiters know it
            return
        for key, value, partition, headers, _ in outbox:
            try:
                producer.produce(COMMANDS, value, key, partition, self._undelivered, headers=cast(Any, headers))
            except BufferError:
                self._not_sent(value, KafkaError(KafkaError._QUEUE_FULL))
            except KafkaException as refused:
                self._not_sent(value, refused.args[0])

    async def _wait_for_room(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(waiter)
        # there may be room, only that others go first; soon, since awaiting what is done already would overtake them
        self._loop.call_soon(self._make_room)
        try:
            await waiter
            self._admitted -= 1
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._admitted -= 1
                self._counted -= 1
                self._make_room()
            raise

    def _make_room(self) -> None:
        while self._queue and self._counted < self._window.size:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._counted += 1
                self._admitted += 1

    def _arrived(self, values: list[bytes]) -> None:
        for value in values:
            try:
                reply = accepted(self.codec, value)
            except Undecodable as error:
                log.error("an answer cannot be decoded: %s", error)
                continue
            waiting = self._in_flight.get(reply.command_id)
            if waiting is not None:
                self._answered(value, reply, waiting)

    def _answered(self, value: bytes, reply: Reply, waiting: CommandInFlight) -> None:
        verdict = self._answers.judge(value, reply, waiting.asked)
        if verdict is Verdict.BELIEVED:
            self._resolve(waiting, reply)
        elif verdict is Verdict.DOUBTFUL:
            self._loop.call_later(DOUBT_S, self._resolve_unproven, waiting, reply)
        else:
            command = waiting.command
            log.warning("%s of run %s: an answer that is not the ledger's is passed over", command.kind, command.run_id)

    def _resolve(self, waiting: CommandInFlight, reply: Reply) -> None:
        if self._in_flight.get(reply.command_id) is waiting:
            self._in_flight.take(reply.command_id)
            if not waiting.slot.done():
                waiting.slot.set_result(reply)

    def _resolve_unproven(self, waiting: CommandInFlight, reply: Reply) -> None:
        if not self._answers.proven(waiting.asked):
            self._resolve(waiting, reply)

    def _tick(self) -> None:
        assert self._producer is not None
        self._producer.poll(0)
        again, expired = self._in_flight.due(self._loop.time())
        for waiting in expired:
            self._fail(waiting, unanswered(waiting.command))
        for waiting in again:
            try:
                wire = self._encoded(waiting.command, waiting.wire)
            except BackplaneError as error:  # a key that cannot be read just now: asked again later
                log.warning("%s is not sent again: %s", waiting.command.kind, error)
                continue
            waiting.asked = [*waiting.asked[-KEPT_SENDINGS:], wire.asked]
            self._produce(wire)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _undelivered(self, error: Any, message: Any) -> None:
        """Called from poll, on the loop's thread or, while closing, from flush in another one."""
        if error is not None:
            self._loop.call_soon_threadsafe(self._not_sent, message.value(), error)

    def _not_sent(self, value: bytes, error: Any) -> None:
        command = self.codec.decode(value)
        assert isinstance(command, Command)
        failure = _of_driver(error, len(value))
        log.warning("%s of run %s was not delivered: %s", command.kind, command.run_id, failure)
        waiting = self._in_flight.take(command.command_id)
        if waiting is not None:
            self._fail(waiting, failure)

    @staticmethod
    def _fail(waiting: CommandInFlight, error: BackplaneError) -> None:
        if not waiting.slot.done():
            waiting.slot.set_exception(error)


def _of_driver(error: Any, size: int) -> BackplaneError:
    """librdkafka's error about one command as one of ours."""
    from confluent_kafka import KafkaError

    if error.code() == KafkaError._QUEUE_FULL:
        hint = "the broker is slow or away: send it again later; see `backplane status`"
        return Overloaded("the commands that the broker has not taken yet fill the buffer", hint=hint, retry_after=1.0)
    if error.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
        return TopicRefused(f"there is no such topic: {error.str()}", hint="run `backplane topics apply`")
    if error.name().endswith("AUTHORIZATION_FAILED"):
        return TopicRefused(f"Kafka does not let this user write here: {error.str()}", hint=NOT_ALLOWED)
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return Oversize(f"the command has {size} bytes, more than the broker takes: {error.str()}", size=size)
    return Unreachable(
        f"Kafka did not take the command: {error.str()}", hint="check `backplane status`", server="kafka"
    )
