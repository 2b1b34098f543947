"""Laws of the ledger's core under a broker's clock that jumps: order and state rest on offsets, never on time."""

from __future__ import annotations

from typing import Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents_sdk.core.facts import Fact
from agents_sdk.core.ledger import PartitionState, Step, apply, evolve
from tests.support.ledger_strategies import HISTORIES, LIMITS, RUNS, History

YEAR_US: Final = 366 * 86_400_000_000
JUMPS: Final = st.lists(st.sampled_from((0, 0, 0, -YEAR_US, -1_000_000, 1_000_000, YEAR_US)), min_size=1, max_size=12)
LAW: Final = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decided(history: History, jumps: list[int], only: str = "") -> tuple[PartitionState, list[Step]]:
    """The history's commands, each at its time and a jump of the clock; ``only`` those about this run jump."""
    book = PartitionState(limits=LIMITS)
    steps = []
    for number, entry in enumerate(history.entries):
        jump = jumps[number // 3 % len(jumps)] if only in ("", entry.command.run_id) else 0
        steps.append(apply(book, entry.command, entry.offset, entry.at + jump))
    return book, steps


@LAW
@given(HISTORIES, JUMPS)
def test_a_jump_stops_nothing_and_a_recovered_book_is_the_same(history: History, jumps: list[int]) -> None:
    """Every command is decided; no sequence has a gap; folding the facts gives the book that deciding gave."""
    book, steps = decided(history, jumps)
    facts = [fact for step in steps for fact in step.facts]
    folded = PartitionState(limits=LIMITS)
    seen: dict[str, int] = {}
    for fact in facts:
        evolve(folded, fact)
        if fact.run_seq:
            assert fact.run_seq == seen.get(fact.run_id, 0) + 1
            seen[fact.run_id] = fact.run_seq
    assert msgspec.structs.replace(folded, applied=book.applied) == book


@LAW
@given(HISTORIES, JUMPS, st.sampled_from(RUNS))
def test_a_jump_in_one_run_is_no_other_runs_affair(history: History, jumps: list[int], run_id: str) -> None:
    """Byte for byte."""

    def others(steps: list[Step]) -> list[Fact]:
        return [fact for step in steps for fact in step.facts if fact.run_id != run_id]

    assert others(decided(history, jumps, run_id)[1]) == others(decided(history, [0])[1])


@LAW
@given(HISTORIES, JUMPS)
def test_what_no_deadline_is_about_is_decided_alike_at_any_time(history: History, jumps: list[int]) -> None:
    """The same facts but for the times in them, until the first timer is due in either."""

    def timeless(steps: list[Step]) -> list[tuple[str, str, int, str]]:
        return [(fact.kind, fact.run_id, fact.run_seq, fact.event_id) for step in steps for fact in step.facts]

    timers = [number for number, entry in enumerate(history.entries) if entry.command.kind == "TimerFired"]
    until = timers[0] if timers else len(history.entries)
    jumped, straight = decided(history, jumps)[1][:until], decided(history, [0])[1][:until]
    assert timeless(jumped) == timeless(straight)
