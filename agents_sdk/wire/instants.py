"""Times as records have them, as times of the calendar. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9998, 12, 31, tzinfo=UTC)
"""A year less than Python's own limits, so that each of them has a time in every zone."""


def utc(micros: int) -> datetime:
    """The time, in UTC, of so many microseconds since 1970. One outside the years 2 to 9998 is the nearest of these. A
    record's time may be any 64 bits, and no page, list or dead letter fails for it."""
    try:
        return min(max(EPOCH + timedelta(microseconds=micros), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if micros < 0 else LATEST
