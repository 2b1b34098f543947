"""A field beyond its bound is refused by its name, with the value and the limit; a command without its body too."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core import bounds
from agents_sdk.core.bounds import KEY_LIMIT, LIST_LIMIT, PROSE_LIMIT
from agents_sdk.core.commands import BODY_OF_KIND, Command, DependencyBody
from agents_sdk.core.identity import Proof
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import breakers, identity, rights, timers
from agents_sdk.core.ledger.refusals import ENVELOPE_LIMIT
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, Refusal
from agents_sdk.core.words import QUOTED_LIMIT, quoted
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail


@pytest.mark.parametrize(
    ("terms", "said", "size"),
    [
        (["t"] * (LIST_LIMIT + 1), f"at most {LIST_LIMIT} entries", LIST_LIMIT + 1),
        (["t", "t" * (KEY_LIMIT + 9)], f"depends_on[1] has at most {KEY_LIMIT + 8} characters", KEY_LIMIT + 9),
        (["t" * KEY_LIMIT] * 200, f"at most {PROSE_LIMIT} characters together", 200 * KEY_LIMIT),
    ],
)
def test_a_list_is_bounded_in_its_entries_in_each_and_in_all(terms: list[str], said: str, size: int) -> None:
    """The refusal says which of the three."""
    body = DependencyBody(downstream="two", depends_on=terms, trigger_when="all_completed")
    found = bounds.body_excess("dependency", body)
    assert found is not None
    assert said in found.message
    assert (found.field, found.size, found.prose) == ("depends_on", size, False)
    desk = Desk()
    desk.start()
    step = desk.send("DeclareDependency", downstream="two", depends_on=terms, trigger_when="all_completed")
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "depends_on")


def test_a_number_of_any_length_is_shown_shortly() -> None:
    """To write its digits out would take minutes."""
    assert bounds.shown(10**40) == "a number of 133 bits"
    assert bounds.shown(10**9) == "1000000000"


def test_ids_and_names_are_short_together() -> None:
    """Each of them is within its own bound."""
    desk = Desk()
    desk.start()
    parts = ("command_id", "causation_id", "correlation_id", "delivery_id", "reply_to")
    long = dict.fromkeys(parts, "x" * (ENVELOPE_LIMIT // 4))
    assert ENVELOPE_LIMIT // 4 <= bounds.ID_LIMIT
    step = desk.send("SetState", key="k", value="1", **long)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "command_id")


@pytest.mark.parametrize("kind", sorted(BODY_OF_KIND))
def test_a_command_without_its_body_is_refused(kind: str) -> None:
    """It names the body that is missing; nothing else happens."""
    desk = Desk()
    desk.start()
    desk.proof = Proof.GOOD
    senders = dict.fromkeys(breakers.KINDS, EXECUTOR) | identity.SENDERS | rights.SENDERS
    command = Command(
        command_id=CommandId("bare"),
        kind=kind,
        run_id=RunId("r"),
        agent=senders.get(kind, "client"),
        correlation_id="",
        reply_to="me",
    )
    step = desk.put(command)
    assert [fact.kind for fact in step.facts] == ["CommandRefused"]
    assert answer(step).code == "invalid_command"
    assert detail(step)["field"] == BODY_OF_KIND[kind]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"run_id": "r"}, "run_id"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * (TEXT_LIMIT + 1)}, "reason"),
        ({"partition": -1}, "partition"),
        ({"offset": -1}, "offset"),
    ],
)
def test_a_record_is_skipped_by_its_place_and_for_a_reason(fields: dict[str, Any], field: str) -> None:
    """Whatever is missing is named."""
    desk = Desk()
    desk.start()
    sound: dict[str, Any] = {"run_id": "", "agent": "bp.operator", "partition": 0, "offset": 3, "reason": "it kills"}
    assert answer(desk.send("SkipRecord", **sound)).status == "ok"
    step = desk.send("SkipRecord", **{**sound, **fields})
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", field)


@pytest.mark.parametrize("deadline_ms", [-1, timers.DEADLINE_LIMIT_MS + 1])
def test_a_time_out_of_range_is_never_due(deadline_ms: int) -> None:
    """A mistake in the unit is refused by the name of its field."""
    with pytest.raises(Refusal) as refused:
        timers.due_at(0, deadline_ms, "ttl_ms")
    assert (refused.value.code, refused.value.detail["field"]) == ("invalid_command", "ttl_ms")


def test_anothers_words_are_one_line_of_bounded_length() -> None:
    """Quotes end where the words do."""
    assert quoted("a\n'b") == repr("a\n'b")
    assert len(quoted("x" * 9_000)) == QUOTED_LIMIT + 3
