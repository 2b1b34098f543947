"""Content of the records of a dead-letter topic, and which letters are still open. Pure.

Lives here: the letters as values, and the fold that leaves out what was redriven or discarded. Not here: Kafka. A
parked delivery is a letter too, until somebody decides or its run ends; it may be parked more than once. Two kinds of
records use a letter up, both in the letter's own topic and partition. One is a fact that it was redriven or
discarded; the ledger writes it in the transaction that delivers or calls again. The other is a mark, an empty record
that names the offset of a letter whose record was written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, Final

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent
from agents_sdk.core.ledger.failed_calls import OUTCOME_UNKNOWN, cause_of
from agents_sdk.topics import COMMANDS, DEAD_LETTER_PREFIX, INBOX_PREFIX
from agents_sdk.wire.dead_letters import DeadLetter, Pair, read_dead_letter

MARK: Final = "__dlq.redriven.offset"
"""Header of a mark."""
REDRIVE_LIMIT: Final = 5
"""Redrives of one record: what is dead again each time needs mending, not another try."""
CAUSE_OF_STAGE: Final = {"decode": "undecodable", "decide": "refused"}
LARGE_BYTES: Final = 4_096
"""Of value and headers: a letter above it is listed without them."""
TEXT_CHARS: Final = 500
ENDS: Final = (*kinds.LETTER_ENDS, kinds.DELIVERY_CANCELLED)
"""Kinds in a dead-letter topic after which the letter of their delivery is none any more."""
GROUPS: Final = ("cause", "topic", "agent", "run", "error")


class Raw(msgspec.Struct, frozen=True):
    """One record of a dead-letter topic, as it lies there."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[Pair]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that is still open."""

    raw: Raw
    about: DeadLetter
    record: Any
    """The command or fact that it is; None for what cannot be decoded."""
    cause: str
    run: str = ""
    agent: str = ""
    """The owner of the inbox, or the sender of the command."""
    name: str = ""
    """Of the message or the capability, or the kind of the command."""
    delivery_id: str = ""
    """A delivery that nobody handled; it is redriven by the ledger."""
    call_id: str = ""
    """A call that nobody answered; it is redriven by the ledger."""
    parked: bool = False
    """A delivery that waits for a decision, since an attempt at it diverged."""
    cut: bool = False
    """Value, record and headers are left where they lie, and texts are shortened: a list of letters has bounds."""

    @property
    def id(self) -> str:
        """Where it lies, for people to name it by: ``bp.inbox/2/17``."""
        return f"{self.raw.topic.removeprefix(DEAD_LETTER_PREFIX)}/{self.raw.partition}/{self.raw.offset}"

    @property
    def error(self) -> str:
        """The type of what went wrong."""
        return self.about.exception_class or self.cause

    @property
    def message(self) -> str:
        """The failure, for people."""
        return self.about.message

    @property
    def difference(self) -> dict[str, Any]:
        """How an attempt at a parked delivery diverged; empty for any other letter, or one that is cut."""
        text = getattr(self.record, "difference", "")
        try:
            return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
        except msgspec.DecodeError:
            return {}

    def not_redrivable(self) -> str:
        """Why it cannot be put back; empty where it can."""
        if self.about.redrive_count >= REDRIVE_LIMIT:
            return f"it was redriven {self.about.redrive_count} times and died each time; mend what it dies of"
        if self.call_id and self.cause == OUTCOME_UNKNOWN:
            return "whether its effect happened is not known; look, and call again if it did not"
        if not self.delivery_id and not self.call_id and not self.about.topic.startswith((INBOX_PREFIX, COMMANDS)):
            return f"the record lies in {self.about.topic} still; mend its reader, which then reads it from there"
        return ""


