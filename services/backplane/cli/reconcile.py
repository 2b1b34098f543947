"""``backplane reconcile``: whether what Kafka has, what the store has and what is derived from it are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import DataDir, ExitCode, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from backplane.sink.reconcile import Positions

COLUMNS: Final = (
    "topic",
    "partition",
    "rows",
    "offsets",
    "rolled up",
    "last",
    "kafka end",
    "behind",
    "edges",
    "unreadable",
)


def reconcile(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Hold the store against Kafka: rows, offsets, edges and roll-ups of each topic-partition, and runs without gaps.

    The exit code is 0 when all balances, 1 when not. It is 6 when it balances but the store lags or Kafka was not
    asked.
    """
    from backplane.sink.reconcile import problems
    from backplane.sink.reconcile import reconcile as ask_store
    from backplane.store.queries import connect_store

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    client = connect_store(settings)
    kafka = _kafka(settings)
    books = ask_store(client, kafka)
    found = list(problems(books))
    if as_json:
        print_json({**books.summary(), "kafka": kafka is not None, **msgspec.to_builtins(books)})
    else:
        rows = [
            (
                *(one.topic, one.partition, one.rows, one.offsets, one.rolled_rows, one.last_offset),
                one.kafka_end if kafka else "?",
                *(one.behind or "", one.edges, one.unreadable or ""),
            )
            for one in books.accounts
        ]
        print_rows(COLUMNS, rows)
    for problem in found:
        message(f"problem: {problem}")
    behind = sum(one.behind for one in books.accounts)
    message(
        "the books do not balance" if found else "the books balance" + (f"; {behind} offsets to read" if behind else "")
    )
    if found:
        raise typer.Exit(ExitCode.FAILURE)
    if behind or kafka is None:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _kafka(settings: Settings) -> Positions | None:
    """Where Kafka and the sink are; None when Kafka does not say."""
    from confluent_kafka import KafkaException

    from backplane.sink.reconcile import Positions
    from backplane.sink.source import positions

    try:
        ends, following = positions(settings.kafka)
    except KafkaException as error:
        message(f"warning: Kafka does not answer, so only the store itself is checked: {error}")
        return None
    return Positions(ends, following)
