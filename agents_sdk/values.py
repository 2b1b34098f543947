"""Values as authors have them, and as the log has them: canonical JSON text. Pure.

pydantic is imported only when a type is asked for: it takes longer to import than the rest of the SDK.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Any, Final, TypeVar, cast

import msgspec

from agents_sdk.core import money
from agents_sdk.core.bounds import YEAR_MS
from agents_sdk.errors import ContractBroken, InvalidCommand, Oversize
from agents_sdk.plain import NoText, first_not_finite, with_text_keys

T = TypeVar("T")
ELSEWHERE: Final = "put it in an artifact (artifacts.put) and pass its reference"
"""The remedy for a value that is too large."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _plain(value: Any) -> Any:
    """Types that msgspec does not know itself: pydantic models, at any depth."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return dump(mode="json")


_encoder: Final = msgspec.json.Encoder(order="sorted", enc_hook=_plain)


def to_json(value: Any, limit: int, field: str = "value") -> str:
    """Canonical JSON of a JSON value, a pydantic model, a dataclass, or any nesting of them. Whole numbers as keys of
    mappings become text, as in pydantic.

    Raises:
        InvalidCommand: it is not JSON, or it holds NaN or an infinity, which JSON does not know. ``fields["field"]`` is
            ``field``, ``fields["path"]`` the place in the value.
        Oversize: more than ``limit`` bytes; ``fields`` has ``size`` and ``limit``.
    """
    try:
        data = _encoded(value)
        text = data.decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        hint = "use JSON values, pydantic models or dataclasses"
        raise InvalidCommand(f"{field} is not JSON: {error}", hint=hint, field=field) from error
    if b"null" in data and (found := first_not_finite(value)) is not None:
        path = path_of(found[0])
        where = f" at {path!r}" if path else ""
        message = f"{field} is not JSON: {found[1]}{where} is no number that JSON knows"
        raise InvalidCommand(message, hint="use None, or text", field=field, path=path)
    if len(data) > limit:
        message = f"{field} has {len(data)} bytes, the limit is {limit}"
        raise Oversize(message, hint=ELSEWHERE, size=len(data), limit=limit)
    return text


def _encoded(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except TypeError as error:
        try:
            plain = with_text_keys(value)
        except NoText as key:
            raise key from error
        return _encoder.encode(plain)


def from_json(text: str) -> Any:
    """The JSON value in ``text``."""
    return msgspec.json.decode(text)


def typed(text: str, type_: type[T] | None, what: str) -> T:
    """The value in ``text`` as ``type_`` (anything pydantic validates); as plain JSON for None.

    Raises:
        ContractBroken: it does not fit; ``fields["path"]`` is the first field that does not, ``fields["errors"]`` has
            all of them. ``what`` names the value in the message.
    """
    if type_ is None:
        return cast("T", from_json(text))
    return _validated(type_, what, text, json=True)


def converted(value: Any, type_: type[T], what: str) -> T:
    """A JSON value as ``type_``. Raises ContractBroken, as ``typed``."""
    return _validated(type_, what, value, json=False)


def _validated(type_: type[T], what: str, value: Any, *, json: bool) -> T:
    from pydantic import ValidationError

    adapter = _adapter(type_)  # type: ignore[arg-type]  # every type is hashable
    try:
        return cast("T", adapter.validate_json(value) if json else adapter.validate_python(value))
    except ValidationError as error:
        errors = [{"path": path_of(item["loc"]), "message": item["msg"]} for item in error.errors(include_url=False)]
        first = errors[0]
        where = f" at {first['path']!r}" if first["path"] else ""
        name = getattr(type_, "__name__", str(type_))
        raise ContractBroken(
            f"{what} does not fit {name}{where}: {first['message']}",
            hint="fix what wrote it, or the type",
            path=first["path"],
            errors=errors,
        ) from error


def path_of(location: tuple[int | str, ...]) -> str:
    """A place in a value as people write it: ``hits[0].title``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


@lru_cache(maxsize=512)
def _adapter(type_: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(type_)


def microseconds(what: str, at: datetime | int | None) -> int:
    """A time as commands carry it, microseconds since 1970; 0 for None. Raises ValueError for a datetime without its
    zone, which would mean another time on another machine."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"{what} is {at.isoformat()} without a zone; use datetime(…, tzinfo=UTC)")
        return (at - EPOCH) // timedelta(microseconds=1)
    return at or 0


def milliseconds(what: str, seconds: float | None) -> int:
    """A time limit as commands carry it: whole milliseconds, at least 1; 0 for None and for infinity. Raises ValueError
    for a time that is not above 0, or longer than a year."""
    limit = time_limit(what, seconds)
    if limit is None:
        return 0
    if limit * 1000 > YEAR_MS:
        raise ValueError(f"{what} is {seconds!r}; use at most {YEAR_MS // 1000} seconds, or None for no limit")
    return max(round(limit * 1000), 1)


def time_limit(what: str, seconds: float | None) -> float | None:
    """A time limit in seconds; None for None and for infinity, which mean the same. Raises ValueError for a time that
    is not above 0."""
    if seconds is None or seconds == inf:
        return None
    if not seconds > 0:
        raise ValueError(f"{what} is {seconds!r}; use seconds above 0, or None for no limit")
    return seconds


def nano_usd(what: str, amount: str | None) -> int:
    """A budget as commands carry it; ``money.NO_LIMIT`` for None. Raises ValueError for what is no amount of USD."""
    return money.NO_LIMIT if amount is None else money.parse(amount, what)
