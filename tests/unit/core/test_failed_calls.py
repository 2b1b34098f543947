"""Calls that nobody could answer: kept whole, told to whoever is responsible, made anew."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger.dead_letters import REDRIVE_LIMIT
from agents_sdk.core.ledger.evolve import copy
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds

REPORT: Final = '{"action":"look","attempts":[]}'
CONFIG: Final = '{"retry":{"max_attempts":1}}'


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.register("boss")
    desk.register("one", supervisor="boss")
    desk.start()
    return desk


def fail(desk: Desk, call_id: str, **fields: Any) -> Any:
    """The executor gives the call up."""
    given = {"error_class": "outage", "error_code": "providers_exhausted", "report": REPORT, "reply_to": "", **fields}
    return desk.send("FailCall", agent=EXECUTOR, call_id=call_id, **given)


def test_a_failed_call_keeps_the_whole_call_and_goes_to_the_supervisor(desk: Desk) -> None:
    """The fact has what is needed to make it again; the message has the story."""
    call_id = desk.call(agent="one", params='{"q":1}', config=CONFIG, timeout_ms=5)

    failed, raised, delivered = facts = fail(desk, call_id).facts

    assert [fact.kind for fact in facts] == ["CallFailed", "EscalationRaised", "MessageDelivered"]
    assert (failed.params, failed.config, failed.timeout_ms, failed.report) == ('{"q":1}', CONFIG, 5, REPORT)
    assert (raised.recipient, raised.cause, delivered.recipient) == ("boss", "outage", "boss")
    story = msgspec.json.decode(delivered.data)
    assert (story["call_id"], story["report"], story["params"]) == (
        call_id,
        {"action": "look", "attempts": []},
        {"q": 1},
    )


def test_the_failed_call_of_a_client_goes_to_the_operator_and_ends_no_run(desk: Desk) -> None:
    """Nobody's inbox, but a fact; what the failure means is for the caller to say."""
    step = fail(desk, desk.call())

    assert kinds(step) == ["CallFailed", "EscalationRaised"]
    assert step.facts[1].recipient == "operator"
    assert "r" in desk.book.runs


def test_the_callers_own_mistake_is_told_to_the_caller_alone(desk: Desk) -> None:
    """No report, no letter, no escalation."""
    call_id = desk.call(agent="one")
    step = fail(desk, call_id, report="", error_class="invalid_request")

    assert kinds(step) == ["CallFailed"]
    assert answer(step).status == "failed"
    assert desk.book.runs[RunId("r")].failed_calls == {}


def test_the_caller_is_told_the_whole_story(desk: Desk) -> None:
    """The report is among the fields of its error."""
    step = fail(desk, desk.call())

    assert msgspec.json.decode(step.replies[0].reply.detail)["report"] == {"action": "look", "attempts": []}


def test_a_redrive_makes_the_call_anew_and_links_both(desk: Desk) -> None:
    """With what was asked then; whoever redrives it is told its outcome."""
    dead = desk.call(agent="one", params='{"q":1}', config=CONFIG, timeout_ms=5)
    fail(desk, dead)

    step = desk.send("RedriveCall", capability="", dead_call_id=dead)
    asked, redriven = step.facts
    assert (asked.kind, redriven.kind, step.replies) == ("CallRequested", "CallRedriven", [])
    assert (asked.redrive_of, asked.redrives, redriven.call_id) == (dead, 1, dead)  # type: ignore[attr-defined]
    assert redriven.redriven_as == asked.call_id == asked.command_id  # type: ignore[attr-defined]
    assert (asked.capability, asked.params, asked.config, asked.timeout_ms) == ("search", '{"q":1}', CONFIG, 5)  # type: ignore[attr-defined]

    done = desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=asked.command_id, result="[]")
    assert (answer(done).command_id, answer(done).value) == (asked.command_id, "[]")


def test_a_failed_call_is_redriven_once_and_again_when_it_fails_again(desk: Desk) -> None:
    """A letter is used up; and one that fails for ever is stopped, in its run and beyond."""
    dead = desk.call()
    for redrives in range(REDRIVE_LIMIT):
        fail(desk, dead)
        asked = desk.send("RedriveCall", capability="", dead_call_id=dead).facts[0]
        assert asked.redrives == redrives + 1  # type: ignore[attr-defined]
        assert answer(desk.send("RedriveCall", capability="", dead_call_id=dead)).code == "invalid_command"
        dead = asked.command_id
    fail(desk, dead)

    refused = desk.send("RedriveCall", capability="", dead_call_id=dead)
    assert detail(refused)["redrives"] == REDRIVE_LIMIT
    elsewhere = desk.send("CallCapability", capability="search", dead_call_id=dead, redrives=REDRIVE_LIMIT + 1)
    assert detail(elsewhere)["redrives"] == REDRIVE_LIMIT


def test_a_call_of_unknown_outcome_is_not_redriven(desk: Desk) -> None:
    """Its effect may have happened."""
    dead = desk.call()
    fail(desk, dead, error_class="unknown", error_code="outcome_unknown")

    assert detail(desk.send("RedriveCall", capability="", dead_call_id=dead))["cause"] == "outcome_unknown"


@pytest.mark.parametrize(("agent", "refused"), [("one", True), ("boss", False), ("operator", False)])
def test_an_agents_failed_call_is_redriven_by_its_supervisor_or_the_operator(
    desk: Desk, agent: str, refused: bool
) -> None:
    """Not by itself: it was told, and may call again."""
    dead = desk.call(agent="one")
    fail(desk, dead)

    step = desk.send("RedriveCall", agent=agent, capability="", dead_call_id=dead)

    assert kinds(step) == (["CommandRefused"] if refused else ["CallRequested", "CallRedriven"])


def test_an_agent_falls_back_only_to_what_it_may_call(desk: Desk) -> None:
    """Else a config would be a way around its role."""
    desk.register("narrow", capabilities=["search"])
    config = '{"fallback":[{"capability":"search"},{"capability":"pay"}]}'

    step = desk.send("CallCapability", agent="narrow", capability="search", config=config)

    assert (answer(step).code, detail(step)["capability"]) == ("scope", "pay")
    assert kinds(desk.send("CallCapability", agent="one", capability="search", config=config)) == ["CallRequested"]


@pytest.mark.parametrize("config", ["[]", '{"fallback":3}', '{"fallback":[{"capability":3}]}'])
def test_a_config_of_the_wrong_shape_is_refused(desk: Desk, config: str) -> None:
    """The ledger reads it, so it has to be readable."""
    assert detail(desk.send("CallCapability", capability="search", config=config))["field"] == "config"


def test_failed_calls_survive_a_snapshot(desk: Desk) -> None:
    """What a successor reads is what was there."""
    dead = desk.call(params='{"q":1}')
    fail(desk, dead)
    desk.book = copy(desk.book)

    assert kinds(desk.send("RedriveCall", capability="", dead_call_id=dead)) == ["CallRequested", "CallRedriven"]


def test_a_taken_claim_says_since_when(desk: Desk) -> None:
    """Whoever settles it waits until nobody can be in the middle of it."""
    call_id = desk.call()
    claim: dict[str, Any] = {"agent": EXECUTOR, "call_id": call_id, "attempt": 1, "provider": "p"}
    desk.send("StartAttempt", **claim, executor="a", started_at=17)

    taken = desk.send("StartAttempt", **claim, executor="b", started_at=18)

    assert (answer(taken).code, detail(taken)["started_at"]) == ("attempt_taken", 17)
    assert detail(taken)["asked"] == "search/p"
