"""Headers of dead letters: one set is written (``__dlq.errors.*``, as Kafka's share groups do), all four sets are read.

A dead letter keeps the key, the value and the headers of the record it was, byte for byte. The failure is in the
headers added here. A redriven record keeps when it first failed and how often it was redriven, so that a letter which
fails for ever is seen to.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

Family: TypeAlias = Literal["kafka", "connect", "streams", "spring"]
Pair: TypeAlias = tuple[str, bytes | str | None]
Raw: TypeAlias = Mapping[str, bytes | str | None] | Iterable[Pair] | None
"""Headers as confluent_kafka or faust give them."""

PREFIX: Final = "__dlq.errors."
TEXT_LIMIT: Final = 8_000
"""Characters of a message or a stack trace that are kept: headers count towards the size limit of a record."""

NAMES: Final[dict[Family, dict[str, str]]] = {
    "kafka": {
        "topic": "__dlq.errors.topic",
        "partition": "__dlq.errors.partition",
        "offset": "__dlq.errors.offset",
        "group": "__dlq.errors.group",
        "delivery_count": "__dlq.errors.delivery.count",
        "message": "__dlq.errors.message",
        "exception_class": "__dlq.errors.exception.class.name",
        "stacktrace": "__dlq.errors.exception.stacktrace",
        "stage": "__dlq.errors.stage",
        "first_failed_at": "__dlq.errors.first.failed.at",
        "redrive_count": "__dlq.errors.redrive.count",
        "said_by": "__dlq.errors.said.by",
    },
    "connect": {
        "topic": "__connect.errors.topic",
        "partition": "__connect.errors.partition",
        "offset": "__connect.errors.offset",
        "group": "__connect.errors.connector.name",
        "message": "__connect.errors.exception.message",
        "exception_class": "__connect.errors.exception.class.name",
        "stacktrace": "__connect.errors.exception.stacktrace",
        "stage": "__connect.errors.stage",
    },
    "streams": {
        "topic": "__streams.errors.topic",
        "partition": "__streams.errors.partition",
        "offset": "__streams.errors.offset",
        "message": "__streams.errors.message",
        "exception_class": "__streams.errors.exception",
        "stacktrace": "__streams.errors.stacktrace",
    },
    "spring": {
        "topic": "kafka_dlt-original-topic",
        "partition": "kafka_dlt-original-partition",
        "offset": "kafka_dlt-original-offset",
        "group": "kafka_dlt-original-consumer-group",
        "delivery_count": "retry_topic-attempts",
        "message": "kafka_dlt-exception-message",
        "exception_class": "kafka_dlt-exception-fqcn",
        "stacktrace": "kafka_dlt-exception-stacktrace",
    },
}
"""Family → field of DeadLetter → header. Read in this order; the first family that names a topic counts."""

_NUMBERS: Final = frozenset({"partition", "offset", "delivery_count", "redrive_count"})
_UNKNOWN: Final = {"partition": -1, "offset": -1}


@dataclass(frozen=True)
class DeadLetter:
    """Where a dead record comes from and why it died."""

    topic: str
    """The topic it could not be handled from."""
    partition: int = -1
    """-1: not known."""
    offset: int = -1
    """-1: not known."""
    group: str = ""
    """The consumer group, or the process, that gave up."""
    delivery_count: int = 0
    """How often it was tried; 0: not known."""
    message: str = ""
    """The failure, for people."""
    exception_class: str = ""
    stacktrace: str = ""
    stage: str = ""
    """The stage of the work: decode, decide, handle, insert …"""
    first_failed_at: str = ""
    """RFC 3339; kept over redrives."""
    redrive_count: int = 0
    """How often it was put back; a redrive refuses to go on for ever."""
    said_by: str = ""
    """The author of the message; empty: the platform, or not known."""
    family: Family = "kafka"
    """The family of these headers."""

    @classmethod
    def of(
        cls,
        topic: str,
        partition: int,
        offset: int,
        group: str,
        error: BaseException | tuple[str, str],
        *,
        stage: str = "",
        failed_at: str = "",
    ) -> DeadLetter:
        """The dead letter of a record that ``group`` met ``error`` on. ``error`` may be the type name and the message
        of an exception that happened elsewhere.
        """
        kind, message, trace = _described(error)
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            group=group,
            message=message,
            exception_class=kind,
            stacktrace=trace,
            stage=stage,
            first_failed_at=failed_at,
        )


def dead_letter_headers(letter: DeadLetter, original: Raw = None) -> list[tuple[str, bytes]]:
    """Headers of a dead letter: those of the record it was, then what went wrong. A record that was redriven and died
    again keeps its first failure and its count of redrives.
    """
    before = _pairs(original)
    carried = _fields("kafka", before)
    letter = replace(
        letter,
        first_failed_at=str(carried.get("first_failed_at") or letter.first_failed_at),
        redrive_count=max(int(carried.get("redrive_count", 0)), letter.redrive_count),
    )
    headers = [(name, _bytes(value)) for name, value in before if not name.startswith(PREFIX)]
    for field, name in NAMES["kafka"].items():
        value = getattr(letter, field)
        if value not in ("", 0, -1) or field in ("partition", "offset", "redrive_count"):
            headers.append((name, str(value)[:TEXT_LIMIT].encode()))
    return headers


def read_dead_letter(headers: Raw) -> DeadLetter | None:
    """The content of a dead letter's headers, whichever of the four families wrote them; None when they are no dead
    letter's. A number that cannot be read is -1 or 0 rather than an error: this is for diagnosing what is broken.
    """
    found = _pairs(headers)
    for family in NAMES:
        fields = _fields(family, found)
        if fields.get("topic"):
            return DeadLetter(**fields, family=family)  # type: ignore[arg-type]  # _fields gives each its own type
    return None


def redrive_headers(headers: Raw) -> list[tuple[str, bytes]]:
    """Headers with which a dead letter is put back on its topic. They are its original ones, when it first failed, and
    the count of redrives raised by one. Any family's words about the failure are left out; they are no longer true.
    """
    letter = read_dead_letter(headers) or DeadLetter(topic="")
    ours = {name for names in NAMES.values() for name in names.values()}
    kept = [
        (name, _bytes(value)) for name, value in _pairs(headers) if name not in ours and not name.startswith(PREFIX)
    ]
    names = NAMES["kafka"]
    if letter.first_failed_at:
        kept.append((names["first_failed_at"], letter.first_failed_at.encode()))
    return [*kept, (names["redrive_count"], str(letter.redrive_count + 1).encode())]


def _pairs(headers: Raw) -> list[Pair]:
    return list(headers.items() if isinstance(headers, Mapping) else headers or ())


def _fields(family: Family, headers: Sequence[Pair]) -> dict[str, str | int]:
    """The fields of DeadLetter that these headers give; the last header of a name wins."""
    field_of = {name: field for field, name in NAMES[family].items()}
    values: dict[str, str | int] = {}
    for name, value in headers:
        field = field_of.get(name)
        if field is not None:
            raw = _bytes(value)
            values[field] = _number(raw, field) if field in _NUMBERS else raw.decode(errors="replace")
    return values


def _described(error: BaseException | tuple[str, str]) -> tuple[str, str, str]:
    if isinstance(error, tuple):
        return *error, ""
    trace = "".join(traceback.format_exception(error)) if error.__traceback__ else ""
    return type(error).__qualname__, str(error), trace


def _number(raw: bytes, field: str) -> int:
    # Spring writes Java's big-endian ints and longs, the others decimal text; no offset there is reads as both.
    try:
        return int(raw)
    except ValueError:
        return int.from_bytes(raw, "big", signed=True) if len(raw) in (4, 8) else _UNKNOWN.get(field, 0)


def _bytes(value: bytes | str | None) -> bytes:
    return value if isinstance(value, bytes) else (value or "").encode()
