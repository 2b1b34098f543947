"""The table of what each field of each command needs a right for is complete."""

from __future__ import annotations

import pytest

from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.ledger import references
from agents_sdk.core.ledger.references import NEEDS


def without_entry(table: dict[tuple[str, str], str]) -> set[tuple[str, str]]:
    """Kinds and fields that the table lacks, or has and are none."""
    envelope = set(Command.__struct_fields__) - set(BODIES)
    return set(table) ^ {
        (kind, field) for kind, body in BODY_OF_KIND.items() for field in (*envelope, *BODIES[body].__struct_fields__)
    }


def test_every_field_of_every_kind_has_an_entry() -> None:
    """A new field or kind is not let through because nobody thought of what it refers to."""
    assert without_entry(NEEDS) == set()
    named = {value for value in vars(references).values() if isinstance(value, str)}
    assert set(NEEDS.values()) <= named
    assert set(references.RUN_RIGHT) <= set(BODY_OF_KIND)


def test_the_check_for_entries_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that nobody listed is found by name."""
    monkeypatch.delitem(references.BY_BODY["timer"], "due_at")
    assert without_entry(references._table()) == {("TimerFired", "due_at")}
