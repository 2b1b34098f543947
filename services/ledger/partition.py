"""One partition of the ledger: decode, decide, answer, hand over to the committer.

Order of work on a batch, which is the delivery guarantee:
1. skip commands that the facts say were applied; read those that the batch skipped over;
2. decide each by the core, which also folds its facts into the book;
3. send the answers (early: the core is deterministic, so the answer to a durable command cannot change any more);
4. hand the facts, and the commands for other runs that follow from them, to the committer, which writes them in one
   transaction;
5. only then is the batch's offset finished.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, cast

from confluent_kafka import KafkaException, Producer

from agents_sdk.broadcast import sent_to
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RefusalEvent
from agents_sdk.core.identity import CODES
from agents_sdk.core.ledger import Book, Limits, Proof, Step, apply, identity, issued, undecodable
from agents_sdk.core.ledger.agents import touched
from agents_sdk.core.ledger.evolve import ENDED, Gap
from agents_sdk.core.ledger.rules import EXECUTOR, LEDGER
from agents_sdk.core.ledger.timers import set_by
from agents_sdk.core.partition import partition_of
from agents_sdk.errors import REFUSALS, BackplaneError
from agents_sdk.keys import Keys, verifier
from agents_sdk.proofs import fact_guard
from agents_sdk.settings import Settings
from agents_sdk.signer import Signer
from agents_sdk.topics import CALLS, COMMANDS, MESSAGES, REPLIES, TOPIC_OF_FACT, dead_letter, inbox
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers
from agents_sdk.wire.headers import Headers, command_headers, fact_headers
from agents_sdk.wire.proof import Place
from services.ledger.alarms import Alarms
from services.ledger.committer import Committer, Group, Outgoing
from services.ledger.debt import Debt, due, inherited
from services.ledger.pieces import Changes
from services.ledger.proofs import proofs_of, valid
from services.ledger.recovery import recover
from services.ledger.snapshots import FACTS_BETWEEN, Snapshots
from services.metrics import catalogue
from services.metrics.exposition import Metrics
from services.metrics.facts import count_facts
from services.runtime import clients
from services.runtime.batch import Batch, Record
from services.runtime.clients import QUICK_MS
from services.runtime.log import read_range

log = logging.getLogger("backplane.ledger")

LOOK_S: Final = 2.0
"""Between two looks at the debt of a partition to which nothing comes."""
PUT_OFF_S: Final = 5.0
"""After a snapshot that could not be taken."""
GROUP = "bp.ledger"
"""The consumer group of the ledger's workers."""
TRIGGERS: Final = frozenset(
    {
        "CallRequested",
        "CallCancelled",
        "MessageDelivered",
        "DeliveryCancelled",
        "ChildStarted",
        "ChildCancelled",
        "ChildOrphaned",
    }
)
"""Kinds of facts that an executor, an agent or another run acts on: they are committed at once."""
Dead: TypeAlias = tuple[Record, str, BaseException | tuple[str, str]]
"""A record of bp.commands, the stage at which it was given up, and why."""


def urgent(fact: Fact) -> bool:
    """Whether somebody waits for the fact to be committed."""
    return fact.kind in TRIGGERS or bool(fact.parent_run_id and fact.kind in ENDED)


class NoMasterKey(BackplaneError):
    """The log says that identity is required, and this ledger has no master key: going on would let everybody in."""

    code = "auth"
    hint = "give identity.master_file, the file the platform's keys were derived from"


