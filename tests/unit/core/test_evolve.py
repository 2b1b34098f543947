"""The fold: what it refuses, forgets and keeps."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, evolve, state_hash, undecodable
from agents_sdk.core.ledger.evolve import Gap, copy
from agents_sdk.core.ledger.state import FORGOTTEN_TOGETHER, HISTORY_LIMIT, RECENT_LIMIT
from tests.support.ledger_desk import Desk, answer


def test_a_missing_fact_stops_the_fold() -> None:
    """A gap in a run's sequence is an error that names run and place: no decision may rest on such a book."""
    desk = Desk()
    desk.start()
    desk.send("SetState", key="k", value="1")
    desk.send("SetState", key="k", value="2")
    book = PartitionState()
    evolve(book, desk.facts[0])
    with pytest.raises(Gap, match="run r is at run_seq 1, StateWritten has 3"):
        evolve(book, desk.facts[2])


def test_an_older_registration_folded_again_does_not_replace_a_newer_one() -> None:
    """A fact read twice changes nothing, for agents as for runs."""
    desk = Desk()
    desk.register("one", writes=["old"])
    desk.register("one", writes=["new"])
    evolve(desk.book, desk.facts[0])
    assert desk.book.agents["one"].writes == ("new",)


def test_answers_and_versions_are_kept_up_to_their_limits() -> None:
    """The book of a long run does not grow with its commands but by its state."""
    desk = Desk()
    desk.start()
    for number in range(RECENT_LIMIT + RECENT_LIMIT // FORGOTTEN_TOGETHER):
        desk.send("SetState", key="k", value=str(number), reply_to="")
    run = desk.book.runs[RunId("r")]
    assert (len(run.answers), len(run.recent)) == (RECENT_LIMIT + 1, RECENT_LIMIT)
    assert len(run.state["k"]) == HISTORY_LIMIT
    assert answer(desk.send("GetState", key="k", version=1)).code == "invalid_command"


def test_large_versions_are_kept_up_to_their_size() -> None:
    """The newest one always; a run by earlier rules keeps as many as it did."""
    large = json.dumps("x" * 1_000_000)
    for rules, kept in ((1, 12), (2, 9)):
        desk = Desk()
        desk.start(rules=rules)
        for _ in range(12):
            desk.send("SetState", key="k", value=large, reply_to="")
        run = desk.book.runs[RunId("r")]
        assert [version.version for version in run.state["k"]] == list(range(13 - kept, 13))
        assert answer(desk.send("GetState", key="k", version=1)).status == ("ok" if rules == 1 else "refused")
    assert run.history_chars["k"] == kept * len(large)


def test_small_versions_after_large_ones_are_all_kept() -> None:
    """What is counted is what is there, also where versions leave by their number."""
    desk = Desk()
    desk.start()
    for number in range(HISTORY_LIMIT + 20):
        desk.send("SetState", key="k", value=str(number), reply_to="")
    run = desk.book.runs[RunId("r")]
    assert len(run.state["k"]) == HISTORY_LIMIT
    assert run.history_chars["k"] == sum(len(version.value) for version in run.state["k"])


def test_what_a_handler_sent_is_forgotten_with_its_delivery() -> None:
    """Its answers, calls and attempts leave the book; that it was settled stays."""
    desk = Desk()
    desk.register("one")
    desk.start()
    delivery = desk.deliver("one")
    for number in range(5):
        desk.within(delivery, "SetState", number, key="k", value="1")
    run = desk.book.runs[RunId("r")]
    kept = len(run.answers)
    desk.complete(delivery)
    assert len(run.answers) == kept - 5 + 1
    assert (run.deliveries, run.attempts, run.issued, run.settled) == ({}, {}, {}, {delivery.delivery_id})


def test_the_state_hash_is_of_keys_versions_and_values() -> None:
    """Equal states hash alike whatever the order of keys; another version or value hashes otherwise."""

    def hashed(*writes: tuple[str, str]) -> str:
        desk = Desk()
        desk.start()
        for key, value in writes:
            desk.send("SetState" if value else "DeleteState", key=key, **({"value": value} if value else {}))
        return state_hash(desk.book.runs[RunId("r")])

    assert hashed(("a", "1"), ("b", "2")) == hashed(("b", "2"), ("a", "1"))
    states = [(("a", "1"),), (("a", "2"),), (("a", "1"), ("a", "1")), (("b", "1"),), (("a", "1"), ("a", "")), ()]
    assert len({hashed(*writes) for writes in states}) == len(states)


def test_a_snapshot_comes_back_equal_and_shares_nothing() -> None:
    """The copy is the book, and goes its own way."""
    desk = Desk()
    desk.register("one", subscriptions=["run.started"])
    desk.start("idle")
    desk.send("AwaitRun")
    desk.send("StartAttempt", agent="bp.executor", call_id=desk.call(), attempt=1, executor="x")
    twin = copy(desk.book)
    assert twin == desk.book
    desk.send("SetState", key="k", value="1")
    assert twin != desk.book
    assert msgspec.msgpack.encode(twin) == msgspec.msgpack.encode(copy(twin))


def test_an_undecodable_record_is_a_refusal_that_only_advances_the_book() -> None:
    """Its id comes from its place; its message and key are cut."""
    fact: Any = undecodable(0, b"\xff" * 999, 4, 5, "undecodable", "x" * 9_999)
    assert (fact.code, len(fact.message), fact.run_seq) == ("undecodable", 2_000, 0)
    book = PartitionState()
    evolve(book, fact)
    assert book == PartitionState(applied=4)
