"""Facts as spans: every kind has its place, a run is one tree, cost is on the leaves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core import facts
from agents_sdk.core.facts import Fact
from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.wire.codec import RECORDS
from backplane.otel import names
from backplane.otel.openings import Openings
from backplane.otel.spans import CLOSES, OPENS, PART, Span, is_span, opened_by, opening, span
from backplane.topics.examples import examples

HISTORY: Final = Path(__file__).parents[2] / "replay" / "histories" / "content.json.gz"
FACTS: Final = {name for name, record in RECORDS.items() if issubclass(record, Fact)}


def example_facts() -> list[Any]:
    return [
        pytest.param(example.build(), id=f"{example.record}/{example.case}")
        for example in examples()
        if example.record in FACTS
    ]


def recorded() -> list[Fact]:
    """The facts of the demo's run, as it was recorded."""
    stored = json.loads(gzip.decompress(HISTORY.read_bytes()))["facts"]
    return [msgspec.convert(fields, getattr(facts, record)) for record, fields in stored]


def nowhere(*_: object) -> None:
    return None


def projected(told: list[Fact], content: bool = False) -> list[Span]:
    openings, found = Openings(nowhere, content), []
    for fact in told:
        openings.begin(fact)
        if is_span(fact):
            found.append(span(fact, openings.end(fact), content))
    return found


@pytest.mark.parametrize("fact", example_facts())
def test_every_example_has_its_place(fact: Fact) -> None:
    """It opens something, is part of something, or is one span that tells which fact it is."""
    assert (fact.kind in OPENS) + (fact.kind in PART) + is_span(fact) == 1
    if fact.kind in OPENS:
        assert opened_by(fact) is not None
        return
    if fact.kind in PART:
        return
    made = span(fact, None)
    assert made.name.strip()
    assert made.start <= made.end
    assert made.attributes[names.EVENT] == fact.event_id
    assert (names.START_UNKNOWN in made.attributes) == (fact.kind in CLOSES)


def test_what_is_opened_is_known_again_by_what_closes_it() -> None:
    """Each closing kind names a kind that opens, and the ends of a run are those the ledger knows."""
    assert set(CLOSES.values()) == set(OPENS)
    assert {kind for kind, begins in CLOSES.items() if begins == "RunStarted"} == set(RUN_ENDS)


def test_a_recorded_run_is_one_tree_with_a_span_for_each_fact() -> None:
    """As many spans as facts that are no openings; every parent is there; one root, the run, which spans all."""
    told = recorded()
    spans = projected(told)
    assert len(spans) == sum(is_span(fact) for fact in told)
    by_id = {each.span_id: each for each in spans}
    assert len(by_id) == len(spans), "no two spans share an id"
    assert len({each.trace_id for each in spans}) == 1
    roots = [each for each in spans if not each.parent_id]
    assert [each.name.split()[0] for each in roots] == ["invoke_workflow"]
    assert [each.name for each in spans if each.parent_id and each.parent_id not in by_id] == []
    assert not any(names.START_UNKNOWN in each.attributes for each in spans)
    assert roots[0].start == min(fact.at for fact in told)


def test_cost_and_tokens_are_on_the_leaves_alone_and_add_up() -> None:
    """Summed over spans as any tracing tool would, a run costs what its attempts cost."""
    told = recorded()
    spans = projected(told)
    attempts = [fact for fact in told if isinstance(fact, facts.AttemptEvent) and fact.kind != "AttemptStarted"]
    costs = [each.attributes.get(names.NANO_USD, 0) for each in spans]
    assert all(isinstance(cost, int) for cost in costs)
    assert sum(cost for cost in costs if isinstance(cost, int)) == sum(fact.cost_nano_usd for fact in attempts)
    leaves = {each.span_id for each in spans} - {each.parent_id for each in spans}
    assert all(each.span_id in leaves for each in spans if names.COST in each.attributes)


def test_a_call_lasts_from_its_request_to_its_outcome_under_its_handler() -> None:
    """And its attempts hang below it."""
    told = recorded()
    spans = {each.span_id: each for each in projected(told)}
    calls = [each for each in spans.values() if each.name.startswith("execute_tool")]
    assert calls
    for call in calls:
        assert call.end > call.start
        assert spans[call.parent_id].name.startswith("invoke_agent")
        below = [each for each in spans.values() if each.parent_id == call.span_id]
        assert any(each.kind == "client" for each in below)


def test_an_attempt_without_a_price_says_nothing_of_cost() -> None:
    """Unknown is not zero."""
    (unpriced,) = (example.build() for example in examples() if example.case == "succeeded-unpriced")
    assert isinstance(unpriced, Fact)
    assert names.COST not in span(unpriced, None).attributes


def test_content_goes_along_only_where_it_is_asked_for() -> None:
    """Params and results are the user's data."""
    told = recorded()
    assert not any(names.TOOL_RESULT in each.attributes for each in projected(told))
    assert any(names.TOOL_ARGUMENTS in each.attributes for each in projected(told, content=True))


def test_memory_is_bounded_and_the_store_knows_what_was_forgotten() -> None:
    """The least recently opened goes first; its end asks the store."""
    started = [f for f in recorded() if f.kind == "CallRequested"]
    ended = [f for f in recorded() if f.kind == "CallCompleted"]
    asked: list[str] = []

    def store(fact: Fact, kind: str, identity: str) -> Any:
        asked.append(identity)
        return opening(next(f for f in started if f.call_id == identity))  # type: ignore[attr-defined]

    openings = Openings(store, kept=1)
    for fact in started:
        openings.begin(fact)
    assert len(openings) == 1
    for fact in ended:
        begun = openings.end(fact)
        assert begun is not None
        assert begun.event_id == fact.causation_id
    assert len(asked) == len(ended) - 1
