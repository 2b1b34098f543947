"""One partition of the ledger: decode, decide, answer, hand over to the committer.

Order of work on a batch, which is the delivery guarantee:
1. skip commands that the facts say were applied; read those that the batch skipped over;
2. decide each by the core, which also folds its facts into the book;
3. send the answers (early: the core is deterministic, so the answer to a durable command cannot change any more);
4. hand the facts, and the commands for other runs that follow from them, to the committer, which writes them in one
   transaction;
5. only then is the batch's offset finished.
"""

# long because: the order of work on a batch is the guarantee, and has to be read as a whole.

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, cast

from confluent_kafka import Producer

from agents_sdk.broadcast import sent_to
from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger import Limits, PartitionState, Proof, Step, apply, evolve, identity, rights, undecodable
from agents_sdk.core.ledger.agents import touched
from agents_sdk.core.ledger.evolve import Gap
from agents_sdk.core.partition import partition_of
from agents_sdk.errors import REFUSALS, BackplaneError
from agents_sdk.keys import Keys, verifier
from agents_sdk.proofs import fact_guard
from agents_sdk.settings import Settings
from agents_sdk.signer import Signer
from agents_sdk.topics import COMMANDS
from agents_sdk.wire.codec import Codec, Undecodable
from backplane.ledger.accept import accepted, appended_at
from backplane.ledger.alarms import Alarms
from backplane.ledger.answers import Answers
from backplane.ledger.aside import SKIPPED, Aside, put_aside_fact, skipped, skips
from backplane.ledger.committer import Committer, Group
from backplane.ledger.keeping import SnapshotBuilder
from backplane.ledger.marks import Marks
from backplane.ledger.notices import Notices
from backplane.ledger.outgoing import BEHIND_ALL, Outbox, OutgoingRecord, unheard
from backplane.ledger.proofs import proofs_of
from backplane.ledger.recovery import put_aside_at, recover, stands
from backplane.ledger.snapshots import FACTS_BETWEEN, Snapshots
from backplane.metrics import catalogue
from backplane.metrics.exposition import Metrics
from backplane.metrics.facts import count_facts
from backplane.runtime import clients
from backplane.runtime.again import until_done
from backplane.runtime.batch import Batch, Record
from backplane.runtime.clients import QUICK_MS
from backplane.runtime.partitions import count_of

log = logging.getLogger("backplane.ledger")

LOOK_S: Final = 2.0
"""Between two looks at the debt of a partition to which nothing comes."""
REREAD: Final = 2_000
"""Offsets that are read again at once: bounds memory where a partition was put aside for long."""
TRIGGERS: Final = frozenset(
    {
        kinds.CALL_REQUESTED,
        kinds.CALL_CANCELLED,
        kinds.MESSAGE_DELIVERED,
        kinds.DELIVERY_CANCELLED,
        kinds.CHILD_STARTED,
        kinds.CHILD_CANCELLED,
        kinds.CHILD_ORPHANED,
    }
)
"""Kinds of facts that an executor, an agent or another run acts on: they are committed at once."""


