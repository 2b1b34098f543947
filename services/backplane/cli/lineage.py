"""``backplane lineage``: what a value rests on, what came of it, and whether Kafka says the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents_sdk.core import kinds
from agents_sdk.core.artifacts import SCHEME
from backplane.cli.asked_run import AskedRun, Wait, slim
from backplane.cli.output import CommandError, DataDir, ExitCode, JsonFlag, interactive, message, print_json

if TYPE_CHECKING:
    from backplane.insight.lineage import Node

RUN_HELP = "The run's id, its first characters, or `last`; or artifact:HASH, in whichever runs."
KEY_HELP = "A state key, the newest version by default; the id of a message or another fact; or artifact:HASH."


def lineage(
    run: Annotated[str, typer.Argument(metavar="RUN|artifact:HASH", help=RUN_HELP)],
    key: Annotated[str, typer.Argument(metavar="[KEY[@VERSION]|ID|artifact:HASH]", help=KEY_HELP)] = "",
    down: Annotated[bool, typer.Option("--down/--up", help="What came of it, instead of what it rests on.")] = False,
    depth: Annotated[int, typer.Option("--depth", min=1, max=100, help="Hops from writer to writer.")] = 12,
    dot: Annotated[bool, typer.Option("--dot", help="Print a graph for Graphviz.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read each fact from Kafka and compare.")] = False,
    wait: Wait = True,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Tell what a value, message or file rests on: its writer, and the decisions, reads and calls before it. It goes up
    through child runs and long-term memories; with --down it shows the consequences in its run.

    With --verify the exit code is 1 when a fact in Kafka differs or is gone.
    """
    from backplane.insight.lineage import one_path

    if run.startswith(SCHEME) and not key:
        run, key = "", run
    if not key:
        raise CommandError("usage", "lineage of what?", "backplane lineage RUN KEY, or backplane lineage artifact:HASH")
    asked = AskedRun(run, data_dir, wait)
    root = _of_file(asked, key, down, depth) if key.startswith(SCHEME) else _of_key(asked, key, down, depth)
    checked = _verified(asked.settings, root) if verify else None
    if dot:
        print("\n".join(_dot(root, down)))
    elif as_json:
        path = [node.event.event_id for node in one_path(root) if node.event]
        document = {"run_id": asked.run, "direction": "down" if down else "up", "path": path, "root": _node(root, down)}
        print_json({**document, **({} if checked is None else {"verified": checked})})
    else:
        from backplane.cli.paint import paint_lineage

        paint_lineage(root, colour=interactive())
    _print_checks(checked)
    asked.finish()


def _of_key(asked: AskedRun, key: str, down: bool, depth: int) -> Node:
    from backplane.insight.answers import Archive, timeline
    from backplane.insight.impact import Impact
    from backplane.insight.lineage import Lineage
    from backplane.sink.edges import state_reference

    events = timeline(asked.client, asked.run)
    known, name, version = Impact(events), *state_reference(key)
    if down:
        root = known.of_state(name, version, depth) or known.of_event(key, depth)
    else:
        above = Lineage(events, Archive(asked.client))
        root = above.up(name, version, depth) or above.up_from(key, depth)
    if root is None:
        keys = ", ".join(sorted({event.key for event in events if event.kind == kinds.STATE_WRITTEN})) or "nothing"
        raise CommandError("not_found", f"run {asked.run} never wrote {key!r}", f"it wrote {keys}")
    return root


def _of_file(asked: AskedRun, reference: str, down: bool, depth: int) -> Node:
    from agents_sdk.core.artifacts import digest
    from backplane.insight.answers import Archive
    from backplane.insight.artifacts import came_from, led_to

    sha256 = digest(reference)
    if sha256 is None:
        raise CommandError("usage", f"{reference!r} is no artifact", "give artifact:<sha256>, as results have it")
    ask = led_to if down else came_from
    root = ask(asked.client, Archive(asked.client), sha256, asked.run, depth)
    if root is None:
        where = f"in run {asked.run}" if asked.run else "at all"
        hint = "see `backplane artifacts list`"
        raise CommandError("not_found", f"no call made or was given {reference!r} {where}", hint)
    return root


def _nodes(root: Node) -> Iterator[Node]:
    yield root
    for child in root.rests_on:
        yield from _nodes(child)


def _verified(settings: Any, root: Node) -> list[dict[str, Any]]:
    from agents_sdk.wire.registry import connect_codec
    from backplane.insight.verify import verify

    events = [node.event for node in _nodes(root) if node.event]
    found = verify(events, settings.kafka, connect_codec(settings))
    return [
        {
            "event_id": one.event.event_id,
            "at": f"{one.event.topic}[{one.event.partition}]@{one.event.offset}",
            "problem": one.problem,
        }
        for one in found
    ]


def _print_checks(checked: list[dict[str, Any]] | None) -> None:
    if checked is None:
        return
    wrong = [one for one in checked if one["problem"]]
    for one in wrong:
        message(f"differs: {one['at']}: {one['problem']}")
    message(f"verified: {len(checked) - len(wrong)} of {len(checked)} facts are the same in Kafka")
    if wrong:
        raise typer.Exit(ExitCode.FAILURE)


def _node(node: Node, down: bool) -> dict[str, Any]:
    event = slim(node.event) if node.event else None
    return {
        "relation": node.relation,
        "state": node.state,
        "run_id": node.run_id,
        "event": event,
        "repeated": node.repeated,
        "led_to" if down else "rests_on": [_node(child, down) for child in node.rests_on],
    }


def _dot(root: Node, down: bool) -> Iterator[str]:
    """Nodes by fact, so that what is met twice is drawn once; arrows lead from cause to effect."""
    yield "digraph lineage {"
    yield "  rankdir=LR; node [shape=box, fontname=sans-serif];"
    drawn: set[str] = set()
    for node in _nodes(root):
        name = _name(node)
        if name not in drawn:
            drawn.add(name)
            yield f"  {_quoted(name)} [label={_quoted(_label(node))}];"
        for child in node.rests_on:
            ends = (name, _name(child)) if down else (_name(child), name)
            yield f"  {_quoted(ends[0])} -> {_quoted(ends[1])} [label={_quoted(child.relation)}];"
    yield "}"


def _name(node: Node) -> str:
    return node.event.event_id if node.event else node.state


def _label(node: Node) -> str:
    event = node.event
    if event is None:
        return node.state
    what = node.state or event.capability or event.name or event.action or event.kind
    return f"{node.agent or event.provider}\n{what}\n{event.topic}[{event.partition}]@{event.offset}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
