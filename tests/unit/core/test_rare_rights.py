"""What seldom happens to rights, keys and ids: late facts, copies, policies that change, globs that overlap."""

from __future__ import annotations

from typing import Any

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.identity import OPERATOR, Proof
from agents_sdk.core.ledger import PartitionState, evolve
from agents_sdk.core.ledger.breakers import breaker_id
from agents_sdk.core.ledger.references import referenced
from agents_sdk.core.ledger.rights import covered, granting, required
from tests.support.guarded_desk import RightsDesk, code, rule
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


def test_a_grace_period_and_a_generation_have_their_bounds() -> None:
    """A key that was never issued is not revoked."""
    desk = Desk()
    desk.proof = Proof.GOOD
    key: dict[str, Any] = {"agent": OPERATOR, "run_id": "", "name": "one"}
    long = desk.send("IssueKey", generation=1, grace_ms=366 * 86_400_000, **key)
    assert (answer(long).code, detail(long)["field"]) == ("invalid_command", "grace_ms")
    never = desk.send("RevokeKey", generation=7, **key)
    assert (answer(never).code, detail(never)["field"], detail(never)["newest"]) == ("invalid_command", "generation", 1)


def test_the_platforms_own_parts_say_what_is_theirs_to_say() -> None:
    """An executor starts no run."""
    desk = RightsDesk()
    assert rule(desk.send("StartRun", agent=EXECUTOR, workflow="w", complete_when="explicit")) == "platform"


def test_what_is_declared_is_granted_besides_what_was_granted_before() -> None:
    """As an operator would say it, by a policy, or when the operator registers the agent."""
    desk = RightsDesk("all")
    desk.register("one", subscriptions=["a"])
    assert desk.book.grants["one"].subscriptions == ("a",)
    body = granting(desk.book.agents["one"], desk.book.grants["one"])
    assert (body.name, body.operator, body.subscriptions) == ("one", "", ["a"])
    none = RightsDesk("none")
    none.send("RegisterAgent", agent=OPERATOR, run_id="", name="two", subscriptions=["b"], budget_nano_usd=5)
    assert none.book.grants["two"].operator == OPERATOR
    more: Any = none.send("RegisterAgent", agent="two", run_id="", name="two", subscriptions=["b"], budget_nano_usd=9)
    assert more.facts[0].not_granted == ["budget_nano_usd 9"]
    assert code(none.send("GrantRights", agent=OPERATOR, run_id="", name="two", reads=[""])) == "invalid_command"


def test_a_glob_with_brackets_is_covered_by_itself_and_by_all() -> None:
    """A no may be wrong for them; a yes is certain."""
    assert covered("a[bc]", ("a[bc]",))
    assert covered("a[bc]", ("*",))
    assert not covered("a[bc]", ("a*",))


def test_facts_about_rights_that_come_late_change_nothing() -> None:
    """A snapshot may have the newer ones already."""
    desk = RightsDesk()
    desk.grant("one", reads=["a"])
    desk.grant("one", reads=["b"])
    facts = [fact for fact in desk.facts if isinstance(fact, AgentEvent)]
    book = PartitionState()
    for fact in (*facts, *facts):
        evolve(book, fact)
    assert book.grants == desk.book.grants
    assert (book.rights_required, book.policy, book.policy_at) == (True, desk.book.policy, desk.book.policy_at)


def test_agents_of_before_rights_were_required_hold_what_they_declared() -> None:
    """But one that an operator had granted rights by then has those."""
    desk = RightsDesk()
    (required,) = [fact for fact in desk.facts if fact.kind == "GrantsRequired"]
    old = Desk()
    old.register("one", reads=["own"])
    old.register("two", reads=["own"])
    granted: Any = msgspec.structs.replace(desk.grant("two", reads=["given"]).facts[0], command_offset=5)
    evolve(old.book, granted)
    evolve(old.book, msgspec.structs.replace(required, command_offset=9))
    assert old.book.grants["one"].reads == ("own",)
    assert old.book.grants["two"].reads == ("given",)


def test_a_payload_that_is_no_json_names_no_artifact() -> None:
    """It is refused, or not read, by who takes it; escaped letters hide no hash."""
    sha256 = ids.sha256("x")
    assert referenced('{"a":"\\', bare=True) == []
    assert referenced(f'["\\u00{ord(sha256[0]):02x}{sha256[1:]}"]', bare=True) == [sha256]


