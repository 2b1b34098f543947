"""Where files come from and where they went, asked of the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from agents_sdk.core.artifacts import reference
from backplane.insight.impact import Impact
from backplane.insight.lineage import Lineage, Node
from backplane.store.queries import ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from backplane.insight.answers import Archive

SHOWN_LIMIT: Final = 10
"""Calls that made, or were given, a file which are followed; the newest."""
LIMIT: Final = 1_000


class ArtifactOrigin(msgspec.Struct, frozen=True):
    """A file that a call made, or an agent put: then without capability, provider and call."""

    sha256: str
    mime: str
    size: int
    run_id: str
    agent: str
    """The agent that asked for it."""
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


def made(client: Client, *, run: str = "", sha256: str = "", limit: int = LIMIT) -> list[ArtifactOrigin]:
    """Files of a run, or the calls that made one of this content; the newest first."""
    return ask(client, "artifacts", ArtifactOrigin, run=run, sha256=sha256, limit=limit)


def uses(client: Client, sha256: str, limit: int = LIMIT) -> list[Use]:
    """The calls that were given the file."""
    return ask(client, "artifact_uses", Use, sha256=sha256, limit=limit)


def came_from(client: Client, archive: Archive, sha256: str, run: str, depth: int) -> Node | None:
    """The calls that made a file, or the agent that put it, in one run or in all, each with its grounds. None: there it
    was not made, put or given to a call."""
    makers = made(client, run=run, sha256=sha256, limit=SHOWN_LIMIT)
    found = [
        _in_run(node, one.run_id)
        for one in makers
        if (node := Lineage(archive.events(one.run_id), archive).up_from(one.event_id, depth))
    ]
    if not found and not _given(client, sha256, run):
        return None
    return Node(relation="artifact", event=None, state=reference(sha256), rests_on=found)


def led_to(client: Client, archive: Archive, sha256: str, run: str, depth: int) -> Node | None:
    """The consequences of a file: acts of those that had it made, and of those that gave it to calls. None as
    ``came_from``."""
    root = Node(relation="artifact", event=None, state=reference(sha256), rests_on=[])
    calls: set[str] = set()
    involved: list[ArtifactOrigin | Use] = [
        *made(client, run=run, sha256=sha256, limit=SHOWN_LIMIT),
        *_given(client, sha256, run),
    ]
    for one in involved:
        if one.call_id in calls:
            continue
        node = Impact(archive.events(one.run_id)).of_event(one.event_id, depth)
        if node is not None:
            root.rests_on.append(_in_run(node, one.run_id))
            calls.update(_calls(node))
    return root if root.rests_on else None


def _given(client: Client, sha256: str, run: str) -> list[Use]:
    return [one for one in uses(client, sha256) if not run or one.run_id == run][:SHOWN_LIMIT]


def _in_run(node: Node, run_id: str) -> Node:
    node.run_id = run_id
    return node


def _calls(node: Node) -> Iterator[str]:
    if node.event is not None and node.event.call_id:
        yield node.event.call_id
    for child in node.rests_on:
        yield from _calls(child)
