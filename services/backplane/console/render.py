"""Values to HTML: the template environment, and how figures, times and JSON are written on a page."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agents_sdk.core.money import dollars
from agents_sdk.core.words import ended, speaker
from agents_sdk.wire.instants import utc
from backplane.console.graph import cut
from backplane.insight.answers import RunRow
from backplane.insight.wording import counted, duration, in_words

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
BAD: Final = frozenset({"failed", "cancelled", "dead", "bad", "refused", "disabled"})
GOOD: Final = frozenset({"completed", "handled", "good", "redriven", "enabled"})
BUSY: Final = frozenset({"running", "open", "warn", "degraded", "would be", "paused", "discarded"})


@cache
def environment() -> Environment:
    """The templates, everything escaped, an unknown name an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "usd": dollars,
        "took": duration,
        "when": when,
        "age": age,
        "size": size,
        "number": number,
        "pretty": pretty,
        "tone": tone,
        "short": short,
        "lane": lane,
        "cut": cut,
        "mark": mark,
        "coded": coded,
        "why": why,
    }
    made.globals |= {
        "asset": asset,
        "link": link,
        "path": path,
        "counted": counted,
        "in_words": in_words,
        "speaker": speaker,
    }
    return made


def why(run: RunRow) -> str:
    """Why a run ended, as it goes on after the status: ``by 'tester'``, or a sentence."""
    return ended(run.status, run.reason).removeprefix(run.status).lstrip(": ")


def link(where: str, **query: Any) -> str:
    """An address with its query; what is empty is left out."""
    given = {name: str(value) for name, value in query.items() if value not in ("", None, 0, False)}
    return f"{where}?{urlencode(given)}" if given else where


def path(*parts: Any) -> str:
    """A path of these parts, each quoted."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


@cache
def asset(name: str) -> str:
    """The address of a file of ours, which changes with its content: browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def when(micros: int, *, seconds: bool = True) -> Markup:
    """A time in UTC, to the second; the whole of it where the pointer rests."""
    if not micros:
        return Markup("")
    at = utc(micros)
    shown = at.strftime("%d %b %H:%M:%S" if seconds else "%d %b %H:%M")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(at.isoformat(), shown)


def age(micros: int) -> str:
    """How long ago a time was, in one unit: ``40 s``, ``12 min``, ``3 h``, ``5 d``."""
    seconds = max(0, int(time.time() - micros / 1_000_000))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(count: int) -> str:
    """``739 B``, ``16.1 kB``, ``2.4 MB``."""
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def number(value: int) -> str:
    """With thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def pretty(text: str) -> str:
    """JSON, indented; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def tone(status: str) -> str:
    """The class of a status: good, bad, busy or plain."""
    return "good" if status in GOOD else "bad" if status in BAD else "busy" if status in BUSY else "plain"


def short(identifier: str) -> str:
    """The end of an id, by which people tell neighbours apart: ids of one time begin alike."""
    return identifier if len(identifier) <= 13 else f"…{identifier[-12:]}"


def coded(text: str) -> Markup:
    """A hint with its commands, which stand between backticks, as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(one) if at % 2 else one for at, one in enumerate(parts))


def lane(name: str) -> int:
    """Which of the eight colours of lanes a name has; the same on every page."""
    return sum(name.encode()) % 8


def mark(sign: str) -> str:
    """A sign of the timeline, if fonts of browsers have it; the terminal's two hourglasses are a clock here."""
    return {"⧖": "◷", "⧗": "◷", "⊘": "✗"}.get(sign, sign)
