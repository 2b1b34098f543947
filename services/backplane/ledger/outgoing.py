"""Records that a command causes: facts, deliveries, commands for other runs, dead letters.

Pure but for the codec's own schemas. Laws: no record is larger than ``limit``, or TooLarge is raised. A dead letter can
always be written: one that cannot take the record with it names the place where the record lies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RefusalEvent
from agents_sdk.core.identity import CODES, EXECUTOR, LEDGER
from agents_sdk.core.ledger import PartitionState, Step, issued
from agents_sdk.signer import Signer
from agents_sdk.topics import CALLS, COMMANDS, MESSAGES, TOPIC_OF_FACT, dead_letter, inbox
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers
from agents_sdk.wire.headers import Headers, command_headers, fact_headers
from agents_sdk.wire.proof import Place
from backplane.ledger.proofs import Proofs, valid
from backplane.runtime.batch import Record
from backplane.runtime.records import problem_of

log = logging.getLogger("backplane.ledger")

GROUP: Final = LEDGER
"""The consumer group of the ledger's workers."""
BEHIND_ALL: Final = 2**31
"""Number of a fact after all facts of a command: one that says what happened afterwards."""
OVERHEAD: Final = 200
"""Bytes of a record batch around its one record, and some to spare."""
KEPT_HEADERS: Final = 100
KEPT_HEADER_BYTES: Final = 65_536
"""Of the headers that a dead record came with; later ones are left out of its letter."""


class TooLarge(Exception):
    """The consequences of the command are larger than a record may be."""


class OutgoingRecord(NamedTuple):
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    by_key: bool = False
    """It lies where its key belongs, as a client's record would; else in the committer's own partition."""
    instead: Callable[[str], OutgoingRecord | None] | None = None
    """The record that is written in place of this one, given the reason; None of it: nothing. Without one the record is
    needed."""


