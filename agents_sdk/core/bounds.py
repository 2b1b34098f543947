"""Bounds of the fields of a command, declared once. The ledger's core refuses more, and the SDK refuses it before
anything is sent. Pure.

Law: each field of each record in ``schemas/avro/Command.v2.avsc`` has a bound here. So the consequences of a command
(the sums, times and records that the ledger makes of it) stay within 64 bits. They stay within the size of a record.
"""

# long because: one table of all fields, beside what holds a command against it

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from agents_sdk.core.commands import BODY_OF_KIND, Command
from agents_sdk.core.money import LIMIT as BUDGET_LIMIT
from agents_sdk.core.money import NO_LIMIT

YEAR_MS: Final = 366 * 86_400_000
"""A longer time is a mistake in the unit."""
TIME_LIMIT: Final = 253_402_300_800_000_000
"""Microseconds since 1970 at the end of the year 9999."""
COUNT_LIMIT: Final = 2**31 - 1
WHOLE_LIMIT: Final = 2**53
"""Whole numbers up to here are the same in every language's JSON."""
AMOUNT_LIMIT: Final = 10**18
"""Nano-USD of one attempt: a thousand million dollars."""
SUM_LIMIT: Final = 2**61
"""Nano-USD of a run; where sums stop, so that two of them are still within 64 bits."""
ID_LIMIT: Final = 1_024
NAME_LIMIT: Final = 500
WORD_LIMIT: Final = 200
KEY_LIMIT: Final = 512
STEP_LIMIT: Final = 190
"""Of the name of a step, which is a word with a prefix in its facts."""
PROSE_LIMIT: Final = 65_536
CONFIG_LIMIT: Final = 65_536
SCHEMA_LIMIT: Final = 262_144
LIST_LIMIT: Final = 1_000
SHOWN: Final = 100
"""Characters of an offending value that a refusal shows."""


class Excess(NamedTuple):
    """A field that breaks its bound."""

    field: str
    message: str
    shown: str
    limit: int
    size: int
    """Characters of the text, entries of the list, or 0 for a number."""
    prose: bool
    """It is a text that could be kept elsewhere and referred to."""


class WholeNumber(NamedTuple):
    """A whole number."""

    low: int
    high: int


class Text(NamedTuple):
    """Characters."""

    limit: int
    prose: bool = False


class Texts(NamedTuple):
    """A list of texts: how many, how long each, how long together."""

    entries: int
    each: int
    total: int = PROSE_LIMIT


class Amounts(NamedTuple):
    """A mapping of globs to amounts or policies: how many, and how long each glob. Its content is checked where it is
    understood."""

    entries: int
    each: int


class Json(NamedTuple):
    """JSON of the sender's own, whose limit in bytes is a setting (``limits.max_value_bytes``)."""


class ShortenedText(NamedTuple):
    """A text that is shortened where it is kept: to refuse it would leave somebody waiting for what it tells."""


class Flag(NamedTuple):
    """True or false."""


Bound = WholeNumber | Text | Texts | Amounts | Json | ShortenedText | Flag

_ID: Final = Text(ID_LIMIT)
_NAME: Final = Text(NAME_LIMIT)
_WORD: Final = Text(WORD_LIMIT)
_PROSE: Final = Text(PROSE_LIMIT, prose=True)
_WAIT: Final = WholeNumber(0, YEAR_MS)
_TIME: Final = WholeNumber(0, TIME_LIMIT)
_COUNT: Final = WholeNumber(0, COUNT_LIMIT)
_WHOLE: Final = WholeNumber(0, WHOLE_LIMIT)
_LONG: Final = WholeNumber(-(2**63), 2**63 - 1)
_AMOUNT: Final = WholeNumber(0, AMOUNT_LIMIT)
_BUDGET: Final = WholeNumber(NO_LIMIT, BUDGET_LIMIT)
_GLOBS: Final = Texts(LIST_LIMIT, KEY_LIMIT)
_NAMES: Final = Texts(LIST_LIMIT, WORD_LIMIT, LIST_LIMIT * WORD_LIMIT)

ENVELOPE: Final[dict[str, Bound]] = {
    "command_id": _ID,
    "kind": ShortenedText(),
    "run_id": _ID,
    "agent": _ID,
    "correlation_id": _ID,
    "causation_id": _ID,
    "delivery_id": _ID,
    "reply_to": _ID,
    "reply_partition": _COUNT,
    "issued_at": _LONG,
    "key_generation": _LONG,
    "step": _ID,
    "signature": Text(1_024),
}
"""Fields of Command beside the bodies."""

