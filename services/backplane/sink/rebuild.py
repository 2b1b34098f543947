"""Emptying the store so that it is filled again: asked for by a file in the data directory, done by the sink at start.

Only the sink may write to the store, and only before it reads does it know that nothing is under way. So a rebuild
begins with a file and a restart of the sink. A crash before the file is gone does the same once more.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from backplane.sink.fence import Place

log = logging.getLogger("backplane.sink")

NAME: Final = "rebuild-store"


def _file(settings: Settings) -> Path:
    return Path(settings.data_dir) / NAME


def ask_for_rebuild(settings: Settings) -> None:
    """Has the sink of this data directory empty the store when it starts next."""
    _file(settings).touch()


def asked_for(settings: Settings) -> bool:
    """Whether somebody asked, and the sink has not done it yet."""
    return _file(settings).exists()


def rebuild_if_asked(client: Client, settings: Settings) -> bool:
    """Drops the database when that was asked for; migrations and the first offsets come after. Raises as the driver."""
    if not asked_for(settings):
        return False
    log.warning("the store is emptied, as was asked for")
    client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse.database} SYNC")
    _file(settings).unlink()
    return True


def lost_by_rebuild(settings: Settings) -> dict[Place, int]:
    """Offsets of each topic-partition that the store has and Kafka has no longer. Raises KafkaException, and as
    ``queries.ask``."""
    from backplane.sink.source import beginnings
    from backplane.store.queries import connect_store, query

    first = "SELECT topic, partition, min(offset) FROM events GROUP BY topic, partition"
    stored = {(topic, number): offset for topic, number, offset in query(connect_store(settings), first).result_rows}
    begin = beginnings(settings.kafka, stored)
    return {place: begin[place] - offset for place, offset in stored.items() if begin.get(place, 0) > offset}