class PartitionLedger:
    """The book of one partition and the two ways out of it: facts by transaction, answers at once."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        codec: Codec,
        replies: Producer,
        commands: Producer,
        snapshots: Snapshots,
        done: Callable[[int], None],
        metrics: Metrics,
    ) -> None:
        self.number = number
        self._limits = Limits(max_value_bytes=settings.limits.max_value_bytes)
        self.book = Book(limits=self._limits)
        self.committer = Committer(settings.kafka, number, done, partial(metrics.observe, catalogue.COMMIT))
        self._metrics = metrics
        self._settings = settings
        self._kafka = settings.kafka
        self._codec = codec
        self._signer = Signer(codec, Keys.of(settings))
        self._verifier = verifier(settings)
        self._proofs = proofs_of(settings, number)
        self._replies = replies
        self._commands = commands
        self.alarms = Alarms(lambda: self.book, self._send)
        self._snapshots = snapshots
        self._next = 0
        self._partitions = settings.topics.partitions
        self._dirty: dict[str, int] = {}
        """Runs touched since the last snapshot → the command that touched them last."""
        self._debt = Debt()
        self._turn = asyncio.Lock()
        """Held by whoever changes the book, or needs it unchanged."""
        self._answers: dict[int, list[dict[str, Any]]] = {}
        """Answers of the batch being applied, by partition of bp.replies."""
        self._snapshot: asyncio.Task[None] | None = None
        self._not_before = 0.0
        """When a snapshot may be tried again."""

    async def open(self) -> None:
        """Takes the partition over: fences, then folds the facts that its snapshot does not have."""
        await self.committer.open()
        book, offsets = await self._snapshots.load(self.number, self._limits)
        try:
            await asyncio.to_thread(self._recover, book, offsets)
        except Gap as gap:
            # a worker that was fenced while it wrote its snapshot may leave an old run beside a newer meta record
            log.warning("partition %d: snapshot unusable (%s), folding all facts", self.number, gap)
            await asyncio.to_thread(self._recover, Book(limits=self._limits), {})
        if self.book.identity_required and self._verifier is None:
            raise NoMasterKey(f"partition {self.number} takes only signed commands, and this ledger cannot check them")
        if self._verifier is not None and not self.book.identity_required:
            self._send(identity.required(self.number))
        self._next = self.book.applied + 1
        self.alarms.set_all((run_id, run.timers) for run_id, run in self.book.runs.items())

    @property
    def next(self) -> int:
        """All of bp.commands below this offset was applied."""
        return self._next

    def _recover(self, book: Book, offsets: dict[str, int]) -> None:
        consumer = clients.reader(self._kafka, fetch_wait_max_ms=QUICK_MS)
        try:
            # All there is, not what is visible: after fencing nothing is open any more, so the rest is on its way.
            ends = self._snapshots.ends(self.number, committed=False)
            self._partitions = len(consumer.list_topics(COMMANDS, timeout=10).topics[COMMANDS].partitions)
            guard = fact_guard(self._settings)
            folded = recover(consumer, self._codec, self.number, book, self._dirty, offsets, ends, guard)
        finally:
            consumer.close()
        self.book, self._debt = book, inherited(folded, time.monotonic())

    @property
    def safe(self) -> bool:
        """Unsigned commands are refused, unless this platform has no master key."""
        return self.book.identity_required or self._verifier is None

    async def process(self, batch: Batch) -> None:
        """Applies a batch of bp.commands; returns when its facts are handed over, which may wait for room."""
        async with self._turn:
            await self._process(batch)
            await self._snapshot_if_due()

    async def _process(self, batch: Batch) -> None:
        fresh = [record for record in batch.records if record.offset >= self._next]
        if batch.start > self._next:
            fresh = await asyncio.to_thread(self._missed, self._next, batch.start) + fresh
        self._next = max(self._next, batch.stop)
        if not fresh:
            return
        steps: list[Step] = []
        dead: list[Dead] = []
        began = time.perf_counter()
        for record in fresh:
            self._apply(record, steps, dead)
        self.alarms.heard(fresh[-1].timestamp_ms)
        self._answer()
        self._count(len(fresh), steps, time.perf_counter() - began)
        size = sum(len(step.facts) for step in steps)
        waited_for = any(urgent(fact) for step in steps for fact in step.facts)
        taken = sum(len(record.value or b"") for record in fresh)
        await self.committer.put(Group(partial(self._encode, steps, dead), size, self._next, waited_for, taken))
        self._debt = self._debt.more(size, time.monotonic())

    def _count(self, commands: int, steps: list[Step], seconds: float) -> None:
        self._metrics.count(catalogue.COMMANDS, commands)
        self._metrics.observe(catalogue.DECIDE, seconds)
        count_facts(self._metrics, [fact for step in steps for fact in step.facts])

    async def keep_snapshots(self) -> None:
        """Takes those that are due though no batch comes; runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            async with self._turn:
                await self._snapshot_if_due()

    async def _snapshot_if_due(self) -> None:
        """Encodes what changed while nothing is on its way, and leaves the writing to a task."""
        idle = self._snapshot is None or self._snapshot.done()
        if not idle or time.monotonic() < self._not_before or not due(self._debt, time.monotonic(), FACTS_BETWEEN):
            return
        try:
            offsets = await asyncio.to_thread(self._snapshots.ends, self.number)
        except KafkaException as error:
            # the broker is away: a snapshot can wait, and commands that were decided are with the committer
            log.warning("partition %d: no snapshot now: %s", self.number, error)
            self._not_before = time.monotonic() + PUT_OFF_S
            return
        await self.committer.drained()
        dirty, debt = self._dirty, self._debt
        self._dirty, self._debt = {}, Debt()
        changes = self._snapshots.capture(self.number, self.book, dirty, offsets)
        self._snapshot = asyncio.create_task(self._write_snapshot(changes, dirty, debt))

    async def _write_snapshot(self, changes: Changes, dirty: dict[str, int], debt: Debt) -> None:
        try:
            await self._snapshots.write(self.number, changes)
        except Exception:
            # the next one has to have these runs as well, or it would be believed without them
            log.exception("partition %d: snapshot not written", self.number)
            self._dirty = {**dirty, **self._dirty}
            self._debt = self._debt.joined(debt)
            self._not_before = time.monotonic() + PUT_OFF_S

    def _missed(self, start: int, stop: int) -> list[Record]:
        """Commands that the batches passed over: those before the group's offset whose facts were not written when a
        worker died. To be sure, any others as well: a command left out would be lost, though its answer may be out."""
        consumer = clients.reader(self._kafka)
        try:
            return [
                Record(m.offset() or 0, m.timestamp()[1], m.key(), m.value(), tuple(cast(Any, m.headers() or ())))
                for m in read_range(consumer, COMMANDS, self.number, start, stop, whole=True)
            ]
        finally:
            consumer.close()

    def _apply(self, record: Record, steps: list[Step], dead: list[Dead]) -> None:
        at = record.timestamp_ms * 1000
        try:
            command = self._codec.decode(record.value)
            if not isinstance(command, Command):
                raise Undecodable("undecodable", f"a {type(command).__name__} is no command")
        except Undecodable as error:
            log.warning("partition %d offset %d: %s", self.number, record.offset, error)
            steps.append(Step([undecodable(record.key, record.offset, at, error.code, str(error))], []))
            dead.append((record, "decode", error))
            return
        step = apply(self.book, command, record.offset, at, self._proof(record, command))
        for addressed in step.replies:
            encoded = self._codec.encode(addressed.reply)
            for value in self._proofs.answers(self.book, addressed, encoded, at) if self._proofs else (encoded,):
                answer = {"key": addressed.reply.reply_to, "value": value}
                self._answers.setdefault(addressed.partition, []).append(answer)
        if refusal := _unheard(command, step):
            dead.append((record, "decide", (REFUSALS[refusal.code].__name__, refusal.message)))
        if command.timer is not None and step.facts and step.facts[0].kind == "CommandRefused":
            self.alarms.early(command.run_id, command.timer.name, command.timer.due_at, at)
        if step.facts:
            steps.append(step)
            self._dirty[command.run_id] = record.offset
        for fact in step.facts:
            timer = set_by(fact)
            if timer is not None:
                self.alarms.set(fact.run_id, *timer)
            for run_id, names in touched(self.book, fact).items():
                self._dirty[run_id] = record.offset
                self.alarms.set_all([(run_id, names)])

    def _proof(self, record: Record, command: Command) -> Proof:
        """What signature and place prove. A run that the book has was begun in its place: only others are hashed."""
        run_id = command.run_id
        if run_id and run_id not in self.book.runs and partition_of(run_id, self._partitions) != self.number:
            return Proof.MISPLACED
        if not run_id and self._verifier is not None and sent_to(command, self._partitions) not in (None, self.number):
            return Proof.MISPLACED
        return self._verifier.proof(record.value or b"", command) if self._verifier is not None else Proof.UNSIGNED

    def _send(self, command: Command) -> None:
        """Puts a command of the ledger's own in its place in the partition's order."""
        topic, key, value, headers, _ = self._said(command)
        self._commands.produce(topic, value, key, self.number, headers=cast(Any, headers))
        self._commands.poll(0)

    def _said(self, command: Command) -> Outgoing:
        """The record of a command of the ledger's own."""
        value = self._signer.encode(command)
        return Outgoing(COMMANDS, command.run_id.encode(), value, command_headers(command), by_key=True)

    def _answer(self) -> None:
        """Sends the batch's answers, in one call a partition: one by one costs a wake-up of librdkafka's thread each,
        a third of the worker's time when measured. They carry no headers, which that call does not take."""
        answers, self._answers = self._answers, {}
        for partition, messages in answers.items():
            try:
                self._replies.produce_batch(REPLIES, messages, partition)
            except BufferError:
                # the queue is full: the broker is slow. The client asks again and is answered from the book.
                log.warning("partition %d: %d answers dropped, reply queue full", self.number, len(messages))
        self._replies.poll(0)

    def _encode(self, steps: list[Step], dead: list[Dead]) -> list[Outgoing]:
        out: list[Outgoing] = []
        for step in steps:
            for number, fact in enumerate(step.facts):
                self._encode_fact(fact, out, number)
        for record, stage, why in dead:
            letter = DeadLetter.of(COMMANDS, self.number, record.offset, GROUP, why, stage=stage)
            headers = dead_letter_headers(letter, record.headers)
            out.append(Outgoing(dead_letter(COMMANDS), record.key, record.value, headers))
        return out

    def _encode_fact(self, fact: Fact, out: list[Outgoing], number: int) -> None:
        value = self._codec.encode(fact)
        key = fact.run_id.encode() or None
        headers = fact_headers(fact)
        topic = TOPIC_OF_FACT[type(fact)]
        place = Place(fact.command_offset, number)
        proven = self._proofs.fact(fact, key, value, place) if self._proofs else []
        out.append(Outgoing(topic, key, value, headers + proven))
        out += [self._said(command) for command in issued(fact)]
        if isinstance(fact, CallEvent):
            self._encode_dead_call(fact, key, value, headers, out)
        if topic is not MESSAGES or not isinstance(fact, MessageEvent):
            return
        if fact.kind in ("MessageDelivered", "DeliveryCancelled"):
            proven = self._delivery(fact, key, value, place)
            out.append(Outgoing(inbox(fact.recipient), key, value, headers + proven))
        elif fact.kind in (
            "MessageRedriven",
            "MessageDiscarded",
        ):  # beside the letter it is about, so that who lists them knows
            out.append(Outgoing(dead_letter(inbox(fact.recipient)), key, value, headers))
        elif fact.kind == "MessageDeadLettered":
            letter = DeadLetter(
                topic=inbox(fact.recipient),
                partition=self.number,
                group=f"bp.agent.{fact.recipient}",
                delivery_count=fact.attempt,
                message=fact.error_message,
                exception_class=fact.error_type,
                stage="handle",
            )
            out.append(Outgoing(dead_letter(letter.topic), key, value, dead_letter_headers(letter, headers)))

    def _delivery(self, fact: MessageEvent, key: bytes | None, value: bytes, place: Place) -> Headers:
        """By which its recipient knows that the ledger put it in the inbox."""
        if self._proofs is None:
            return []
        return self._proofs.delivery(fact, key, value, place, valid(self.book, fact.recipient, fact.at))

    def _encode_dead_call(
        self, fact: CallEvent, key: bytes | None, value: bytes, headers: Headers, out: list[Outgoing]
    ) -> None:
        """The letter of a failed call, and beside it the fact that it was redriven or discarded."""
        if fact.kind in ("CallRedriven", "CallDiscarded"):
            out.append(Outgoing(dead_letter(CALLS), key, value, headers))
        elif fact.kind == "CallFailed" and fact.report:
            letter = DeadLetter(
                topic=CALLS,
                partition=self.number,
                group=EXECUTOR,
                delivery_count=fact.attempts,
                message=fact.error_message,
                exception_class=fact.error_code,
                stage="execute",
            )
            out.append(Outgoing(dead_letter(CALLS), key, value, dead_letter_headers(letter, headers)))


def _unheard(command: Command, step: Step) -> RefusalEvent | None:
    """The refusal that nobody is told: the command has no address to answer to. The platform's own processes want no
    answers: an executor's report may come after its call was settled, a timer after its run has ended. Whoever only
    says that it is one of them is another matter."""
    first = step.facts[0] if step.facts else None
    if command.reply_to or not isinstance(first, RefusalEvent):
        return None
    return None if command.agent in (EXECUTOR, LEDGER) and first.code not in CODES else first