class Outbox:
    """Makes the records of one partition."""

    def __init__(
        self,
        partition: int,
        codec: Codec,
        signer: Signer,
        limit: int,
        proofs: Proofs | None = None,
        book: Callable[[], PartitionState] = PartitionState,
    ) -> None:
        """``limit``: bytes of a record that every topic takes; ``proofs`` proves what is written; ``book`` says which
        keys count."""
        self._proofs = proofs
        self._book = book
        self._partition = partition
        self._codec = codec
        self._signer = signer
        self._limit = limit

    def records(self, facts: Iterable[Fact], first: int = 0) -> list[OutgoingRecord]:
        """All records that these facts are, in their order; ``first``: the number of the first one among the facts of
        its command. Raises TooLarge, and whatever a field that cannot be encoded makes the codec raise."""
        out: list[OutgoingRecord] = []
        for number, fact in enumerate(facts, first):
            self._fact(fact, Place(fact.command_offset, number), out)
        for record in out:
            size = size_of(record)
            if size > self._limit:
                raise TooLarge(f"a record for {record.topic} would have {size} bytes; {self._limit} is the limit")
        return out

    def said(self, command: Command) -> OutgoingRecord:
        """A command of the ledger's own."""
        value = self._signer.encode(command)
        return OutgoingRecord(COMMANDS, command.run_id.encode(), value, command_headers(command), by_key=True)

    def letter(self, record: Record, stage: str, why: BaseException | tuple[str, str]) -> OutgoingRecord:
        """The dead letter of a record of bp.commands. Raises nothing."""
        letter = DeadLetter.of(COMMANDS, self._partition, record.offset, GROUP, why, stage=stage)
        try:
            whole = self._letter(record.key, record.value, dead_letter_headers(letter, _kept(record)))
            if size_of(whole) <= self._limit:
                return whole
            size = len(record.value or b"")
        except Exception:  # the record's own key or headers are at fault
            log.exception("partition %d offset %d: the letter cannot take the record", self._partition, record.offset)
            size = len(record.value or b"")
        short = DeadLetter(
            topic=COMMANDS,
            partition=self._partition,
            offset=record.offset,
            group=GROUP,
            message=f"{letter.message[:1_000]} (the record of {size} bytes is not in this letter: "
            f"it lies in {COMMANDS}[{self._partition}] at offset {record.offset})",
            exception_class=letter.exception_class[:200],
            stage=stage,
        )
        return self._letter(None, None, dead_letter_headers(short))

    @staticmethod
    def _letter(key: bytes | None, value: bytes | None, headers: Headers, topic: str = COMMANDS) -> OutgoingRecord:
        return OutgoingRecord(dead_letter(topic), key, value, headers, instead=_nothing)

    def _fact(self, fact: Fact, place: Place, out: list[OutgoingRecord]) -> None:
        value = self._codec.encode(fact)
        key = fact.run_id.encode() or None
        headers = fact_headers(fact)
        topic = TOPIC_OF_FACT[type(fact)]
        proven = self._proofs.fact(fact, key, value, place) if self._proofs is not None else []
        out.append(OutgoingRecord(topic, key, value, headers + proven))
        out += [self.said(command) for command in issued(fact)]
        if isinstance(fact, CallEvent):
            self._dead_call(fact, key, value, headers, out)
        if topic is not MESSAGES or not isinstance(fact, MessageEvent):
            return
        if fact.kind in kinds.INBOX:
            out.append(self._delivery(fact, key, value, headers, place))
            if fact.kind == kinds.DELIVERY_CANCELLED and fact.difference:  # it was parked: nobody has to decide now
                out.append(self._letter(key, value, headers, inbox(fact.recipient)))
        elif fact.kind in kinds.LETTER_ENDS:  # beside the letter it is about, so that who lists them knows
            out.append(self._letter(key, value, headers, inbox(fact.recipient)))
        elif fact.kind in (kinds.MESSAGE_DEAD_LETTERED, kinds.MESSAGE_PARKED):
            letter = DeadLetter(
                topic=inbox(fact.recipient),
                partition=self._partition,
                group=f"bp.agent.{fact.recipient}",
                delivery_count=fact.attempt,
                message=fact.error_message or fact.reason,
                exception_class=fact.error_type or fact.code,
                said_by=fact.said_by,
                stage="handle",
            )
            out.append(self._letter(key, value, dead_letter_headers(letter, headers), letter.topic))

    def _delivery(
        self, fact: MessageEvent, key: bytes | None, value: bytes, headers: Headers, place: Place
    ) -> OutgoingRecord:
        topic = inbox(fact.recipient)
        if self._proofs is not None:  # by which its recipient knows that the ledger put it in the inbox
            generations = valid(self._book(), fact.recipient, fact.at)
            headers = headers + self._proofs.delivery(fact, key, value, place, generations)

        def instead(why: str) -> OutgoingRecord | None:
            letter = DeadLetter(
                topic=topic,
                partition=self._partition,
                group=f"bp.agent.{fact.recipient}",
                message=f"{topic} does not take it: {why}; mend the topic, then redrive",
                exception_class="Undeliverable",
                stage="deliver",
            )
            return self._letter(key, value, dead_letter_headers(letter, headers), topic)

        return OutgoingRecord(topic, key, value, headers, instead=instead)

    def _dead_call(
        self, fact: CallEvent, key: bytes | None, value: bytes, headers: Headers, out: list[OutgoingRecord]
    ) -> None:
        """The letter of a failed call, and beside it the fact that it was redriven or discarded."""
        if fact.kind in kinds.CALL_LETTER_ENDS:
            out.append(self._letter(key, value, headers, CALLS))
        elif fact.kind == kinds.CALL_FAILED and fact.report:
            letter = DeadLetter(
                topic=CALLS,
                partition=self._partition,
                group=EXECUTOR,
                delivery_count=fact.attempts,
                message=fact.error_message,
                exception_class=fact.error_code,
                stage="execute",
            )
            out.append(self._letter(key, value, dead_letter_headers(letter, headers), CALLS))


def size_of(record: OutgoingRecord) -> int:
    """Bytes of a record on the wire, before compression; a little more rather than less."""
    headers = sum(len(name) * 4 + len(value or b"") + 10 for name, value in record.headers)
    return OVERHEAD + len(record.key or b"") + len(record.value or b"") + headers


def _nothing(why: str) -> None:
    """A letter that cannot be written is left out: the refusal that it belongs to is a fact."""
    log.error("a dead letter is not written: %s", why)


def _kept(record: Record) -> list[tuple[str, bytes]]:
    """The headers that a letter takes over."""
    if problem_of(record.headers):
        return []
    kept: list[tuple[str, bytes]] = []
    left = KEPT_HEADER_BYTES
    for name, value in record.headers[:KEPT_HEADERS]:
        left -= len(name) + len(value or b"")
        if left < 0:
            break
        kept.append((name.partition("\0")[0], value or b""))
    return kept


def unheard(command: Command, step: Step) -> RefusalEvent | None:
    """The refusal without a reader: the command has no address to answer to. The platform's own processes want no
    answers: an executor's report may come after its call was settled, a timer after its run has ended. A sender that
    only claims to be one of them is another matter."""
    first = step.facts[0] if step.facts else None
    if command.reply_to or not isinstance(first, RefusalEvent):
        return None
    return None if command.agent in (EXECUTOR, LEDGER) and first.code not in CODES else first
