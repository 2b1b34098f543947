"""``backplane sql|cost|runs|run``: what happened and what it cost; asked of the store."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import (
    CommandError,
    DataDir,
    ExitCode,
    JsonFlag,
    interactive,
    message,
    print_json,
    print_rows,
)
from backplane.cli.shown import escaped, when

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from backplane.insight.answers import Cost, Discarded, Progress, Purse, RunRow

WAIT_S: Final = 10.0
"""The store is two seconds behind at most; a busy machine gets five times that."""
NAMES_FORMAT: Final = re.compile(r"\bFORMAT\s+\w+\s*$", re.IGNORECASE)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, its first characters, or `last`.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait up to 10 s until the store has all facts of the run.")
]


class By(StrEnum):
    """What cost is asked by."""

    agent = "agent"
    capability = "capability"
    provider = "provider"
    model = "model"
    run = "run"
    day = "day"
    key = "key"
    """The state key that the caller wrote next."""


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def await_store(settings: Settings) -> None:
    """Waits, at most WAIT_S, until the store has what Kafka has: a run that began a moment ago may not be there."""
    import time

    from backplane.store.queries import behind

    deadline = time.monotonic() + WAIT_S
    while behind(settings) and time.monotonic() < deadline:
        time.sleep(0.1)


class AskedRun:
    """A run, found in the store, or all runs for an empty text; ``seen`` says whether all of it is there."""

    def __init__(self, text: str, data_dir: Any, wait: bool) -> None:
        from backplane.insight.answers import Progress, find_run, wait_for
        from backplane.store.queries import behind, connect_store

        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        self.settings = settings
        self.client: Client = connect_store(settings)
        self.run: str
        self.seen: Progress
        if wait:
            await_store(settings)
        if not text:
            self.run, self.seen = "", Progress(0, 0, 0)
            return
        self.run = find_run(self.client, text)
        timeout = WAIT_S if wait else 0.0
        self.seen = wait_for(self.client, self.run, lambda: behind(settings), timeout)

    def finish(self) -> None:
        """Ends the command, with what it means when facts are missing."""
        if self.run and not self.seen.whole:
            lacking = self.seen.last_seq - self.seen.facts
            message(f"warning: the store lacks {lacking} facts of this run; what is shown is not all of it")
            message("hint: try again in a moment; `backplane status` shows how far behind the store is")
            raise typer.Exit(ExitCode.NOT_VERIFIED)


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One reading statement; `-` reads it from stdin.")],
    form: Annotated[Format, typer.Option("--format", "-o", help="How rows are printed.")] = Format.table,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Ask the store in SQL. Tables: events, edges; views: v_cost, v_calls, v_discarded, v_artifacts, v_state_history,
    v_messages, v_requests, v_children, v_dependencies, v_lineage.

    A statement that names a FORMAT of ClickHouse's own is answered in that.
    """
    from backplane.store.queries import connect_store, raw
    from backplane.store.queries import query as ask_store

    text = (sys.stdin.read() if query == "-" else query).strip().rstrip(";")
    if not text:
        raise CommandError("usage", "the query is empty", "backplane sql 'SHOW TABLES'")
    client = connect_store(load_settings(**({"data_dir": data_dir} if data_dir else {})))
    chosen = Format.json if as_json else form
    if NAMES_FORMAT.search(text):
        _write(raw(client, text, None))
    elif chosen is Format.csv:
        _write(raw(client, text, "CSVWithNames"))
    elif chosen is Format.jsonl:
        _write(raw(client, text, "JSONEachRow"))
    elif chosen is Format.json:
        print_json([msgspec.json.decode(line) for line in raw(client, text, "JSONEachRow").splitlines()])
    else:
        result = ask_store(client, text)
        print_rows(result.column_names, result.result_rows)


