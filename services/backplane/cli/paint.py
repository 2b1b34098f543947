"""Timeline and lineage on a terminal, by rich; the same words without colour in a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.tree import Tree

from agents_sdk.core import kinds
from agents_sdk.core.money import dollars
from agents_sdk.core.words import attributed, ended
from backplane.cli.data_text import Text
from backplane.insight.answers import Event, RunRow
from backplane.insight.causation import CausationNode
from backplane.insight.lineage import Node
from backplane.insight.wording import Line, counted, duration, events_with_lines, lines_of, money

LANES: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
TONES: Final = {"good": "green", "bad": "red", "warn": "yellow", "dim": "dim"}
STATUS: Final = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
WIDTH_IN_PIPE: Final = 10_000
"""Lines of a pipe are not wrapped: grep wants them whole."""
TEXT_LIMIT: Final = 400
BODY_LIMIT: Final = 100
DEEPEST: Final = 40
"""Steps a line of a tree is indented at most: agents that set each other off go deeper than a terminal is wide."""
SLOW_US: Final = 1_000_000


def show(what: RenderableType, colour: bool) -> None:
    """For a person in colour, for a pipe plain, each line whole and without trailing blanks."""
    if colour:
        Console(highlight=False).print(what)
        return
    page = io.StringIO()
    Console(file=page, highlight=False, no_color=True, width=WIDTH_IN_PIPE, force_terminal=False).print(what)
    for line in page.getvalue().splitlines():
        print(line.rstrip())


def paint_run(about: RunRow | None, events: Sequence[Event], colour: bool) -> None:
    """Header, one line an event, footer with the sums."""
    if about:
        show(_header(about), colour)
    lanes: dict[str, str] = {}
    start = events[0].at if events else 0
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("right", "left", "left", "right", "right"):
        table.add_column(justify=justify, overflow="fold", no_wrap=not colour)
    for line in lines_of(events):
        _add(table, line, start, lanes, 0)
    show(table, colour)
    if about:
        show(_footer(about, events), colour)


def paint_line(line: Line, start: int, lanes: dict[str, str], colour: bool) -> None:
    """A line by itself, at once; ``lanes`` remembers each agent's colour."""
    lane = lanes.setdefault(line.lane, LANES[len(lanes) % len(LANES)])
    text = Text.assemble((f"{f'+{(line.at - start) / 1_000_000:.3f}s':>10}  ", "dim"), (f"{line.lane:<20}  ", lane))
    show(_figures(text.append(f"{line.mark} {_cut(line.text)}", TONES.get(line.tone, "")), line), colour)
    sys.stdout.flush()


def paint_tree(about: RunRow | None, placed: Sequence[CausationNode], colour: bool) -> None:
    """Header, and each line below what caused it, child runs where they were started."""
    if about:
        show(_header(about), colour)
    lines = {event.event_id: line for event, line in events_with_lines([one.event for one in placed])}
    depths: dict[str, int] = {"": -1}
    run_of = {one.event.event_id: one.event.run_id for one in placed}
    for one in placed:
        line = lines.get(one.event.event_id)
        above = depths[one.cause]
        depths[one.event.event_id] = above if line is None else above + 1
        if line is None:
            continue
        elsewhere = one.event.run_id if one.event.run_id != run_of.get(one.cause, placed[0].event.run_id) else ""
        show(_branch(line, above + 1, elsewhere), colour)
        for under in line.under:
            show(_branch(under, above + 2, ""), colour)


def _branch(line: Line, depth: int, run_id: str) -> Text:
    text = Text("  " * min(depth, DEEPEST))
    text.append(f"{line.mark} ", TONES.get(line.tone, "")).append(line.lane, "cyan")
    text.append(f" {_cut(line.text)}", TONES.get(line.tone, ""))
    if run_id:
        text.append(f"  in run {run_id}", "magenta")
    return _figures(text, line)


def _figures(text: Text, line: Line) -> Text:
    if line.duration_us is not None:
        text.append(f"  {duration(line.duration_us)}", "dim")
    if line.cost_nano_usd:
        text.append(f"  {money(line.cost_nano_usd)}", "dim")
    return text


