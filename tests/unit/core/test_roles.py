"""Every kind of command is held against a rule, or is listed here as needing none, with the reason: where rights are
believed as they are declared. Where they are granted, see ``tests/security``."""

from __future__ import annotations

from typing import Any, Final

import pytest

from agents_sdk.core.commands import ABOUT_NO_RUN, BODY_OF_KIND
from agents_sdk.core.identity import Proof
from agents_sdk.core.ledger import identity
from tests.support.ledger_desk import Desk, answer, detail, kinds

Refused = dict[str, Any]

HELD: Final[dict[str, tuple[str, Refused]]] = {
    "SetState": ("writes", {"key": "k", "value": "1"}),
    "DeleteState": ("writes", {"key": "k"}),
    "GetState": ("reads", {"key": "k"}),
    "GetStates": ("reads", {"key": "", "keys": ["k"]}),
    "GetHistory": ("reads", {"key": "k"}),
    "RecordDecision": ("reads", {"action": "go on", "context_used": ["k@1"]}),
    "Publish": ("publishes", {"name": "draft.ready"}),
    "SendMessage": ("publishes", {"name": "draft.ready", "recipient": "other"}),
    "Ask": ("publishes", {"name": "draft.ready", "recipient": "other"}),
    "DeclareDependency": (
        "publishes",
        {"downstream": "other", "depends_on": ["narrow"], "trigger_when": "all_completed", "name": "draft.ready"},
    ),
    "CallCapability": ("capabilities", {"capability": "search"}),
    "WithdrawRequest": ("asker", {"name": "", "request_id": "asked"}),
    "StartAttempt": ("executor", {"call_id": "c"}),
    "RecordAttempt": ("executor", {"call_id": "c", "capability": "search"}),
    "CompleteCall": ("executor", {"call_id": "c", "result": "1"}),
    "FailCall": ("executor", {"call_id": "c"}),
    **{
        kind: ("executor", {"capability": "c", "provider": "p", "error_class": "outage"})
        for kind in ("OpenBreaker", "ProbeBreaker", "CloseBreaker")
    },
    "TimerFired": ("ledger", {"name": "run"}),
    "ReportChild": ("ledger", {"child_run_id": "c"}),
    "ApplyContract": ("contracts", {"target": "state", "pattern": "k", "schema": "true"}),
    "RemoveContract": ("contracts", {"target": "state", "pattern": "k"}),
    "ResumeRun": ("resume", {"resumed_from": "r0"}),
    "RestoreState": ("resume", {"key": "k", "value": "1", "version": 1}),
    "Resend": ("resume", {"name": "draft.ready", "recipient": "other"}),
    "RegisterAgent": ("name", {"name": "other"}),
    "RemoveAgent": ("name", {"name": "other"}),
    "IssueKey": ("keys", {"name": "other", "generation": 1}),
    "RevokeKey": ("keys", {"name": "other", "generation": 1}),
    "RequireIdentity": ("keys", {}),
    "SkipRecord": ("operator", {"partition": 0, "offset": 0, "reason": "it kills"}),
    "GrantRights": ("grants", {"name": "narrow", "reads": ["*"]}),
    "RequireGrants": ("grants", {"policy": "all"}),
    "StartHandler": ("recipient", {}),
    "CompleteHandler": ("recipient", {}),
    "FailHandler": ("recipient", {}),
}
"""Kind → the rule that a refusal names, and a command that breaks it, sent by an agent that may do nothing."""

FREE: Final = {
    "ListState": "not refused but narrowed: it lists the keys that the agent may read",
    "StartRun": "begins what nobody has rights in yet; whoever has an identity may",
    "CompleteRun": "a run is ended by whoever works in it; what it may read and write is held by the state commands",
    "FailRun": "as CompleteRun",
    "CancelRun": "as CompleteRun",
    "Redrive": "by the supervisor of the agent that failed, or an operator; see test_dead_letters",
    "RedriveCall": "by the supervisor of the agent whose call failed, or an operator; see test_failed_calls",
    "Discard": "by the supervisor of the agent that failed, or an operator; see test_discards",
    "DiscardCall": "by the supervisor of the agent whose call failed, or an operator; see test_discards",
    "RecordStep": "what a handler does by itself is on the record; only its delivery's agent may, see test_effects",
    "SettleStep": "as RecordStep",
    "StartChild": "as StartRun",
    "AwaitChild": "as AwaitRun, of a run that this run started itself",
    "CancelChild": "as CancelRun, of a run that this run started itself",
    "AwaitRun": "tells the end and the result of a run to whoever knows its id",
}


def test_every_kind_has_a_rule_or_a_reason() -> None:
    """A new kind of command is not let through because nobody thought of it."""
    assert set(HELD) | set(FREE) == set(BODY_OF_KIND)
    assert set(HELD) & set(FREE) == set()
    assert all(len(reason) > 10 for reason in FREE.values())


@pytest.fixture
def desk() -> Desk:
    """A run with an agent that may do nothing, and another."""
    desk = Desk()
    nothing: dict[str, Any] = {"reads": [], "writes": [], "capabilities": [], "publishes": []}
    desk.register("narrow", **nothing)
    desk.register("other")
    desk.start()
    desk.send("SetState", key="k", value="1")
    return desk


@pytest.mark.parametrize("kind", HELD)
def test_agent_that_may_do_nothing_is_refused_and_told_the_rule(desk: Desk, kind: str) -> None:
    """By the ledger, whatever the SDK let through."""
    rule, fields = HELD[kind]
    if rule == "recipient":
        fields = {"delivery_id": desk.deliver("other").delivery_id}
    if rule == "asker":
        desk.send("Ask", agent="other", name="draft.ready", recipient="other", command_id=fields["request_id"])
    if kind in identity.ALWAYS_SIGNED:
        desk.proof = Proof.GOOD
    about: dict[str, Any] = {"run_id": "", "key_generation": 1} if kind in ABOUT_NO_RUN else {}
    step = desk.send(kind, agent="narrow", **about, **fields)
    assert (answer(step).code, detail(step)["rule"]) == ("scope", rule)


@pytest.mark.parametrize("kind", [kind for kind, (rule, _) in HELD.items() if rule in ("reads", "writes", "publishes")])
def test_agent_that_may_is_not_refused(desk: Desk, kind: str) -> None:
    """The same commands by an agent whose declaration allows them: it is the rule that refuses."""
    assert "CommandRefused" not in kinds(desk.send(kind, agent="other", **HELD[kind][1]))


def test_list_shows_only_what_the_agent_may_read(desk: Desk) -> None:
    """Not even that the others exist."""
    assert answer(desk.send("ListState", agent="narrow", key="")).value == "[]"
    assert "k" in answer(desk.send("ListState", agent="other", key="")).value
