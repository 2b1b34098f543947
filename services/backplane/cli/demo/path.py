"""One way through the lineage: from a paragraph of the page to the document it came from. Pure: facts in, hops out.

Law: every hop is a fact of the run, and each names the next one; where one does not, Untraceable says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agents_sdk.core import kinds
from backplane.insight.answers import Event
from backplane.insight.lineage import Lineage, Node


class Untraceable(Exception):
    """The chain has a gap; the text says where."""


class Hop(msgspec.Struct, frozen=True):
    """One step from the page towards the source."""

    agent: str
    what: str
    at: str
    """Where its fact lies in Kafka: ``topic[partition]@offset``; empty for the document itself."""


class Path(msgspec.Struct, frozen=True):
    """A paragraph and where it came from."""

    paragraph: str
    """Its id on the page."""
    text: str
    source: str
    """The document's id."""
    hops: list[Hop]


class Record(msgspec.Struct, frozen=True):
    """The state that the run wrote and the results of its searches, whole."""

    values: Mapping[tuple[str, int], Any]
    """(key, version) → value."""
    found: Mapping[str, tuple[str, Sequence[str]]]
    """Call → its query, and the ids of the documents it found."""


def trace(events: Sequence[Event], record: Record) -> Path:
    """The way back from the first paragraph that rests on one document alone (else from the first paragraph). Raises
    Untraceable."""
    known = Lineage(events)
    page = _node(known, "page", 0)
    version = int(_value(record, page)["draft_version"])
    draft = _node(known, "draft", version)
    paragraph = _paragraph(_value(record, draft))
    source = paragraph["sources"][0]
    writing = _only(draft, "called", "text_generation")
    findings = _below(draft, "research_findings")
    document = next((each for each in _value(record, findings)["sources"] if each["id"] == source), None)
    if document is None:
        raise Untraceable(f"{findings.state} does not hold {source!r}, which draft@{version} names")
    search = _search(findings, record, source)
    query = record.found[_event(search).call_id][0]
    hops = [
        Hop(page.agent, f"published draft@{version} as {page.state}", _at(page)),
        Hop(draft.agent, f"wrote {draft.state}: {_decision(draft)}", _at(draft)),
        Hop(writing.agent, f"called text_generation → {_event(writing).provider}", _at(writing)),
        Hop(findings.agent, f"wrote {findings.state}: {_decision(findings)}", _at(findings)),
        Hop(search.agent, f"called web_search “{query}” → {_providers(search)}", _at(search)),
        Hop("", " ".join(dict.fromkeys((source, document["url"]))), ""),
    ]
    return Path(paragraph=paragraph["id"], text=paragraph["text"], source=source, hops=hops)


def _paragraph(draft: Any) -> Any:
    cited = [paragraph for paragraph in draft["paragraphs"] if paragraph["sources"]]
    alone = [paragraph for paragraph in cited if len(paragraph["sources"]) == 1]
    if not cited:
        raise Untraceable("no paragraph of the draft names a source")
    return (alone or cited)[0]


def _search(findings: Node, record: Record, source: str) -> Node:
    """The first search before the findings were written that found the document."""
    for call in findings.rests_on:
        if call.relation == "called" and call.event and source in record.found.get(call.event.call_id, ("", ()))[1]:
            return call
    raise Untraceable(f"no search of {findings.agent} found {source!r}, which {findings.state} holds")


def _providers(call: Node) -> str:
    """The provider that answered, and the ones that were asked before."""
    answered = _event(call).provider
    before = dict.fromkeys(
        f"{each.event.provider} ({each.event.error_class})"
        for each in call.rests_on
        if each.event and each.event.kind == kinds.ATTEMPT_FAILED
    )
    return f"{answered}, after {', '.join(before)}" if before else answered


def _node(known: Lineage, key: str, version: int) -> Node:
    node = known.up(key, version)
    if node is None:
        raise Untraceable(f"{key}@{version} was never written" if version else f"{key} was never written")
    return node


def _below(root: Node, key: str) -> Node:
    """The nearest version of ``key`` that ``root`` rests on, with what it rests on itself."""
    for node in _walk(root):
        if node.state.rpartition("@")[0] == key and not node.repeated:
            return node
    raise Untraceable(f"{root.state} does not rest on {key}")


def _only(root: Node, relation: str, capability: str) -> Node:
    """The call of the capability that ``root`` was written after."""
    for node in root.rests_on:
        if node.relation == relation and node.event and node.event.capability == capability:
            return node
    raise Untraceable(f"{root.state} was written without a call of {capability}")


def _walk(node: Node) -> Iterator[Node]:
    for child in node.rests_on:
        yield child
        yield from _walk(child)


def _decision(node: Node) -> str:
    found = (child.event.action for child in node.rests_on if child.relation == "decided" and child.event)
    return next(found, "no decision recorded")


def _value(record: Record, node: Node) -> Any:
    event = _event(node)
    value = record.values.get((event.key, event.version))
    if value is None:
        raise Untraceable(f"the store has no value of {node.state}")
    return value


def _event(node: Node) -> Event:
    if node.event is None:
        raise Untraceable(f"{node.state} was written outside the run")
    return node.event


def _at(node: Node) -> str:
    event = _event(node)
    return f"{event.topic}[{event.partition}]@{event.offset}"
