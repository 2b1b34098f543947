"""Whether the log of commands is the one that the facts are about: by the last command's time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from backplane.ledger.accept import LATEST_MS
from backplane.ledger.recovery import stands
from backplane.runtime.batch import Record


def record(ms: int) -> Record:
    return Record(7, ms, None, None, ())


def fact(at: int) -> Any:
    return cast(Any, SimpleNamespace(at=at))


def test_the_command_has_the_facts_time() -> None:
    """Another time is another log; times that no fact may have are those the fact was given."""
    assert stands([record(5)], fact(5_000))
    assert not stands([record(6)], fact(5_000))
    assert stands([record(-1)], fact(0))
    assert stands([record(2**62)], fact(LATEST_MS * 1_000))


def test_what_was_deleted_by_age_says_nothing() -> None:
    """The facts stand."""
    assert stands([], fact(5_000))
