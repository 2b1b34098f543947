"""What facts rest on."""

from __future__ import annotations

import pytest

from backplane.sink.edges import BY_KIND, edges, edges_of, state_reference
from tests.support.stories import article, records

STORY = article()
BY_ID = {fact.event_id: fact for fact in STORY.facts}


def of_kind(kind: str) -> list[object]:
    return [fact for fact in STORY.facts if fact.kind == kind]


def test_every_parent_event_is_a_fact_of_the_run() -> None:
    """An edge leads to a fact that the ledger made, never to one that is not."""
    parents = {
        (fact.kind, relation, parent) for fact in STORY.facts for relation, parent, _, _ in edges_of(fact) if parent
    }

    assert parents
    assert {entry for entry in parents if entry[2] not in BY_ID} == set()


@pytest.mark.parametrize(
    ("kind", "relation", "parent_kind"),
    [
        ("AttemptSucceeded", "called", "CallRequested"),
        ("CallCompleted", "called", "CallRequested"),
        ("MessageDelivered", "delivered", None),
        ("HandlerCompleted", "handled", "MessageDelivered"),
        ("DependencySatisfied", "satisfied", "HandlerCompleted"),
    ],
)
def test_typed_edges_lead_to_the_right_kind(kind: str, relation: str, parent_kind: str | None) -> None:
    """An attempt leads to its call, a handler's end to its delivery, a met dependency to what met it."""
    for fact in of_kind(kind):
        parents = [BY_ID[parent].kind for found, parent, _, _ in edges_of(fact) if found == relation]
        assert len(parents) == 1
        assert parent_kind in (None, parents[0])


def test_state_is_written_read_and_decided_on_at_a_version() -> None:
    """The three edges to a version of a key name it alike, so that they meet."""
    found = {(relation, key, version) for fact in STORY.facts for relation, _, key, version in edges_of(fact) if key}

    assert {("wrote", "brief", 1), ("read", "brief", 1), ("decided", "brief", 1)} <= found


def test_kinds_in_the_table_are_kinds_of_facts() -> None:
    """A misspelt kind would leave its edges out for ever."""
    from agents_sdk.core.facts import Fact

    documented = " ".join(str(record.__doc__) for record in Fact.__subclasses__())
    assert [kind for kind in BY_KIND if kind not in documented] == []


def test_rows_carry_the_position_of_their_fact() -> None:
    """The sink finds out from the rows how far the edges are."""
    lying = records(STORY.facts)

    block = edges(lying)

    places = {(record.topic, record.partition, record.offset) for record in lying}
    assert set(zip(*block.columns[:3], strict=True)) <= places
    assert block.rows == sum(len(edges_of(record.row)) for record in lying)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@3", ("a", 3)),
        ("a@b@3", ("a@b", 3)),
        ("a", ("a", 0)),
        ("a@", ("a@", 0)),
        ("a@x", ("a@x", 0)),
        ("@1", ("", 1)),
    ],
)
def test_state_reference(text: str, expected: tuple[str, int]) -> None:
    """A key may hold an @ itself; what stands after the last one is the version only when it is a number."""
    assert state_reference(text) == expected
