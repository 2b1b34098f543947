"""How data looks on a terminal: text as it is, with nothing in it that a terminal obeys; and times in one zone.

A value may hold anything: escape sequences that move the cursor or set the window's title, codes that turn the
direction of writing. It may hold rich's own ``[markup]``. Each character that a terminal obeys is shown as its escape,
as Python writes it.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from agents_sdk.wire.instants import utc

CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 and C1 controls, separators of lines, directions of writing, characters without width, lone surrogates, tags."""
IN_JSON: Final = re.compile(CONTROL.pattern.replace("\x00-\x1f", ""))
"""Those that JSON does not escape by itself."""


class Zone:
    """The zone that times are shown in: this machine's, or UTC after ``--utc``."""

    utc = False


def escaped(text: str, keep: str = "") -> str:
    """The text with each character that a terminal would obey as its escape; those in ``keep`` stay."""
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def escaped_json(document: str) -> str:
    """The same JSON document, with nothing in it that a terminal would obey."""
    return IN_JSON.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _units(found[0])), document)


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


def _units(character: str) -> tuple[int, ...]:
    """Its UTF-16 code units, which is what JSON escapes."""
    number = ord(character)
    if number < 0x10000:
        return (number,)
    return (0xD800 + (number - 0x10000 >> 10), 0xDC00 + (number - 0x10000 & 0x3FF))


def when(micros: int, *, fraction: bool = False) -> str:
    """A time with its zone, ISO 8601; ``fraction``: with milliseconds. Empty for 0, which stands for none."""
    if not micros:
        return ""
    at = utc(micros)
    shown = at if Zone.utc else at.astimezone()
    return shown.isoformat(sep=" ", timespec="milliseconds" if fraction else "seconds").replace("+00:00", "Z")


def write_line(line: str) -> None:
    """A line of somebody else's on stdout: as it is into a pipe, escaped for a person."""
    print(escaped(line, keep="\t") if sys.stdout.isatty() else line, flush=True)
