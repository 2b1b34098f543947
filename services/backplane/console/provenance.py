"""The grounds of a value in words: in one paragraph, and hop by hop. Pure: a tree of ``backplane.insight.lineage``
in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from agents_sdk.core.money import dollars
from backplane.console.graph import stem
from backplane.console.render import link, path
from backplane.insight.answers import Event
from backplane.insight.lineage import Node
from backplane.insight.wording import duration

ALIKE: Final = 8
"""Hops of one relation, agent and kind of key that are shown one by one."""
IN_FOLD: Final = 40


class Hop(NamedTuple):
    """One thing that a value rests on."""

    relation: str
    what: str
    event: Event | None
    agent: str
    href: str
    """Its own page."""
    detail: str


class Fold(NamedTuple):
    """Many hops of one kind, of which some are shown."""

    title: str
    """``2000 × note``."""
    total: int
    hops: list[Hop]


class Provenance(NamedTuple):
    """The answers to the questions that people come with."""

    agent: str
    what: str
    verb: str
    """written, sent or made."""
    event: Event
    decision: Event | None
    """The one that its writer took before."""
    data: list[tuple[str, str]]
    """A read of its writer: key@version, and the page of that."""
    calls: list[tuple[Event, list[Event]]]
    """Calls of its writer, with the attempts made for each."""
    models: list[Event]
    """Attempts that a model answered, of its writer's calls."""
    trigger: Event | None


def provenance_of(root: Node, run_id: str) -> Provenance:
    """Its writer, decision, sources and model; the nearest of each."""
    assert root.event is not None
    decisions = [node for node in root.rests_on if node.relation == "decided"]
    reads = [node for node in root.rests_on if node.relation == "read"]
    reads += [node for decision in decisions for node in decision.rests_on if node.relation == "read"]
    calls = [node for node in root.rests_on if node.relation == "called" and node.event]
    attempts = [node.event for call in calls for node in call.rests_on if node.event]
    trigger = next((node.event for node in root.rests_on if node.relation == "triggered"), None)
    return Provenance(
        root.agent,
        what(root, root.event),
        "written" if root.state else "sent" if root.relation == "sent" else "made",
        root.event,
        next((node.event for node in decisions), None),
        list({node.state: (node.state, node_href(node, run_id)) for node in reads}.values()),
        [(call.event, [node.event for node in call.rests_on if node.event]) for call in calls if call.event],
        [attempt for attempt in attempts if attempt.model],
        trigger,
    )


def hops(root: Node, run_id: str) -> list[Hop]:
    """The direct grounds of the root, with the attempts of a call."""
    return list(_hops(root, run_id))


def folded(found: Sequence[Hop]) -> list[Hop | Fold]:
    """The hops in their order; more than a few that are alike as one, where the first of them stood."""
    groups: dict[tuple[str, str, str], list[Hop]] = {}
    for hop in found:
        groups.setdefault((hop.relation, hop.agent, stem(hop.what)), []).append(hop)
    made: list[Hop | Fold] = []
    for (_, _, word), alike in groups.items():
        if len(alike) > ALIKE:
            made.append(Fold(f"{len(alike)} × {word}", len(alike), alike[:IN_FOLD]))
        else:
            made += alike
    return made


def _hops(root: Node, run_id: str) -> Iterator[Hop]:
    for node in root.rests_on:
        event = node.event
        if event is None:
            yield Hop("read", node.state, None, "", "", "written outside this run")
            continue
        elsewhere = f"in run {node.run_id}" if node.run_id and node.run_id != run_id else ""
        detail = " · ".join(part for part in (elsewhere, _detail(node, event)) if part)
        yield Hop(node.relation, what(node, event), event, node.agent, node_href(node, run_id), detail)


def what(node: Node, event: Event) -> str:
    """The node in a few words."""
    if node.state:
        return node.state
    named = {
        "decided": event.action,
        "tried": f"{event.provider} {event.model}".strip(),
        "called": (called := f"{event.capability} → {event.provider}" if event.provider else event.capability),
        "given": called,
        "delegated": f"run {event.child_run_id[-8:]} {event.status}".strip(),
        "started": f"started {event.workflow}".strip(),
    }
    return named.get(node.relation, event.name or event.kind)


def _detail(node: Node, event: Event) -> str:
    if node.relation == "decided":
        return event.rationale
    if node.relation == "tried":
        failed = f"{event.error_class} {event.error_message}".strip()
        return failed or f"{duration(event.latency_us)}, {dollars(event.cost_nano_usd)}"
    return event.body if node.relation == "called" else ""


def node_href(node: Node, run_id: str) -> str:
    """Where one goes on: the lineage of a version, the version itself of a memory's, a child run, or the fact."""
    event = node.event
    if event is None:
        return ""
    if node.relation == "delegated":
        return path("runs", event.child_run_id, "timeline")
    if not node.state:
        return event_href(event)
    where = event.run_id or node.run_id or run_id
    if where.startswith("memory/"):
        return link("/state/version", run=where, key=event.key, version=event.version)
    return link(path("lineage", where), key=event.key, version=event.version)


def event_href(event: Event) -> str:
    """The page of a fact."""
    return path("events", event.topic, event.partition, event.offset)