TAG_COUNT: Final = 20
TAG_CHARS: Final = 100
BODY_BOUNDS: Final[dict[str, dict[str, Bound]]] = {
    "run": {
        "workflow": _NAME,
        "input": Json(),
        "complete_when": _WORD,
        "parent_run_id": _ID,
        "root_run_id": _ID,
        "result": Json(),
        "reason": _PROSE,
        "deadline_ms": _WAIT,
        "deadline_at": _TIME,
        "child_run_id": _ID,
        "status": _WORD,
        "state_hash": _WORD,
        "budget_nano_usd": _BUDGET,
        "spent_nano_usd": WholeNumber(0, 2 * SUM_LIMIT),
        "rules": _COUNT,
        "resumed_from": _ID,
        "completed": _NAMES,
        "published": _NAMES,
        "tags": Texts(TAG_COUNT, TAG_CHARS, TAG_COUNT * TAG_CHARS),
        "started_by": _ID,
        "code": _WORD,
        "said": _PROSE,
        "said_by": _NAME,
    },
    "state": {
        "key": Text(KEY_LIMIT),
        "value": Json(),
        "guarded": Flag(),
        "expected_version": _WHOLE,
        "version": _WHOLE,
        "keys": Texts(LIST_LIMIT, KEY_LIMIT, LIST_LIMIT * KEY_LIMIT),
        "at": _TIME,
        "ttl_ms": _WAIT,
    },
    "message": {
        "name": _WORD,
        "recipient": _WORD,
        "data": Json(),
        "deadline_ms": _WAIT,
        "dead_delivery_id": _ID,
        "request_id": _ID,
        "sender": _WORD,
        "reason": _PROSE,
        "restart": Flag(),
        "repeat_effects": Flag(),
    },
    "handler": {
        "attempt": _COUNT,
        "error_type": ShortenedText(),
        "error_message": ShortenedText(),
        "result": Json(),
        "traceback": ShortenedText(),
        "counted": Flag(),
        "commands": _COUNT,
        "difference": ShortenedText(),
    },
    "dependency": {
        "downstream": _WORD,
        "depends_on": Texts(LIST_LIMIT, KEY_LIMIT + 8),
        "trigger_when": _WORD,
        "name": _WORD,
        "count": _COUNT,
        "deadline_ms": _WAIT,
    },
    "decision": {
        "action": _PROSE,
        "rationale": _PROSE,
        "context_used": Texts(LIST_LIMIT, KEY_LIMIT + 24, 4 * PROSE_LIMIT),
    },
    "call": {
        "capability": _WORD,
        "params": Json(),
        "timeout_ms": WholeNumber(-(2**63), YEAR_MS),
        "config": Text(CONFIG_LIMIT, prose=True),
        "budget_nano_usd": _BUDGET,
        "dead_call_id": _ID,
        "redrives": _COUNT,
        "local": Flag(),
        "reason": _PROSE,
    },
    "attempt": {
        "call_id": _ID,
        "attempt": _COUNT,
        "provider": _NAME,
        "model": _NAME,
        "prompt_version": _NAME,
        "input_tokens": _WHOLE,
        "cached_tokens": _WHOLE,
        "cache_write_tokens": _WHOLE,
        "cache_write_1h_tokens": _WHOLE,
        "input_audio_tokens": _WHOLE,
        "reasoning_tokens": _WHOLE,
        "output_audio_tokens": _WHOLE,
        "tier": _NAME,
        "output_tokens": _WHOLE,
        "cost_nano_usd": _AMOUNT,
        "price_id": _NAME,
        "latency_us": _WHOLE,
        "started_at": _TIME,
        "error_class": _WORD,
        "error_message": ShortenedText(),
        "executor": _NAME,
        "capability": _WORD,
        "manifest_version": WholeNumber(-1, WHOLE_LIMIT),
        "assignment": _COUNT,
        "lease_ms": _WAIT,
        "fencing_token": _WHOLE,
    },
    "outcome": {
        "call_id": _ID,
        "result": Json(),
        "provider": _NAME,
        "degraded": Flag(),
        "attempts": _COUNT,
        "cost_nano_usd": WholeNumber(0, SUM_LIMIT),
        "latency_us": _WHOLE,
        "error_class": _WORD,
        "error_code": _WORD,
        "error_message": ShortenedText(),
        "asked_nano_usd": WholeNumber(-1, SUM_LIMIT),
        "cached": Flag(),
        "report": ShortenedText(),
        "manifest_version": WholeNumber(-1, WHOLE_LIMIT),
        "fencing_token": _WHOLE,
        "said": ShortenedText(),
        "said_by": _NAME,
    },
    "effect": {
        "name": Text(STEP_LIMIT),
        "params": Json(),
        "mode": _WORD,
        "unsafe": Flag(),
        "holder": _NAME,
        "lease_ms": _WAIT,
        "call_id": _ID,
        "attempt": _COUNT,
        "result": Json(),
        "error_code": _WORD,
        "error_message": ShortenedText(),
        "attempts": _COUNT,
        "latency_us": _WHOLE,
        "started_at": _TIME,
        "usages": Text(CONFIG_LIMIT),
    },
    "registration": {
        "name": _WORD,
        "subscriptions": _GLOBS,
        "workflows": _GLOBS,
        "reads": _GLOBS,
        "writes": _GLOBS,
        "capabilities": _GLOBS,
        "publishes": _GLOBS,
        "max_deliveries": WholeNumber(0, 1_000),
        "supervisor": _WORD,
        "handler_timeout_ms": _WAIT,
        "budget_nano_usd": _BUDGET,
        "call_budgets": Amounts(LIST_LIMIT, KEY_LIMIT),
        "retries": Amounts(LIST_LIMIT, KEY_LIMIT),
        "starts": _GLOBS,
        "controls": _GLOBS,
        "operator": _WORD,
        "on_divergence": _WORD,
    },
    "timer": {"name": Text(ID_LIMIT + 100), "due_at": WholeNumber(0, 2 * TIME_LIMIT)},
    "contract": {
        "target": _WORD,
        "pattern": Text(KEY_LIMIT),
        "schema": Text(SCHEMA_LIMIT, prose=True),
        "reducer": _WORD,
        "schema_id": _COUNT,
        "ttl_ms": _WAIT,
        "workflow": _NAME,
    },
    "key": {"name": _WORD, "generation": _WHOLE, "grace_ms": _WAIT, "operator": _WORD},
    "breaker": {
        "capability": _WORD,
        "provider": _NAME,
        "error_class": _WORD,
        "caused_by": Texts(LIST_LIMIT, KEY_LIMIT),
        "open_ms": _WAIT,
        "probe_ms": _WAIT,
        "executor": _NAME,
    },
    "skip": {"partition": _COUNT, "offset": _WHOLE, "reason": _PROSE},
    "grant": {
        "name": _WORD,
        **dict.fromkeys(
            (
                *("roles", "subscriptions", "workflows", "reads", "writes", "capabilities", "publishes"),
                *("starts", "controls", "supervisors", "contracts"),
            ),
            _GLOBS,
        ),
        "budget_nano_usd": _BUDGET,
        "client": Flag(),
        "unknown_only": Flag(),
        "policy": _WORD,
        "operator": _WORD,
    },
}
"""Body of Command → field → its bound."""


