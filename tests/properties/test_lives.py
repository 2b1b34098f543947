"""The diagrams of ARCHITECTURE.md: equal to the ledger's tables, and every history follows their arrows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given

from agents_sdk.core.facts import Fact
from docs.tools.lives import BEGIN, LIVES, PAGE, Move, drawn, with_diagrams
from tests.support.ledger_strategies import CHOICES, play
from tests.support.recorded import load

ROOT: Final = Path(__file__).parents[2]
HISTORIES: Final = sorted((ROOT / "tests" / "replay" / "histories").glob("*.json.gz"))
OWNER: Final = {"run": "run_id", "delivery": "delivery_id", "call": "call_id"}
"""Life → the field of a fact that says whose it is."""


def strays(facts: Iterable[Fact], life: str, moves: list[Move]) -> list[str]:
    """The facts that lead nowhere from the state that their subject is in."""
    allowed = {(move.kind, move.before): move.after for move in moves}
    kinds = {move.kind for move in moves}
    states: dict[str, str] = {}
    found: list[str] = []
    for fact in facts:
        subject = getattr(fact, OWNER[life], "")
        if fact.kind not in kinds or not subject:
            continue
        before = states.get(subject, BEGIN)
        if fact.kind in ATTEMPTS and before != "open":
            continue  # paid for, so recorded, however late
        after = allowed.get((fact.kind, before))
        if after is None:
            found.append(f"{fact.kind} of a {life} that is {before}")
        states[subject] = after or before
    return found


ATTEMPTS: Final = ("AttemptSucceeded", "AttemptFailed")


def test_the_page_shows_the_diagrams_of_the_tables() -> None:
    """``python -m docs.tools.lives`` draws them again."""
    page = PAGE.read_text(encoding="utf-8")

    assert with_diagrams(page) == page
    assert all(drawn(moves()) in page for moves in LIVES.values())


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.name)
def test_a_recorded_history_follows_the_arrows(file: Path, life: str) -> None:
    """What really happened is in the diagram."""
    assert strays(load(file).facts, life, LIVES[life]()) == []


@pytest.mark.parametrize("life", LIVES)
@given(choices=CHOICES)
def test_a_possible_history_follows_the_arrows(life: str, choices: bytes) -> None:
    """Whatever commands come in whatever order."""
    facts = [fact for entry in play(choices).entries for fact in entry.facts]

    assert strays(facts, life, LIVES[life]()) == []


@pytest.mark.parametrize("life", LIVES)
def test_a_missing_arrow_is_found(life: str) -> None:
    """Leave the first arrow out, and the recorded history has facts that lead nowhere."""
    facts = load(HISTORIES[0]).facts

    assert strays(facts, life, [*LIVES[life]()[1:], Move(LIVES[life]()[0].kind, "nowhere", "nowhere")])
