"""What began in a run has an end in its record when the run has ended, over any history."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given

from agents_sdk.core.kinds import RUN_ENDS
from tests.properties.test_ledger_laws import LAW
from tests.support.endings import unended
from tests.support.ledger_strategies import HISTORIES, History


@LAW
@given(HISTORIES)
def test_whatever_began_in_a_run_of_today_has_its_end_when_the_run_has(history: History) -> None:
    """Deliveries, requests, calls, children, dependencies; the handler's own delivery that ended the run too."""
    of_today: dict[str, list[Any]] = {}
    facts: list[Any] = history.facts
    for fact in facts:
        if fact.kind == "RunStarted" and fact.rules:
            of_today[fact.run_id] = []
        elif fact.run_id in of_today and fact.run_seq:
            of_today[fact.run_id].append(fact)
    for facts in of_today.values():
        if any(fact.kind in RUN_ENDS for fact in facts):
            event("a run that ended")
            assert unended(facts) == []