def test_what_is_said_of_a_breaker_late_does_not_move_it() -> None:
    """It was said before the state that counts now."""
    desk = RightsDesk()
    key = {"capability": "search", "provider": "p", "error_class": "outage"}
    about: dict[str, Any] = {"agent": EXECUTOR, "run_id": breaker_id(*key.values()), "executor": "e", **key}
    assert kinds(desk.send("OpenBreaker", open_ms=1, **about)) == ["BreakerOpened"]
    desk.now += 2_000
    assert kinds(desk.send("ProbeBreaker", probe_ms=1_000, **about)) == ["BreakerProbed"]
    assert kinds(desk.send("CloseBreaker", issued_at=desk.now - 1_000, **about)) == []
    assert kinds(desk.send("CloseBreaker", **about)) == ["BreakerClosed"]
    elsewhere = desk.send("OpenBreaker", open_ms=1, **{**about, "run_id": "breaker/other"})
    assert (answer(elsewhere).code, detail(elsewhere)["field"]) == ("invalid_command", "run_id")


def test_a_grant_for_unknown_names_takes_nothing_from_a_known_one() -> None:
    """What a new client is introduced with is for new names only."""
    desk = RightsDesk()
    desk.grant("one", reads=["a"])
    assert rule(desk.grant("one", unknown_only=True)) == "unknown_only"
    assert kinds(desk.grant("two", unknown_only=True)) == ["RightsGranted"]


def test_another_policy_takes_no_grant_away() -> None:
    """Rights were required before; what was granted holds."""
    desk = RightsDesk()
    desk.grant("one", reads=["a"])
    before = dict(desk.book.grants)
    assert kinds(desk.put(required(0, "none", after=9))) == ["GrantsRequired"]
    assert (desk.book.policy, desk.book.grants) == ("none", before)


def test_an_id_that_somebody_else_has_used_is_answered_to_the_platform_under_its_own_name() -> None:
    """Ids of the platform's commands follow from what everybody may know; nobody takes their answers away."""
    desk = RightsDesk()
    desk.start()
    call_id = desk.call()
    desk.send("SetState", key="k", value="1", command_id="taken")
    claim: dict[str, Any] = {"agent": EXECUTOR, "call_id": call_id, "attempt": 1, "executor": "e", "provider": "p"}
    first = desk.send("StartAttempt", command_id="taken", **claim)
    assert kinds(first) == ["AttemptStarted"]
    told = answer(first)
    assert (told.status, told.event_id) == ("ok", first.facts[0].event_id)
    assert answer(desk.send("SetState", key="k", value="1", command_id="taken")).version == 1


def test_the_operator_that_ends_a_run_is_answered_whoever_has_used_its_id() -> None:
    """With the fact that it caused."""
    desk = RightsDesk()
    desk.start()
    desk.send("SetState", key="k", value="1", command_id="taken")
    step = desk.send("CancelRun", agent=OPERATOR, command_id="taken", reason="enough")
    assert kinds(step) == ["RunCancelled"]
    assert (answer(step).status, answer(step).event_id) == ("ok", step.facts[0].event_id)


def test_who_ends_a_run_hides_no_attempt_that_was_paid_for() -> None:
    """It ends the run with the id that the executor's report will have; the late attempt is recorded all the same."""
    desk = RightsDesk()
    desk.start()
    call_id = desk.call()
    assert kinds(desk.send("CompleteRun", command_id="taken", result="1"))[-1] == "RunCompleted"
    paid: dict[str, Any] = {"agent": EXECUTOR, "call_id": call_id, "attempt": 1, "cost_nano_usd": 7}
    late: Any = desk.send("RecordAttempt", command_id="taken", **paid)
    assert kinds(late) == ["AttemptSucceeded"]
    assert (late.facts[0].cost_nano_usd, late.facts[0].agent) == (7, EXECUTOR)
    assert kinds(desk.again()) == [], "it is paid for once"
    assert answer(desk.send("CompleteRun", command_id="taken", result="1")).status == "ok", "the sender's own answer"