def excess(command: Command) -> Excess | None:
    """The first field of the body (and attempt) that the command's kind has, beyond its bound."""
    name = BODY_OF_KIND.get(command.kind, "")
    found = body_excess(name, getattr(command, name)) if name else None
    if found is None and name == "outcome":
        found = body_excess("attempt", command.attempt)
    return found


def envelope_excess(command: Command) -> Excess | None:
    """The first field of the envelope beyond its bound."""
    return _first(_ENVELOPE, command)


def body_excess(name: str, body: Any) -> Excess | None:
    """The first field of a body beyond its bound; None for no body."""
    return None if body is None else _first(_CHECKS[name], body)


def within(command: Command) -> Command:
    """The command with the numbers and texts of its attempt and outcome brought within their bounds. It is for an
    executor, which reports past events, partly in a provider's words. A refusal would leave the caller waiting."""
    changed = {
        name: replaced
        for name in ("attempt", "outcome")
        if (body := getattr(command, name)) is not None and (replaced := _within(name, body)) is not body
    }
    return msgspec.structs.replace(command, **changed) if changed else command


def _within(name: str, body: Any) -> Any:
    changes: dict[str, Any] = {}
    for field, bound in BODY_BOUNDS[name].items():
        value = getattr(body, field)
        if isinstance(bound, WholeNumber):
            near = min(max(int(value), bound.low), bound.high)
        elif isinstance(bound, Text | ShortenedText):
            near = value[: bound.limit] if isinstance(bound, Text) else value
            near = near if near.isascii() else near.encode(errors="replace").decode()
        else:
            continue
        if near != value:
            changes[field] = near
    return msgspec.structs.replace(body, **changes) if changes else body