def letters(
    records: Iterable[Raw],
    decode: Callable[[bytes | None], object | None],
    wanted: Callable[[Raw], bool] | None = None,
    *,
    whole: bool = True,
) -> list[Letter]:
    """The letters among the records that were neither redriven nor discarded, in the order given. ``decode`` gives
    None for what is no record of ours. Only those ``wanted``; not ``whole``: large ones are cut."""
    found: list[Letter] = []
    done: dict[str, int] = {}
    marked: set[tuple[str, int, int]] = set()
    for raw in records:
        mark = _mark(raw)
        if mark is not None:
            marked.add((raw.topic, raw.partition, mark))
            continue
        record = decode(raw.value)
        if isinstance(record, MessageEvent) and record.kind in ENDS:
            done[record.delivery_id] = len(found)  # of letters before it: a delivery may be parked again
            continue
        if isinstance(record, CallEvent) and record.kind in kinds.CALL_LETTER_ENDS:
            done[record.call_id] = len(found)
            continue
        if isinstance(record, MessageEvent) and record.kind == kinds.MESSAGE_DEAD_LETTERED:
            done[record.delivery_id] = len(found)  # it was parked before, and is dead now
        if wanted is None or wanted(raw):
            letter = _letter(raw, record)
            found.append(letter if whole else _bounded(letter))
    return [
        letter
        for index, letter in enumerate(found)
        if index >= done.get(letter.delivery_id or letter.call_id, 0)
        and (letter.raw.topic, letter.raw.partition, letter.raw.offset) not in marked
    ]


def _mark(raw: Raw) -> int | None:
    """The offset of the letter that the record marks as used up; None: it is no mark."""
    for name, value in raw.headers:
        if name == MARK and value is not None and len(value) < 20:
            try:
                return int(value)
            except ValueError:  # somebody else's header of that name: a letter like any other
                continue
    return None


def _letter(raw: Raw, record: object | None) -> Letter:
    about = read_dead_letter(raw.headers) or DeadLetter(topic=raw.topic.removeprefix(DEAD_LETTER_PREFIX))
    cause = CAUSE_OF_STAGE.get(about.stage, about.stage or "unknown")
    common: dict[str, Any] = {"raw": raw, "about": about, "record": record}
    if isinstance(record, MessageEvent) and record.kind in (kinds.MESSAGE_DEAD_LETTERED, kinds.MESSAGE_PARKED):
        return Letter(
            **common, cause=record.cause or cause, run=record.run_id, agent=record.recipient, name=record.name,
            delivery_id=record.delivery_id, parked=record.kind == kinds.MESSAGE_PARKED,
        )  # fmt: skip
    if isinstance(record, CallEvent) and record.kind == kinds.CALL_FAILED and about.stage == "execute":
        cause = cause_of(record.error_class, record.error_code)
        return Letter(**common, cause=cause, run=record.run_id, name=record.capability, call_id=record.call_id)
    if isinstance(record, Command | Fact):
        return Letter(**common, cause=cause, run=record.run_id, agent=record.agent, name=record.kind)
    run = (raw.key or b"").decode(errors="replace")
    agent = about.topic.removeprefix(INBOX_PREFIX) if about.topic.startswith(INBOX_PREFIX) else ""
    return Letter(**common, cause=cause, run=run, agent=agent)


def _bounded(letter: Letter) -> Letter:
    """The letter, or what a list shows of a large one: anybody who may write commands can make a million letters."""
    raw, about = letter.raw, letter.about
    size = len(raw.key or b"") + len(raw.value or b"")
    if size + sum(len(name) + len(value or "") for name, value in raw.headers) <= LARGE_BYTES:
        return letter
    texts = {each.name: getattr(about, each.name) for each in fields(about) if each.type == "str"}
    return msgspec.structs.replace(
        letter,
        raw=msgspec.structs.replace(raw, key=(raw.key or b"")[:TEXT_CHARS], value=None, headers=[]),
        about=replace(about, **{name: text[:TEXT_CHARS] for name, text in texts.items()}),
        record=None,
        cut=True,
        **{name: getattr(letter, name)[:TEXT_CHARS] for name in ("run", "agent", "name")},
    )


def chosen(found: Iterable[Letter], *, cause: str = "", topic: str = "", run: str = "") -> list[Letter]:
    """Those of this cause, of this source topic (or its dead-letter topic), of this run; empty: of any."""
    topics = {topic, topic.removeprefix(DEAD_LETTER_PREFIX)}
    return [
        letter
        for letter in found
        if (not cause or letter.cause == cause)
        and (not run or letter.run == run)
        and (not topic or letter.about.topic in topics or letter.raw.topic.removeprefix(DEAD_LETTER_PREFIX) in topics)
    ]


def grouped(found: Iterable[Letter], by: str) -> list[tuple[str, int]]:
    """How many letters there are of each cause, topic, agent, run or error; the most first."""
    named = {"topic": lambda letter: letter.about.topic}
    name_of: Callable[[Letter], str] = named.get(by, lambda letter: getattr(letter, by))
    return sorted(Counter(map(name_of, found)).items(), key=lambda pair: (-pair[1], pair[0]))
