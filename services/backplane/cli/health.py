"""``backplane capabilities health``: how the providers do, and whom the fleet does not ask at the moment."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from agents_sdk.core import kinds
from backplane.cli.output import DataDir, ExitCode, JsonFlag, message, print_rows
from backplane.cli.shown import when

COLUMNS: Final = (
    "capability", "provider", "breaker", "until", "attempts", "failed", "p50_ms", "p95_ms", "last_error", "caused_by",
)  # fmt: skip


def health(
    minutes: Annotated[int, typer.Option(min=1, help="Count the attempts of so many minutes.")] = 60,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Show the latest results of each provider, and the circuit breakers that are not closed. The exit code is 7 where
    one is open: calls go round its provider."""
    from agents_sdk.settings import load_settings
    from backplane.insight.provider_health import attempts, breakers
    from backplane.store.queries import connect_store

    client = connect_store(load_settings(**({"data_dir": data_dir} if data_dir else {})))
    of_late = {(each.capability, each.provider): each for each in attempts(client, minutes)}
    open_ones = breakers(client)
    rows: list[tuple[Any, ...]] = []
    for each in open_ones:
        state = "half-open" if each.last == kinds.BREAKER_PROBED else "open"
        seen = of_late.pop((each.capability, each.provider), None)
        state_text = f"{state}: {each.error_class}" + (f", {each.times} times in a row" if each.times > 1 else "")
        rows.append((each.capability, each.provider, state_text, _at(each.until_us), *_counts(seen), each.caused_by))
    rows += [(*provider, "closed", "", *_counts(seen), []) for provider, seen in of_late.items()]
    if not as_json:
        rows = [(*row[:-1], f"{len(row[-1])} attempts" if row[-1] else "") for row in rows]
    print_rows(COLUMNS, sorted(rows, key=lambda row: (row[0], row[1], row[2])), as_json=as_json)
    message(f"breakers: {len(open_ones)} not closed")
    if open_ones:
        raise typer.Exit(ExitCode.REFUSED)


def _counts(seen: Any) -> tuple[Any, ...]:
    if seen is None:
        return (0, 0, None, None, "")
    return (seen.attempts, seen.failed, seen.p50_us / 1000, seen.p95_us / 1000, seen.last_error)


def _at(micros: int) -> str:
    return when(micros)
