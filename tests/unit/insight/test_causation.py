"""Causation as a tree, over whole runs in memory."""

from __future__ import annotations

from hypothesis import given, settings

from backplane.insight.causation import cause_of, tree
from tests.support.family_story import CHECK, EDIT, events_of, family
from tests.support.stories import article
from tests.unit.insight.test_postmortem import STEPS, told


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_every_fact_stands_once_below_its_cause(steps: list[str]) -> None:
    """Whatever happens in a run; a naive walk up from each fact is as long as its depth."""
    events = events_of(told(steps))
    by_id = {event.event_id: event for event in events}

    placed = list(tree(events))

    assert sorted(one.event.event_id for one in placed) == sorted(by_id)
    above: list[str] = []
    for one in placed:
        del above[one.depth :]
        assert one.cause == (above[-1] if above else "")
        assert one.depth == len(above)
        if one.cause:
            assert one.cause == cause_of(one.event)
            assert by_id[one.cause].run_seq < one.event.run_seq
        above.append(one.event.event_id)


def test_a_run_is_one_tree_below_its_start_but_for_what_its_client_did_besides() -> None:
    """Deliveries stand below their message, and all that a handler did below its delivery."""
    events = events_of(article())

    roots = [one.event for one in tree(events) if not one.depth]

    assert {(event.kind, event.agent) for event in roots} == {
        ("RunStarted", "client"), ("DependencyDeclared", "client"), ("StateWritten", "client")
    }  # fmt: skip


def test_a_child_run_stands_below_the_fact_that_started_it() -> None:
    """And its outcome, in the parent, below its end."""
    events = [event for event in events_of(family()) if event.run_id in (EDIT, CHECK)]
    kinds = {event.event_id: (event.run_id, event.kind) for event in events}

    below = {(one.event.run_id, one.event.kind): kinds.get(one.cause) for one in tree(events)}

    assert below[CHECK, "RunStarted"] == (EDIT, "ChildStarted")
    assert below[EDIT, "ChildEnded"] == (CHECK, "RunCompleted")
