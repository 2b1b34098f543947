"""``backplane run``: what happened in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from agents_sdk.settings import load_settings
from backplane.cli.asked_run import AskedRun, RunArgument, Wait, slim
from backplane.cli.cost import budget_document, print_budgets
from backplane.cli.output import (
    CommandError,
    DataDir,
    JsonFlag,
    interactive,
    print_json,
)

if TYPE_CHECKING:
    from backplane.insight.answers import RunRow


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
    show = _show_tree if tree else _show_timeline
    events = show(asked, about[0] if about else None, as_json)
    if as_json:
        head = msgspec.to_builtins(about[0]) if about else {"run_id": asked.run}
        rest = {
            "complete": asked.seen.whole,
            "budgets": [budget_document(purse) for purse in purses],
            "events": events,
        }
        print_json({**head, **rest})
    else:
        print_budgets(purses, print)
    asked.finish()


def _follow(run: str, tree: bool, as_json: bool, data_dir: Any) -> None:
    from backplane.cli.follow import follow

    if tree:
        raise CommandError("usage", "--follow tells facts in their order, not as a tree", "leave out --tree")
    follow(load_settings(**({"data_dir": data_dir} if data_dir else {})), run, as_json=as_json)


def _show_timeline(asked: AskedRun, about: RunRow | None, as_json: bool) -> list[dict[str, Any]]:
    """For a person, or as the events of a document."""
    from backplane.insight.answers import timeline

    events = timeline(asked.client, asked.run)
    if not as_json:
        from backplane.cli.paint import paint_run

        paint_run(about, events, colour=interactive())
    return [{**slim(event), "run_seq": event.run_seq} for event in events] if as_json else []


def _show_tree(asked: AskedRun, about: RunRow | None, as_json: bool) -> list[dict[str, Any]]:
    """As ``_show_timeline``; of a document's events each has its depth and the one above it."""
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
