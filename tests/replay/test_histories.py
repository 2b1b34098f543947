"""Runs recorded earlier are decided today as they were then; and whatever is wrong in a record is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agents_sdk.core.facts import AgentEvent, ContractEvent, Fact
from agents_sdk.core.replay import LoggedCommand
from tests.support.ledger_strategies import LIMITS, play
from tests.support.recorded import Recorded, dump, load

HISTORIES: Final = sorted((Path(__file__).parent / "histories").glob("*.json.gz"))
PLACE: Final = ("run_seq", "command_offset")
"""Where a fact stands. Changing these moves it, so that the difference may be named at either place."""
QUICK: Final = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def test_there_are_histories() -> None:
    """The tests below are about something."""
    assert HISTORIES


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.name)
def test_a_stored_history_replays_identical_on_the_code_of_today(file: Path) -> None:
    """Old runs survive our changes: same facts, same state, and the state is the one that the run ended with."""
    record = load(file)
    verdict = record.replayed()

    assert verdict.difference is None
    assert verdict.identical
    assert verdict.facts == len(record.facts)
    assert verdict.commands == len(record.commands)
    assert verdict.recorded_state_hash == next(f.state_hash for f in record.facts if f.kind == "RunCompleted")  # type: ignore[attr-defined]  # the kind says it is a RunEvent


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.name)
def test_a_stored_history_is_written_as_it_was_read(file: Path, tmp_path: Path) -> None:
    """A record loses nothing in its file."""
    dump(load(file), tmp_path / "again")

    assert load(tmp_path / "again") == load(file)


def played(choices: bytes) -> Recorded:
    """The run that did most in a history that the bytes stand for."""
    history = play(choices)
    facts: dict[str, list[Fact]] = {}
    for entry in history.entries:
        for fact in entry.facts:
            facts.setdefault(fact.run_id, []).append(fact)
    run_id = max((run for run in facts if run), key=lambda run: (len(facts[run]), run), default="")
    assume(run_id)
    agents = [fact for entry in history.entries for fact in entry.facts if isinstance(fact, AgentEvent)]
    commands = [LoggedCommand(e.offset, e.at, e.command) for e in history.entries if e.command.run_id == run_id]
    contracts = [fact for entry in history.entries for fact in entry.facts if isinstance(fact, ContractEvent)]
    return Recorded(run_id, LIMITS.max_value_bytes, commands, agents, facts[run_id], contracts)


runs = st.one_of(
    st.sampled_from(HISTORIES).map(load), st.binary(min_size=40, max_size=240).map(played)
)  # what was really recorded, and what is merely possible


def other(value: Any, chance: int) -> Any:
    """A value of the same type that is not this one."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1 + chance % 1_000
        case str():
            return f"{value}{chance}"
        case _:
            return [*value, str(chance)]


@QUICK
@given(record=runs)
def test_an_untouched_record_is_identical(record: Recorded) -> None:
    """What this core decided, it decides again."""
    assert record.replayed().identical


@QUICK
@given(record=runs, data=st.data())
def test_a_changed_fact_is_found_and_named(record: Recorded, data: st.DataObject) -> None:
    """Whichever field of whichever fact is changed: the difference names the fact, the field and both values."""
    index = data.draw(st.integers(0, len(record.facts) - 1), label="fact")
    fact = record.facts[index]
    field = data.draw(st.sampled_from([f for f in fact.__struct_fields__ if f not in PLACE]), label="field")
    value = other(getattr(fact, field), data.draw(st.integers(0, 10_000), label="chance"))
    changed = msgspec.structs.replace(fact, **{field: value})

    verdict = record.replayed(facts=[*record.facts[:index], changed, *record.facts[index + 1 :]])

    assert not verdict.identical
    assert verdict.difference is not None
    assert (verdict.difference.run_seq, verdict.difference.command_offset) == (fact.run_seq, fact.command_offset)
    assert verdict.difference.fields == {field: (value, getattr(fact, field))}


@QUICK
@given(record=runs, data=st.data())
def test_a_fact_in_another_place_is_found(record: Recorded, data: st.DataObject) -> None:
    """A fact with another number, or of another command, is a difference."""
    index = data.draw(st.integers(0, len(record.facts) - 1), label="fact")
    fact = record.facts[index]
    field = data.draw(st.sampled_from(PLACE), label="field")
    moved = msgspec.structs.replace(fact, **{field: getattr(fact, field) + data.draw(st.integers(1, 500))})

    verdict = record.replayed(facts=[*record.facts[:index], moved, *record.facts[index + 1 :]])

    assert not verdict.identical
    assert verdict.difference is not None


@QUICK
@given(record=runs, data=st.data())
def test_a_missing_fact_is_found_and_named(record: Recorded, data: st.DataObject) -> None:
    """Leave any fact out: the first difference is where it stood."""
    index = data.draw(st.integers(0, len(record.facts) - 1), label="fact")
    fact = record.facts[index]

    verdict = record.replayed(facts=[*record.facts[:index], *record.facts[index + 1 :]])

    assert verdict.difference is not None
    assert verdict.difference.decided == fact.kind
    if index + 1 == len(record.facts):
        assert verdict.difference.recorded is None
        assert verdict.difference.run_seq == fact.run_seq
    assert not verdict.identical


@QUICK
@given(record=runs, data=st.data())
def test_a_fact_too_many_is_found_and_named(record: Recorded, data: st.DataObject) -> None:
    """A fact that no command caused, or one twice, is a difference, at its end if it comes after all others."""
    fact = data.draw(st.sampled_from(record.facts), label="fact")
    last = record.facts[-1]
    late = msgspec.structs.replace(fact, run_seq=last.run_seq + 1, command_offset=last.command_offset + 1)
    added = data.draw(st.sampled_from([fact, late]), label="added")

    verdict = record.replayed(facts=[*record.facts, added])

    assert not verdict.identical
    assert verdict.difference is not None
    if added is late:
        assert (verdict.difference.recorded, verdict.difference.decided) == (fact.kind, None)


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.name)
def test_a_missing_command_is_found(file: Path) -> None:
    """Without any one command that caused a fact, the facts cannot be decided as they were."""
    record = load(file)
    causes = {fact.command_offset for fact in record.facts}
    for index, logged in enumerate(record.commands):
        if logged.offset in causes:
            verdict = record.replayed(commands=[*record.commands[:index], *record.commands[index + 1 :]])
            assert not verdict.identical, logged.command.kind


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.name)
def test_other_agents_make_another_run(file: Path) -> None:
    """The agents registered before the run are part of what its decisions rest on."""
    assert not load(file).replayed(agents=[]).identical