def _first(checks: _Checks, record: Any) -> Excess | None:
    # nearly all commands are far within their bounds: a few calls for all fields together
    if checks.texts is not None and max(map(len, checks.texts(record))) > checks.shortest:
        return next(_broken(checks.bounds, record), None)
    if checks.wholes is not None:
        values = checks.wholes(record)
        if min(values) < checks.lowest or max(values) > checks.highest:
            return next(_broken(checks.bounds, record), None)
    if checks.lists is not None and any(checks.lists(record)):
        return next(_broken(checks.bounds, record), None)
    return None


def _broken(bounds: dict[str, Bound], record: Any) -> Iterator[Excess]:
    for field, bound in bounds.items():
        value = getattr(record, field)
        if isinstance(bound, WholeNumber) and not bound.low <= value <= bound.high:
            message = f"{field} is {bound.low} to {bound.high}, not {shown(value)}"
            yield Excess(field, message, shown(value), bound.high, 0, prose=False)
        elif isinstance(bound, Text) and len(value) > bound.limit:
            message = f"{field} has at most {bound.limit} characters, not {len(value)}: {shown(value)!r}"
            yield Excess(field, message, shown(value), bound.limit, len(value), bound.prose)
        elif isinstance(bound, Texts | Amounts) and (found := _long_list(field, list(value), bound)) is not None:
            yield found


def _long_list(field: str, items: list[str], bound: Texts | Amounts) -> Excess | None:
    if len(items) > bound.entries:
        message = f"{field} has at most {bound.entries} entries, not {len(items)}"
        return Excess(field, message, "", bound.entries, len(items), prose=False)
    for index, item in enumerate(items):
        if len(item) > bound.each:
            message = f"{field}[{index}] has at most {bound.each} characters, not {len(item)}: {shown(item)!r}"
            return Excess(field, message, shown(item), bound.each, len(item), prose=False)
    total = sum(map(len, items))
    if isinstance(bound, Texts) and total > bound.total:
        message = f"the entries of {field} have at most {bound.total} characters together, not {total}"
        return Excess(field, message, "", bound.total, total, prose=False)
    return None


def shown(value: Any) -> str:
    """The value, shortened, as a refusal shows it."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


_Values = Callable[[Any], tuple[Any, ...]]


class _Checks(NamedTuple):
    """The bounds of one record, taken apart so that checking costs about a microsecond."""

    bounds: dict[str, Bound]
    texts: _Values | None
    shortest: int
    """Characters that every text may have."""
    wholes: _Values | None
    lowest: int
    highest: int
    """Between these every number is within its bound."""
    lists: _Values | None


def _values(fields: list[str]) -> _Values | None:
    # a name given twice makes a tuple of a single field
    return attrgetter(fields[0], *fields) if fields else None


def _taken_apart(bounds: dict[str, Bound]) -> _Checks:
    texts = {field: bound for field, bound in bounds.items() if isinstance(bound, Text)}
    wholes = {field: bound for field, bound in bounds.items() if isinstance(bound, WholeNumber) and bound != _LONG}
    return _Checks(
        bounds=bounds,
        texts=_values(list(texts)),
        shortest=min((bound.limit for bound in texts.values()), default=0),
        wholes=_values(list(wholes)),
        lowest=max((bound.low for bound in wholes.values()), default=0),
        highest=min((bound.high for bound in wholes.values()), default=0),
        lists=_values([field for field, bound in bounds.items() if isinstance(bound, Texts | Amounts)]),
    )


_ENVELOPE: Final = _taken_apart(ENVELOPE)
_CHECKS: Final = {name: _taken_apart(bounds) for name, bounds in BODY_BOUNDS.items()}
