"""``backplane cost``: what runs cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from backplane.cli.asked_run import AskedRun, Wait
from backplane.cli.output import (
    DataDir,
    JsonFlag,
    message,
    print_json,
    print_rows,
)

if TYPE_CHECKING:
    from backplane.insight.answers import BudgetUsage, Cost, DiscardedCall


class CostGrouping(StrEnum):
    """Groupings of cost."""

    agent = "agent"
    capability = "capability"
    provider = "provider"
    model = "model"
    run = "run"
    day = "day"
    key = "key"
    """The state key that the caller wrote next."""


def cost(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The run, `last`, or all runs without it.")] = "",
    by: Annotated[CostGrouping, typer.Option("--by", help="What to add up by.")] = CostGrouping.agent,
    tree: Annotated[
        bool, typer.Option("--tree", help="With all runs that it started, and those that they did.")
    ] = False,
    wait: Wait = True,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Tell what a run cost, or all did. Counted on attempts at providers only; the total is the same by whatever it is
    asked. By key: a call counts for the state key that its caller wrote next. Useless cost stands apart: failed
    attempts, and calls whose result went into nothing but state that was replaced before anything read it."""
    from agents_sdk.core.money import dollars
    from backplane.insight.answers import RECENT_RUNS, budgets, costs, discarded
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
                "budgets": [budget_document(purse) for purse in purses],
                "discarded": msgspec.to_builtins(unread),
                "rows": msgspec.to_builtins(rows),
            }
        )
    else:
        _print_costs(by.value, rows)
        missing = f", and {counted(unpriced, 'attempt')} without a price" if unpriced else ""
        message(f"total {dollars(total)}{missing}")
        _print_waste(rows, unread, "" if asked.run else f" of the newest {RECENT_RUNS} runs")
        print_budgets(purses, message)
    asked.finish()


def _print_waste(rows: Iterable[Cost], unread: Sequence[DiscardedCall], where: str) -> None:
    from agents_sdk.core.money import dollars
    from backplane.insight.wording import counted

    if wasted := sum(row.wasted_nano_usd for row in rows):
        message(f"of that {dollars(wasted)} for attempts that failed")
    if unread:
        spent = dollars(sum(call.cost_nano_usd for call in unread))
        message(f"of that {spent} for drafts that nobody read: {counted(len(unread), 'call')}{where}")


def budget_document(purse: BudgetUsage) -> dict[str, Any]:
    return {**msgspec.to_builtins(purse), "left_nano_usd": purse.left_nano_usd}


def print_budgets(purses: Iterable[BudgetUsage], say: Callable[[str], None]) -> None:
    from agents_sdk.core.money import dollars

    for purse in purses:
        whose = f"budget of {purse.agent}" if purse.agent else "budget"
        spent, reserved = dollars(purse.spent_nano_usd), dollars(purse.reserved_nano_usd)
        left = dollars(purse.left_nano_usd)
        say(f"{whose} {dollars(purse.limit_nano_usd)}: {spent} spent, {reserved} reserved, {left} left")


def _print_costs(by: str, rows: Iterable[Cost]) -> None:
    from agents_sdk.core.money import dollars

    columns = (
        *(by, "cost", "calls", "attempts", "failed", "retries", "degraded", "unpriced", "wasted"),
        *("tokens in", "tokens out"),
    )
    table = [
        (
            row.name or "(unknown)",
            dollars(row.cost_nano_usd),
            row.calls,
            row.attempts,
            row.failed or "",
            row.retries or "",
            row.degraded or "",
            row.unpriced or "",
            dollars(row.wasted_nano_usd) if row.wasted_nano_usd else "",
            row.input_tokens or "",
            row.output_tokens or "",
        )
        for row in rows
    ]
    print_rows(columns, table)
