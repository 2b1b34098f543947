"""What a replay finds where the record is not what the core decides: the first difference, by its place and fields."""

from __future__ import annotations

from typing import Any

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.facts import AgentEvent, Fact, RefusalEvent, StateEvent
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import INTERNAL_ERROR, Limits, PartitionState, apply, evolve
from agents_sdk.core.ledger.scribe import TEXT_LIMIT
from agents_sdk.core.replay import LoggedCommand, Verdict, replay
from tests.support.ledger_desk import Desk


def recorded() -> tuple[list[LoggedCommand], list[Fact], list[AgentEvent]]:
    """Commands of a run that has ended, its facts, and what was declared."""
    desk = Desk()
    desk.register("one")
    desk.start()
    desk.send("SetState", key="k", value="1")
    desk.send("SetState", key="k", value="2")
    desk.send("CompleteRun", result="1")
    commands = [
        LoggedCommand(offset, 1_000 * offset, command) for offset, command in enumerate(desk.sent) if command.run_id
    ]
    facts = [fact for fact in desk.facts if fact.run_id == "r"]
    return commands, facts, [fact for fact in desk.facts if isinstance(fact, AgentEvent)]


def again(facts: list[Fact]) -> Verdict:
    """Of the recorded run, with these facts in place of its own."""
    commands, _, declared = recorded()
    return replay(RunId("r"), commands, declared, facts, Limits())


def test_the_state_of_a_run_that_has_ended_is_compared_too() -> None:
    """As it was when the run left the book."""
    verdict = again(recorded()[1])
    assert verdict.identical
    assert verdict.recorded_state_hash == verdict.replayed_state_hash != ""


def test_a_changed_fact_is_named_with_both_values() -> None:
    """And only the fields that differ."""
    facts = recorded()[1]
    at = next(index for index, fact in enumerate(facts) if isinstance(fact, StateEvent) and fact.version == 2)
    facts[at] = msgspec.structs.replace(facts[at], value="3", value_hash=ids.sha256("3"))
    verdict = again(facts)
    assert verdict.difference is not None
    assert (verdict.difference.run_seq, verdict.difference.command_offset) == (facts[at].run_seq, 3)
    assert verdict.difference.fields["value"] == ("3", "2")
    assert (verdict.difference.recorded, verdict.difference.decided) == ("StateWritten", "StateWritten")
    assert not verdict.identical
    assert verdict.recorded_state_hash != verdict.replayed_state_hash


def test_a_fact_on_one_side_only_has_no_fields_to_compare() -> None:
    """The last one left out, and one too many."""
    facts = recorded()[1]
    short = again(facts[:-1]).difference
    assert short is not None
    assert (short.recorded, short.decided, short.fields) == (None, "RunCompleted", {})
    end: Any = msgspec.structs.replace(facts[-1], run_seq=99, command_offset=9)
    long = again([*facts, end]).difference
    assert long is not None
    assert (long.run_seq, long.recorded, long.decided, long.fields) == (99, "RunCompleted", None, {})


def test_a_record_with_a_gap_does_not_fold_and_the_difference_says_where() -> None:
    """A fact in the middle is missing."""
    facts = recorded()[1]
    del facts[1]
    verdict = again(facts)
    assert verdict.recorded_state_hash == ""
    assert verdict.difference is not None
    assert verdict.difference.run_seq == 3


def test_a_failure_of_the_ledger_is_the_same_whatever_its_words() -> None:
    """It is written again instead of deciding; the text may be cut otherwise today, what it says may not differ."""
    commands, facts, declared = recorded()
    last = commands[-1]
    known = PartitionState()
    for fact in declared:
        evolve(known, fact)
    for logged in commands[:-1]:
        apply(known, logged.command, logged.offset, logged.at)
    said: Any = RefusalEvent(
        event_id="",
        kind="CommandRefused",
        run_id=RunId(""),
        run_seq=0,
        correlation_id="",
        causation_id="",
        agent="",
        at=0,
        command_id=CommandId(""),
        command_offset=last.offset,
        command_kind="",
        code=INTERNAL_ERROR,
        message="x" * TEXT_LIMIT,
        detail='{"stage":"decide"}',
    )
    failed = apply(known, last.command, last.offset, last.at, failed=said).facts[0]
    before = [*declared_last(facts), failed]
    assert replay(RunId("r"), commands, declared, before, Limits()).difference is None
    longer = msgspec.structs.replace(failed, message="x" * (TEXT_LIMIT + 9))
    assert replay(RunId("r"), commands, declared, [*before[:-1], longer], Limits()).difference is None
    other = msgspec.structs.replace(failed, detail='{"stage":"encode"}', message="x" * (TEXT_LIMIT + 9), agent="y")
    assert replay(RunId("r"), commands, declared, [*before[:-1], other], Limits()).difference is not None


def declared_last(facts: list[Fact]) -> list[Fact]:
    """All but what the last command caused."""
    return [fact for fact in facts if fact.command_offset != facts[-1].command_offset]