def _add(table: Table, line: Line, start: int, lanes: dict[str, str], depth: int) -> None:
    lane = lanes.setdefault(line.lane, LANES[len(lanes) % len(LANES)])
    tone = TONES.get(line.tone, "")
    took = duration(line.duration_us) if line.duration_us is not None else ""
    table.add_row(
        Text(f"+{(line.at - start) / 1_000_000:.3f}s" if not depth else "", style="dim"),
        Text(line.lane if not depth else "", style=lane),
        Text(f"{'   ' * depth}{line.mark} {_cut(line.text)}", style=tone),
        Text(took, style="yellow" if line.duration_us and line.duration_us > SLOW_US else "dim"),
        Text(money(line.cost_nano_usd), style="dim"),
    )
    for under in line.under:
        _add(table, under, start, lanes, depth + 1)


def _header(about: RunRow) -> Text:
    text = Text.assemble((about.run_id, "bold"), "  ", (about.workflow, "bold"), "  ")
    text.append(about.status, STATUS.get(about.status, ""))
    words = attributed(ended(about.status, about.reason), about.said, about.said_by).removeprefix(about.status)
    if words:
        text.append(f" {words}", "red")
    if about.parent_run_id:
        text.append(f"  started by {about.parent_run_id}", "dim")
    return text


def _footer(about: RunRow, events: Sequence[Event]) -> Text:
    attempts = sum(event.kind in kinds.ATTEMPT_OUTCOMES for event in events)
    retries = attempts - len({event.call_id for event in events if event.kind in kinds.ATTEMPT_OUTCOMES})
    parts = [
        counted(about.facts, "fact"),
        counted(about.agents, "agent"),
        f"{counted(about.calls, 'call')} in {counted(attempts, 'attempt')}",
        duration(about.last_at - about.started_at),
        dollars(about.cost_nano_usd),
    ]
    if retries:
        parts.insert(3, "1 retry or fallback" if retries == 1 else f"{retries} retries or fallbacks")
    text = Text(" · ".join(parts), style="bold")
    if about.unpriced:
        text.append(f" and {counted(about.unpriced, 'attempt')} without a price", "yellow")
    return text


def paint_lineage(root: Node, colour: bool) -> None:
    """The tree, each node with its agent and where its fact lies in Kafka."""
    tree = Tree(_label(root))
    _grow(tree, root)
    show(tree, colour)


def _grow(tree: Tree, node: Node) -> None:
    for child in node.rests_on:
        _grow(tree.add(_label(child)), child)


def _label(node: Node) -> Text:
    event = node.event
    if event is None and node.relation == "artifact":
        return Text(node.state, style="bold")
    if event is None:
        return Text.assemble((f"read {node.state}", "bold"), ("  written outside this run", "yellow"))
    text = Text(_what(node, event), style="bold")
    if node.agent:
        text.append("  by ", "not bold dim").append(node.agent, "not bold cyan")
    if quote := event.rationale if node.relation == "decided" else event.body if node.relation == "called" else "":
        text.append(f"  {_cut(quote, BODY_LIMIT)}", "not bold")
    if node.run_id:
        text.append(f"  in run {node.run_id}", "not bold magenta")
    if node.repeated:
        text.append("  (shown above)", "not bold dim")
    text.append(f"  {event.topic}[{event.partition}]@{event.offset}", "not bold dim")
    return text


def _what(node: Node, event: Event) -> str:
    if node.state:
        return f"{'wrote' if node.relation == 'wrote' else 'read'} {node.state}"
    if node.relation == "decided":
        return f"decided {event.action}"
    if node.relation == "asked":
        return f"{'answered' if event.kind == kinds.REQUEST_ANSWERED else 'asked for'} {event.name}"
    if node.relation == "tried":
        what = event.provider + (f" {event.model}" if event.model else "")
        return f"tried {what}{f': {event.error_class}' if event.error_class else ''}"
    if node.relation in ("called", "given"):
        verb = "called" if node.relation == "called" else "given a file by"
        return f"{verb} {event.capability}{f' → {event.provider}' if event.provider else ''}"
    if node.relation == "delegated":
        return f"delegated to run {event.child_run_id}{f' → {event.status}' if event.status else ''}"
    if node.relation == "started":
        return f"started for {event.workflow}"
    return f"set off by {event.name or event.kind}"


def _cut(text: str, limit: int = TEXT_LIMIT) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
