"""The words of ``backplane events tail``, as values: kcat's offsets, times, format strings. No Kafka."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from backplane.cli.output import CommandError

DURATION: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
DIRECTIVE: Final = re.compile(r"%(.)|\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)


class StartOffset(NamedTuple):
    """Where to begin in each partition; one of them is set."""

    offset: int | None = None
    """This one; -1: the end; below: that many before the end, less one (-2 is the last record)."""
    at_ms: int | None = None
    """The first record of this time or later."""


END: Final = StartOffset(offset=-1)
BEGINNING: Final = StartOffset(offset=0)


def parse_offset(text: str) -> StartOffset:
    """``beginning``, ``end``, an offset, ``-N`` for the last N of each partition, or ``s@MS`` for a time. Raises
    CommandError."""
    if text in ("beginning", "end"):
        return BEGINNING if text == "beginning" else END
    if re.fullmatch(r"s@\d+", text):
        return StartOffset(at_ms=int(text[2:]))
    if re.fullmatch(r"-[1-9]\d*", text):
        return StartOffset(offset=-1 - int(text[1:]))
    if text.isascii() and text.isdecimal():
        return StartOffset(offset=int(text))
    raise CommandError(
        "usage", f"no offset: {text!r}", "beginning, end, 17, -100 (the last hundred) or s@1795521600000"
    )


def parse_time(text: str, now_ms: int) -> int:
    """``10m`` (ago), milliseconds since 1970, or a date and time in ISO 8601, in milliseconds. Raises CommandError."""
    if found := DURATION.fullmatch(text):
        return now_ms - int(found[1]) * UNITS_MS[found[2]]
    if text.isascii() and text.isdecimal():
        return int(text)
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            "usage", f"no time: {text!r}", "10m, 2026-11-27T12:00:00 or milliseconds since 1970"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


@dataclass(frozen=True)
class Filter:
    """Which facts are shown; kinds and agents may have globs."""

    run: str = ""
    """How the run's id begins."""
    kind: str = ""
    agent: str = ""

    def lets_through(self, fact: Mapping[str, Any]) -> bool:
        """Whether the fact is one of them."""
        return (
            str(fact.get("run_id", "")).startswith(self.run)
            and fnmatchcase(str(fact.get("kind", "")), self.kind or "*")
            and fnmatchcase(str(fact.get("agent", "")), self.agent or "*")
        )


class DecodedRecord(NamedTuple):
    """A record, decoded."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str
    headers: Sequence[tuple[str, str]]
    value: str
    """As JSON."""
    size: int
    """Of the value in Kafka, bytes."""


VALUES: Final[dict[str, Callable[[DecodedRecord], object]]] = {
    "t": lambda one: one.topic,
    "p": lambda one: one.partition,
    "o": lambda one: one.offset,
    "T": lambda one: one.timestamp_ms,
    "k": lambda one: one.key,
    "K": lambda one: len(one.key.encode()),
    "s": lambda one: one.value,
    "S": lambda one: one.size,
    "h": lambda one: ",".join(f"{name}={value}" for name, value in one.headers),
    "%": lambda one: "%",
}
"""kcat's directives → what they stand for."""


def formatted(text: str, record: DecodedRecord) -> str:
    r"""The format string filled in: ``%t[%p]@%o %k: %s\n``. Raises CommandError for a directive that is none."""

    def put(found: re.Match[str]) -> str:
        if directive := found[1]:
            if directive not in VALUES:
                raise CommandError(
                    "usage", f"no directive: %{directive}", f"there are {' '.join('%' + one for one in VALUES)}"
                )
            return str(VALUES[directive](record))
        escape = found[2]
        return chr(int(escape[1:], 16)) if len(escape) == 3 else ESCAPES.get(escape, escape)

    return DIRECTIVE.sub(put, text)
