"""Laws of the memory of spent commands, against an oracle that forgets nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from agents_sdk.core.ids import CommandId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.seen_commands import KEPT, WINDOW_US, SeenCommands, remember, seen

STEPS = st.lists(
    st.tuples(st.integers(0, 12).map(lambda quarters: quarters * WINDOW_US // 4), st.integers(0, 9)), max_size=40
)


@given(STEPS)
def test_command_is_known_for_two_windows_and_memory_is_bounded(steps: list[tuple[int, int]]) -> None:
    """However the notes are spread over time: nothing is forgotten too early, and few windows are kept."""
    spent: SeenCommands = {}
    when: dict[str, int] = {}
    now = 1_767_261_600_000_000
    for pause, name in steps:
        now += pause
        remember(spent, CommandId(str(name)), "a", now, Changes())
        when[str(name)] = now
        young = {known for known, at in when.items() if now - at <= 2 * WINDOW_US}
        assert {known for known in when if seen(spent, CommandId(known), "a")} >= young
        assert len(spent) <= KEPT
    assert not seen(spent, CommandId("never seen"), "a")


@example([-600_000_001, 1, WINDOW_US, WINDOW_US])
@given(st.lists(st.integers(-10 * WINDOW_US, WINDOW_US), max_size=20))
def test_clock_that_goes_back_forgets_nothing(jumps: list[int]) -> None:
    """However often a broker's clock is set back: what was noted is known until two windows have passed since."""
    spent: SeenCommands = {}
    top = now = 1_767_261_600_000_000
    passed = 0
    when: dict[str, int] = {}
    for number, jump in enumerate(jumps):
        before, now = now, min(now + jump, top)
        passed += max(now - before, 0)
        remember(spent, CommandId(str(number)), "a", now, Changes())
        when[str(number)] = passed
        young = {known for known, at in when.items() if passed - at <= 2 * WINDOW_US}
        assert {known for known in when if seen(spent, CommandId(known), "a")} >= young


@given(st.lists(st.integers(0, 3 * WINDOW_US), min_size=30, max_size=30))
def test_clock_that_was_a_year_ahead_is_over_when_it_is_right_again(pauses: list[int]) -> None:
    """Nothing is forgotten too early, and what was noted while it was ahead is not kept for a year."""
    spent: SeenCommands = {}
    now = 1_767_261_600_000_000
    when: dict[str, int] = {}
    for number, pause in enumerate(pauses):
        now += pause
        ahead = 366 * 86_400_000_000 if number == 3 else 0
        remember(spent, CommandId(str(number)), "a", now + ahead, Changes())
        when[str(number)] = now
        young = {known for known, at in when.items() if now - at <= 2 * WINDOW_US}
        assert {known for known in when if seen(spent, CommandId(known), "a")} >= young
        assert len(spent) <= KEPT
    for later in range(KEPT):
        remember(spent, CommandId(f"later {later}"), "a", now + (1 + later) * WINDOW_US, Changes())
    assert sum(map(len, spent.values())) == KEPT


def test_an_id_is_spent_for_its_sender_alone() -> None:
    """Nobody uses up another's id; of whom nothing is known, the id counts as everybody's."""
    spent: SeenCommands = {}
    remember(spent, CommandId("x"), "attacker", WINDOW_US, Changes())
    assert seen(spent, CommandId("x"), "attacker")
    assert not seen(spent, CommandId("x"), "victim")
    remember(spent, CommandId("y"), "", WINDOW_US, Changes())
    assert seen(spent, CommandId("y"), "anybody")
