"""How large the facts of one command may be, and texts that can always be written. Pure.

Law: what ``check`` lets pass fits into a record each, and into a transaction together, whatever the command said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, get_args, get_origin, get_type_hints

from agents_sdk.core import kinds
from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Limits

SHORT: Final = 200
"""Characters of an id or name that a refusal keeps."""
CLOSING: Final = frozenset({kinds.DELIVERY_CANCELLED, kinds.CALL_CANCELLED, kinds.CHILD_ORPHANED})
"""Kinds written for each thing that an ended run leaves open: short, and as many as ``OPEN_LIMIT`` allows. They do not
count, since an end cannot be refused."""
FIELD_BYTES: Final = 10
"""A number, or the length before a text, in Avro: at most this."""
UTF8_BYTES: Final = 4


def check(limits: Limits, facts: Sequence[Fact]) -> None:
    """Returns where the facts of a command can be written. Raises Refusal (oversize) with ``size`` and ``limit``."""
    total = 0
    for fact in facts:
        size = _at_most(fact)
        if size > limits.max_record_bytes:
            size = _exactly(fact)
            if size > limits.max_record_bytes:
                raise _too_large(f"its {fact.kind}", size, limits.max_record_bytes)
        total += size
    if total <= limits.max_caused_bytes:
        return
    counted = [fact for fact in facts if fact.kind not in CLOSING]
    total = sum(map(_exactly, counted))
    if total > limits.max_caused_bytes:
        raise _too_large(f"the {len(counted)} facts that it would cause", total, limits.max_caused_bytes)


def _too_large(what: str, size: int, limit: int) -> Refusal:
    message = f"{what} would have {size} bytes, the limit is {limit}; put large values in artifacts and refer to them"
    return Refusal("oversize", message, size=size, limit=limit)


def writable(text: str, limit: int) -> str:
    """The text, cut, without what UTF-8 cannot say."""
    cut = text[:limit]
    return cut if cut.isascii() else cut.encode(errors="replace").decode()


def _at_most(fact: Fact) -> int:
    count, texts, lists = _SHAPES[type(fact)]
    size = sum(map(len, texts(fact)))
    for name in lists:
        items = getattr(fact, name)
        size += sum(map(len, items)) + UTF8_BYTES * FIELD_BYTES * len(items)
    return size * UTF8_BYTES + count


def _exactly(fact: Fact) -> int:
    count, texts, lists = _SHAPES[type(fact)]
    size = sum(_bytes(text) for text in texts(fact))
    for name in lists:
        size += sum(_bytes(item) + 2 * FIELD_BYTES for item in getattr(fact, name))
    return size + count


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _shape(record: type[Fact]) -> tuple[int, Callable[[Any], Any], list[str]]:
    hints = get_type_hints(record)
    texts = [name for name, type_ in hints.items() if type_ is str]
    lists = [name for name, type_ in hints.items() if get_origin(type_) in (list, dict) and get_args(type_)[0] is str]
    return len(hints) * FIELD_BYTES, attrgetter(*texts), lists


_SHAPES: Final = {record: _shape(record) for record in Fact.__subclasses__()}