def urgent(fact: Fact) -> bool:
    """Whether somebody waits for the fact to be committed."""
    return fact.kind in TRIGGERS or bool(fact.parent_run_id and fact.kind in kinds.RUN_ENDS)


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
        reread: Callable[[int, int, int], Awaitable[list[Record]]],
        marks: Marks,
        notices: Notices,
        limit: int,
    ) -> None:
        """``reread(partition, start, stop)`` gives the records of bp.commands between two offsets; ``limit``: bytes of
        a record that every topic takes."""
        self.number = number
        self._limits = Limits(max_value_bytes=settings.limits.max_value_bytes)
        self.book = PartitionState(limits=self._limits)
        self.committer = Committer(settings.kafka, number, done, partial(metrics.observe, catalogue.COMMIT), notices)
        self._metrics = metrics
        self._settings = settings
        self._kafka = settings.kafka
        self._codec = codec
        self._reread = partial(reread, number)
        self._marks = marks
        self.foreign = False  # the log of commands is not the one that the facts are about
        self._aside_recorded = -1  # the record before which it stands by a fact of before
        self.aside: Aside | None = None  # where the partition stands still, if it does
        self._notices = notices
        proofs = proofs_of(settings, number)
        self._outbox = Outbox(number, codec, Signer(codec, Keys.of(settings)), limit, proofs, lambda: self.book)
        self._verifier = verifier(settings)
        self._commands = commands
        self.alarms = Alarms(lambda: self.book, self._send)
        self._snapshots = snapshots
        self._next = 0
        self._partitions = settings.topics.partitions
        self._keeping = SnapshotBuilder(number, snapshots, self._drained)
        self._turn = asyncio.Lock()
        """Held by code that changes the book, or needs it unchanged."""
        self._answers = Answers(number, codec, replies, limit, proofs, lambda: self.book)

    async def open(self) -> None:
        """Takes the partition over: fences, then folds the facts that its snapshot does not have."""
        what = f"taking partition {self.number} over"
        await until_done(log, what, self.committer.open)
        await until_done(log, what, self._fold)
        if self.book.identity_required and self._verifier is None:
            raise NoMasterKey(f"partition {self.number} takes only signed commands, and this ledger cannot check them")
        if self._verifier is not None and not self.book.identity_required:
            self._send(identity.required(self.number))
        policy = self._settings.identity.declarations
        if self._verifier is not None and not (self.book.rights_required and self.book.policy == policy):
            self._send(rights.required(self.number, policy, self.book.applied))
        self._next = self.book.applied + 1
        self.alarms.set_all((run_id, run.timers) for run_id, run in self.book.runs.items())

    async def _fold(self) -> None:
        book, offsets = await self._snapshots.load(self.number, self._limits)
        try:
            last = await asyncio.to_thread(self._recover, book, offsets)
        except Gap as gap:
            # a worker that was fenced while it wrote its snapshot may leave an old run beside a newer meta record
            log.warning("partition %d: snapshot unusable (%s), folding all facts", self.number, gap)
            last = await asyncio.to_thread(self._recover, PartitionState(limits=self._limits), {})
        if last is not None and not self.foreign:
            # read as the worker reads it: librdkafka would inflate whatever somebody has written there
            there = await self._reread(last.command_offset, last.command_offset + 1)
            self.foreign = not stands(there, last)

    @property
    def next(self) -> int:
        """All of bp.commands below this offset was applied."""
        return self._next

    def _recover(self, book: PartitionState, offsets: dict[str, int]) -> Fact | None:
        """Folds the facts; the last of them."""
        consumer = clients.reader(
            self._kafka,
            passed=lambda batch: self._passed_over(batch.topic, batch.start, batch.why),
            fetch_wait_max_ms=QUICK_MS,
        )
        try:
            # All there is, not what is visible: after fencing nothing is open any more, so the rest is on its way.
            ends = self._snapshots.ends_of_all(self.number)
            commands_end = ends.pop(COMMANDS)
            self._partitions = count_of(consumer, COMMANDS)
            folded, last = recover(
                consumer, self._codec, self.number, book, self._keeping.dirty, offsets, ends, commands_end,
                self._passed_over, fact_guard(self._settings),
            )  # fmt: skip
            aside = put_aside_at(consumer, self._codec, self.number, book.applied, fact_guard(self._settings))
            if aside is not None:
                self._marks.stand(self.number, *aside)
                self._aside_recorded = aside[0]
            self.foreign = book.applied >= commands_end
        finally:
            consumer.close()
        self.book = book
        self._keeping.folded(folded)
        return last

    def made_anew(self, end: int) -> bool:
        """Whether the log of commands, which ends at ``end``, is not the one that the facts are about; says so."""
        self.foreign = self.foreign or end < self._next
        if self.foreign:
            self._notices.report(
                f"{COMMANDS}[{self.number}]",
                f"{COMMANDS}[{self.number}] was made again: it ends at {end}, the facts are about another log",
                "nothing in it is decided; restore the topic, or begin with fact topics that are empty as well",
            )
        return self.foreign

    def _passed_over(self, topic: str, offset: int, why: str) -> None:
        """A record of a fact topic is no fact, or none that fits."""
        self._notices.report(
            f"{topic}[{self.number}]",
            f"{topic}[{self.number}] offset {offset} is no fact of this ledger and is passed over: {why}",
            f"see who may write to {topic}: `backplane events tail -t {topic} -p {self.number} -o {offset} -c 1`",
        )

    @property
    def safe(self) -> bool:
        """Unsigned commands are refused, and those that need a right which was not granted, unless this platform has no
        master key."""
        return (self.book.identity_required and self.book.rights_required) or self._verifier is None

    async def process(self, batch: Batch) -> None:
        """Applies a batch of bp.commands; returns when its facts are handed over, which may wait for room."""
        async with self._turn:
            await self._process(batch)
            await self._keeping.take_if_due(self.book, FACTS_BETWEEN)

    async def _process(self, batch: Batch) -> None:
        if self.aside is not None and not await self._brought_back(self.aside, batch):
            return
        # Commands that the batches passed over: those before the group's offset whose facts were not written when a
        # worker died. To be sure, any others as well: a command left out would be lost, though it was answered.
        while self._next < batch.start and self.aside is None:
            stop = min(batch.start, self._next + REREAD)
            missed = partial(self._reread, self._next, stop)
            await self._decide(await until_done(log, f"reading partition {self.number} again", missed), stop)
        if self.aside is None:
            await self._decide([record for record in batch.records if record.offset >= self._next], batch.stop)

    async def _decide(self, records: list[Record], stop: int) -> None:
        """Applies consecutive records, up to the first one at which workers died; they end at ``stop``."""
        deadly = self._marks.deadly_of(self.number, records)
        if deadly is not None:
            records = [record for record in records if record.offset < deadly.offset]
            stop = deadly.offset
        self._next = max(self._next, stop)
        facts: list[Fact] = []
        out: list[OutgoingRecord] = []
        began = time.perf_counter()
        for record in records:
            self._marks.begin(self.number, record.offset)
            facts += self._take(record, out)
            self._marks.end(self.number)
        if records:
            self.alarms.heard(records[-1].timestamp_ms)
            self._answers.send()
            self._count(len(records), facts, time.perf_counter() - began)
        if deadly is not None:
            self._put_aside(deadly, facts, out)
        if records or out:
            await self._hand_over(facts, out)

    async def _hand_over(self, facts: list[Fact], out: list[OutgoingRecord]) -> None:
        size = sum(len(record.value or b"") for record in out)
        waited_for = any(urgent(fact) for fact in facts)
        await self.committer.put(Group(lambda: out, len(facts), self._next, waited_for, size))
        self._keeping.more(len(facts))

    def _put_aside(self, record: Record, facts: list[Fact], out: list[OutgoingRecord]) -> None:
        """The partition stands still before a record at which workers died, and says so."""
        aside = self.aside = Aside(record, self._marks.died[self.number][1], time.time())
        if record.offset != self._aside_recorded:  # else a worker of before has written it
            fact = put_aside_fact(self.number, aside, self.book.applied, appended_at(record))
            facts.append(fact)
            out += self._outbox.records([fact], BEHIND_ALL)
        self.report_aside()

    def report_aside(self) -> None:
        """Says again that the partition stands still, if it does."""
        if self.aside is not None:
            offset = self.aside.record.offset
            self._notices.report(
                f"partition {self.number}",
                f"partition {self.number} is put aside: {self.aside.why}",
                f"`backplane ledger skip {self.number} {offset} --reason TEXT` refuses that record, and it goes on",
            )

    async def _brought_back(self, aside: Aside, batch: Batch) -> bool:
        """Whether an operator's command in the batch says to skip the record that the partition stands before."""
        for record in batch.records:
            if record.offset <= aside.record.offset or self._marks.deadly(self.number, record.offset):
                continue
            self._marks.begin(self.number, record.offset)
            reason = self._reason_to_skip(aside, record)
            self._marks.end(self.number)
            if reason:
                log.warning("partition %d: offset %d is skipped: %s", self.number, aside.record.offset, reason)
                await self._skip(aside.record, reason)
                return True
        return False

    def _reason_to_skip(self, aside: Aside, record: Record) -> str:
        try:
            command = accepted(self._codec, record)
            proof = self._proof(record, command)
            applies = skips(self.number, aside, self.book, command, appended_at(record), proof)
            return command.skip.reason if applies and command.skip is not None else ""
        except Exception:  # noqa: BLE001 — it is decided in its turn; here it is only not the command that is looked for
            return ""

    async def _skip(self, record: Record, reason: str) -> None:
        fact = skipped(self.number, record, appended_at(record), reason)
        out = [*self._outbox.records([fact]), self._outbox.letter(record, "skip", (SKIPPED, reason))]
        evolve(self.book, fact)
        self.aside = None
        self._marks.forget(self.number)
        self._notices.over(f"partition {self.number}")
        self._next = record.offset + 1
        await self._hand_over([fact], out)
        await self.committer.drained()

    def _count(self, commands: int, facts: list[Fact], seconds: float) -> None:
        try:
            self._metrics.count(catalogue.COMMANDS, commands)
            self._metrics.observe(catalogue.DECIDE, seconds)
            count_facts(self._metrics, facts)
        except Exception:  # a figure less, no command less
            log.exception("partition %d: %d commands are not counted", self.number, commands)

    async def _drained(self) -> None:
        await self.committer.drained()

    async def keep_snapshots(self) -> None:
        """Takes those that are due though no batch comes; runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            async with self._turn:
                await self._keeping.take_if_due(self.book, FACTS_BETWEEN)

    def _take(self, record: Record, out: list[OutgoingRecord]) -> list[Fact]:
        """One record of bp.commands: what it causes is in the book, in ``out`` and among the answers. Any fault of it
        is a refusal and a dead letter, and no more. Raises nothing."""
        try:
            command = accepted(self._codec, record)
            proof = self._proof(record, command)
        except Undecodable as error:
            log.warning("partition %d offset %d: %s", self.number, record.offset, error)
            return self._refuse(record, "decode", error.code, error, out)
        except Exception as error:
            log.exception("partition %d offset %d cannot be read", self.number, record.offset)
            return self._refuse(record, "decode", "internal_error", error, out)
        made: list[tuple[list[Fact], list[OutgoingRecord]]] = []
        step = apply(
            self.book, command, record.offset, appended_at(record), proof,
            check=lambda facts: made.append((facts, self._outbox.records(facts))),
        )  # fmt: skip
        if made and made[-1][0] is step.facts:
            out += made[-1][1]
        else:  # a refusal in the place of what could not be decided or written: as short as can be
            out += self._outbox.records(step.facts)
        try:
            self._follow_up(record, command, step, out)
        except Exception:
            # The facts stand, and recovery sets their timers; a client whose answer is lost asks again.
            log.exception("partition %d offset %d: not all was done that follows", self.number, record.offset)
        return step.facts

    def _refuse(
        self, record: Record, stage: str, code: str, why: BaseException, out: list[OutgoingRecord]
    ) -> list[Fact]:
        """A refusal about no run, and a dead letter."""
        message = str(why) if isinstance(why, Undecodable) else f"{stage}: {type(why).__name__}: {why}"
        fact = undecodable(self.number, record.key, record.offset, appended_at(record), code, message)
        evolve(self.book, fact)
        self.book.applied = max(self.book.applied, record.offset)
        out += self._outbox.records([fact])
        out.append(self._outbox.letter(record, stage, why))
        return [fact]

    def _follow_up(self, record: Record, command: Command, step: Step, out: list[OutgoingRecord]) -> None:
        """Consequences of the facts besides the book: letters, timers, runs that the next snapshot has to have, and the
        answers."""
        if step.failure is not None:
            failure = step.failure
            log.error("partition %d offset %d: %s\n%s", self.number, record.offset, failure.message, failure.trace)
            out.append(self._outbox.letter(record, failure.stage, (failure.exception, failure.message)))
        elif refusal := unheard(command, step):
            kind = REFUSALS[refusal.code].__name__ if refusal.code in REFUSALS else refusal.code
            out.append(self._outbox.letter(record, "decide", (kind, refusal.message)))
        if step.facts:
            self._keeping.dirty[command.run_id] = record.offset
        for timer in step.timers:
            self.alarms.set(*timer)
        for fact in step.facts:
            for run_id, names in touched(self.book, fact).items():
                self._keeping.dirty[run_id] = record.offset
                self.alarms.set_all([(run_id, names)])
        if command.timer is not None and step.facts and step.facts[0].kind == kinds.COMMAND_REFUSED:
            self.alarms.early(command.run_id, command.timer.name, command.timer.due_at, appended_at(record))
        for addressed in step.replies:
            self._answers.add(addressed, appended_at(record))

    def _proof(self, record: Record, command: Command) -> Proof:
        """The facts that signature and place prove. A run that the book has was begun in its place: only others are
        hashed."""
        run_id = command.run_id
        if run_id and run_id not in self.book.runs and partition_of(run_id, self._partitions) != self.number:
            return Proof.MISPLACED
        if not run_id and self._verifier is not None and sent_to(command, self._partitions) not in (None, self.number):
            return Proof.MISPLACED
        return self._verifier.proof(record.value or b"", command) if self._verifier is not None else Proof.UNSIGNED

    def _send(self, command: Command) -> None:
        """Puts a command of the ledger's own in its place in the partition's order."""
        topic, key, value, headers, *_ = self._outbox.said(command)
        self._commands.produce(topic, value, key, self.number, headers=cast(Any, headers))
        self._commands.poll(0)
