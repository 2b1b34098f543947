"""State of the providers: latest attempts, and the circuit breakers that are not closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backplane.store.queries import ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Attempts(msgspec.Struct, frozen=True):
    """Of one provider."""

    capability: str
    provider: str
    attempts: int
    failed: int
    p50_us: int
    p95_us: int
    last_error: str
    """Class of the last failure; empty for none."""


class OpenBreaker(msgspec.Struct, frozen=True):
    """One that is not closed."""

    capability: str
    provider: str
    error_class: str
    last: str
    """BreakerOpened or BreakerProbed."""
    until_us: int
    times: int
    """That it opened, in a row."""
    caused_by: list[str]


def attempts(client: Client, minutes: int) -> list[Attempts]:
    """Of the last ``minutes``. Raises QueryRefused, Unreachable."""
    return ask(client, "health", Attempts, minutes=minutes)


def breakers(client: Client) -> list[OpenBreaker]:
    """Those that are not closed. Raises QueryRefused, Unreachable."""
    return ask(client, "breakers", OpenBreaker)