def _write(data: bytes) -> None:
    """As the store wrote it; a terminal is given nothing that it would obey."""
    sys.stdout.flush()
    if interactive():
        data = escaped(data.decode(errors="backslashreplace"), keep="\n\t").encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def cost(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The run, `last`, or all runs without it.")] = "",
    by: Annotated[By, typer.Option("--by", help="What to add up by.")] = By.agent,
    tree: Annotated[
        bool, typer.Option("--tree", help="With all runs that it started, and those that they did.")
    ] = False,
    wait: Wait = True,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Tell what a run cost, or all did. Counted on attempts at providers only; the total is the same by whatever it is
    asked. By key: a call counts for the state key that its caller wrote next. What of it was of no use is told apart:
    failed attempts, and calls whose result went into nothing but state that was replaced before anything read it."""
    from backplane.insight.answers import RECENT_RUNS, budgets, costs, discarded, usd
    from backplane.insight.wording import counted

    asked = AskedRun(run, data_dir, wait)
    purses = budgets(asked.client, asked.run) if asked.run else []
    tree = tree and bool(asked.run)
    rows, unread = costs(asked.client, by.value, asked.run, tree=tree), discarded(asked.client, asked.run, tree=tree)
    total, unpriced = sum(row.cost_nano_usd for row in rows), sum(row.unpriced for row in rows)
    if as_json:
        print_json(
            {
                "run_id": asked.run,
                "by": by.value,
                "tree": tree,
                "cost_nano_usd": total,
                "unpriced": unpriced,
                "complete": not asked.run or asked.seen.whole,
                "budgets": [_purse(purse) for purse in purses],
                "discarded": msgspec.to_builtins(unread),
                "rows": msgspec.to_builtins(rows),
            }
        )
    else:
        _print_costs(by.value, rows)
        message(f"total {usd(total)}" + (f", and {counted(unpriced, 'attempt')} without a price" if unpriced else ""))
        _tell_waste(rows, unread, "" if asked.run else f" of the newest {RECENT_RUNS} runs")
        _tell_budgets(purses, message)
    asked.finish()


def _tell_waste(rows: Iterable[Cost], unread: Sequence[Discarded], where: str) -> None:
    from backplane.insight.answers import usd
    from backplane.insight.wording import counted

    if wasted := sum(row.wasted_nano_usd for row in rows):
        message(f"of that {usd(wasted)} for attempts that failed")
    if unread:
        spent = usd(sum(call.cost_nano_usd for call in unread))
        message(f"of that {spent} for drafts that nobody read: {counted(len(unread), 'call')}{where}")


def _purse(purse: Purse) -> dict[str, Any]:
    return {**msgspec.to_builtins(purse), "left_nano_usd": purse.left_nano_usd}


def _tell_budgets(purses: Iterable[Purse], say: Callable[[str], None]) -> None:
    from backplane.insight.answers import usd

    for purse in purses:
        whose = f"budget of {purse.agent}" if purse.agent else "budget"
        spent, reserved = usd(purse.spent_nano_usd), usd(purse.reserved_nano_usd)
        left = usd(purse.left_nano_usd)
        say(f"{whose} {usd(purse.limit_nano_usd)}: {spent} spent, {reserved} reserved, {left} left")


def _print_costs(by: str, rows: Iterable[Cost]) -> None:
    from backplane.insight.answers import usd

    columns = (
        *(by, "cost", "calls", "attempts", "failed", "retries", "degraded", "unpriced", "wasted"),
        *("tokens in", "tokens out"),
    )
    table = [
        (
            row.name or "(unknown)",
            usd(row.cost_nano_usd),
            row.calls,
            row.attempts,
            row.failed or "",
            row.retries or "",
            row.degraded or "",
            row.unpriced or "",
            usd(row.wasted_nano_usd) if row.wasted_nano_usd else "",
            row.input_tokens or "",
            row.output_tokens or "",
        )
        for row in rows
    ]
    print_rows(columns, table)


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")] = 20,
    workflow: Annotated[str, typer.Option("--workflow", help="Only of this workflow.")] = "",
    status: Annotated[str, typer.Option("--status", help="Only running, completed, failed or cancelled ones.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only with this tag.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """List the runs, the newest first, and below each the runs that it started."""
    from backplane.insight.answers import by_parent, usd
    from backplane.insight.answers import runs as ask_runs
    from backplane.insight.wording import duration
    from backplane.store.queries import connect_store

    client = connect_store(load_settings(**({"data_dir": data_dir} if data_dir else {})))
    found = ask_runs(client, limit, workflow=workflow, status=status, tag=tag)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    columns = ("run", "workflow", "status", "started", "took", "agents", "calls", "failures", "facts", "cost")
    rows = [
        (
            row.run_id,
            "└ " * depth + row.workflow,
            row.status,
            when(row.started_at),
            duration(row.last_at - row.started_at),
            row.agents,
            row.calls,
            row.failures or "",
            row.facts,
            usd(row.cost_nano_usd) + (" + ?" if row.unpriced else ""),
        )
        for depth, row in by_parent(found)
    ]
    print_rows(columns, rows, narrow=("run", "workflow", "status", "took", "cost"))
    if not found:
        message("no runs yet; `backplane demo` makes one")


def run(
    run: RunArgument,
    tree: Annotated[
        bool, typer.Option("--tree/--timeline", help="What led to what, child runs included, instead of in order.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="As it happens, until the run has ended; with --json, one fact a line."),
    ] = False,
    wait: Wait = True,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Tell what happened in a run: who did what, when, how long it took, what failed and what it cost.

    With --follow the exit code is 1 where the run did not complete.
    """
    if follow:
        _follow(run, tree, as_json, data_dir)
        return
    from backplane.insight.answers import budgets
    from backplane.insight.answers import runs as ask_runs

    asked = AskedRun(run, data_dir, wait)
    purses = budgets(asked.client, asked.run)
    about = ask_runs(asked.client, 1, asked.run)
    tell = _tell_tree if tree else _tell_timeline
    events = tell(asked, about[0] if about else None, as_json)
    if as_json:
        head = msgspec.to_builtins(about[0]) if about else {"run_id": asked.run}
        told = {"complete": asked.seen.whole, "budgets": [_purse(purse) for purse in purses], "events": events}
        print_json({**head, **told})
    else:
        _tell_budgets(purses, print)
    asked.finish()


def _follow(run: str, tree: bool, as_json: bool, data_dir: Any) -> None:
    from backplane.cli.follow import follow

    if tree:
        raise CommandError("usage", "--follow tells facts in their order, not as a tree", "leave out --tree")
    follow(load_settings(**({"data_dir": data_dir} if data_dir else {})), run, as_json=as_json)


def _tell_timeline(asked: AskedRun, about: RunRow | None, as_json: bool) -> list[dict[str, Any]]:
    """For a person, or as the events of a document."""
    from backplane.insight.answers import timeline

    events = timeline(asked.client, asked.run)
    if not as_json:
        from backplane.cli.paint import paint_run

        paint_run(about, events, colour=interactive())
    return [{**slim(event), "run_seq": event.run_seq} for event in events] if as_json else []


def _tell_tree(asked: AskedRun, about: RunRow | None, as_json: bool) -> list[dict[str, Any]]:
    """As ``_tell_timeline``; of a document's events each has its depth and the one above it."""
    from backplane.insight.answers import family, timeline
    from backplane.insight.causation import tree

    placed = list(tree([event for one in family(asked.client, asked.run) for event in timeline(asked.client, one)]))
    if not as_json:
        from backplane.cli.paint import paint_tree

        paint_tree(about, placed, colour=interactive())
    return [
        {**slim(one.event), "run_seq": one.event.run_seq, "depth": one.depth, "below": one.cause}
        for one in placed
        if as_json
    ]


def slim(event: Any) -> dict[str, Any]:
    """The event's fields that say something."""
    return {name: value for name, value in msgspec.to_builtins(event).items() if value not in ("", 0, False, [])}
