"""Where files come from and where they went, asked of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from services.sink.queries import ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LIMIT: Final = 1_000


class Made(msgspec.Struct, frozen=True):
    """A file that a call made."""

    sha256: str
    mime: str
    size: int
    run_id: str
    agent: str
    """Who had it made."""
    capability: str
    provider: str
    degraded: bool
    cost_nano_usd: int
    """Of the whole call."""
    call_id: str
    event_id: str
    """The fact that holds the result."""
    at: int


class Use(msgspec.Struct, frozen=True):
    """A call that was given a file."""

    run_id: str
    call_id: str
    event_id: str
    agent: str
    capability: str
    at: int


def made(client: Client, *, run: str = "", sha256: str = "", limit: int = LIMIT) -> list[Made]:
    """Files of a run, or the calls that made one of this content; the newest first."""
    return ask(client, "artifacts", Made, run=run, sha256=sha256, limit=limit)


def uses(client: Client, sha256: str, limit: int = LIMIT) -> list[Use]:
    """The calls that were given the file."""
    return ask(client, "artifact_uses", Use, sha256=sha256, limit=limit)
