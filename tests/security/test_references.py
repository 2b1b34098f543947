"""Each reference in each command is held against the right that using it directly would need; the table of them is
complete, and each of its rights refuses who has it not and lets who has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core import artifacts
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import references
from agents_sdk.core.ledger.references import NEEDS
from tests.support.guarded_desk import RightsDesk, code, rule
from tests.support.ledger_desk import EXECUTOR, answer, kinds

SHA: Final = "0f" * 32
REF: Final = artifacts.reference(SHA)
DESCRIPTOR: Final = json.dumps({"uri": REF, "sha256": SHA, "mime": "text/plain", "size": 3})
NOTHING: Final = {"workflows": ["w"], "starts": ["-"], "controls": ["-"], "subscriptions": ["none"]}


Case = tuple[dict[str, Any], dict[str, list[str]], str]
CASES: Final[dict[str, Case]] = {
    "SetState.key": ({"key": "k", "value": "1"}, {"writes": ["k"]}, "writes"),
    "DeleteState.key": ({"key": "k"}, {"writes": ["k"]}, "writes"),
    "GetState.key": ({"key": "k"}, {"reads": ["k"]}, "reads"),
    "GetHistory.key": ({"key": "k"}, {"reads": ["k"]}, "reads"),
    "GetStates.keys": ({"key": "", "keys": ["k"]}, {"reads": ["k"]}, "reads"),
    "RecordDecision.context_used": ({"action": "a", "context_used": ["k@1"]}, {"reads": ["k"]}, "reads"),
    "Publish.name": ({"name": "tip.given"}, {"publishes": ["tip.*"]}, "publishes"),
    "SendMessage.name": ({"name": "tip.given", "recipient": "other"}, {"publishes": ["tip.*"]}, "publishes"),
    "Ask.name": ({"name": "tip.given", "recipient": "other"}, {"publishes": ["tip.*"]}, "publishes"),
    "CallCapability.capability": ({"capability": "search"}, {"capabilities": ["search"]}, "capabilities"),
    "StartChild.workflow": ({"workflow": "w2", "complete_when": "explicit"}, {"starts": ["w2"]}, "starts"),
    "CompleteRun.run_id": ({}, {"controls": ["w"]}, "controls"),
    "FailRun.run_id": ({}, {"controls": ["w"]}, "controls"),
    "CancelRun.run_id": ({}, {"controls": ["w"]}, "controls"),
    "DeclareDependency.name": (
        {"downstream": "other", "depends_on": ["narrow"], "trigger_when": "all_completed", "name": "tip.given"},
        {"publishes": ["tip.given"]},
        "publishes",
    ),
    "DeclareDependency.downstream": (
        {"downstream": "other", "depends_on": ["narrow"], "trigger_when": "all_completed"},
        {"publishes": ["dependency.satisfied"]},
        "publishes",
    ),
    "DeclareDependency.depends_on state": (
        {"downstream": "narrow", "depends_on": ["state:k"], "trigger_when": "all_completed"},
        {"reads": ["k"]},
        "reads",
    ),
    "DeclareDependency.depends_on event": (
        {"downstream": "narrow", "depends_on": ["event:tip.given"], "trigger_when": "all_completed"},
        {"subscriptions": ["tip.*"]},
        "subscriptions",
    ),
    "CallCapability.dead_call_id": (
        {"capability": "free", "dead_call_id": "of another run"},
        {"controls": ["w"]},
        "controls",
    ),
    "CallCapability.redrives": ({"capability": "free", "redrives": 1}, {"controls": ["w"]}, "controls"),
    **{
        name: (fields, {"reads": ["artifacts/*"]}, "reads")
        for name, fields in {
            "CallCapability.params": {"capability": "free", "params": f'{{"file":{DESCRIPTOR}}}'},
            "CallCapability.params bare": {"capability": "free", "params": f'{{"sha256":"{SHA}"}}'},
            "CallCapability.params escaped": {
                "capability": "free",
                "params": f'{{"uri":"\\u0061rtifact\\u003a{SHA}"}}',
            },
            "CallCapability.config": {"capability": "free", "config": f'{{"degraded_result":{DESCRIPTOR}}}'},
            "SetState.value": {"key": "free", "value": DESCRIPTOR},
            "Publish.data": {"name": "free", "data": DESCRIPTOR},
            "SendMessage.data": {"name": "free", "recipient": "other", "data": DESCRIPTOR},
            "Ask.data": {"name": "free", "recipient": "other", "data": DESCRIPTOR},
            "StartChild.input": {"workflow": "free", "complete_when": "explicit", "input": DESCRIPTOR},
        }.items()
    },
}
"""Kind and field → a command with the reference, the right it needs, and the rule that its refusal names."""
ALWAYS: Final = {"writes": ["free"], "publishes": ["free"], "capabilities": ["free"], "starts": ["free"]}


def prepared(**granted: list[str]) -> RightsDesk:
    """A run of ``w`` in which ``narrow`` takes part, with these rights besides what no case is about."""
    desk = RightsDesk()
    lists = {**NOTHING, **ALWAYS}
    desk.agent("narrow", **{right: [*lists.get(right, []), *granted.get(right, [])] for right in {*lists, *granted}})
    desk.agent("other", workflows=["*"], reads=["*"], writes=["*"], subscriptions=["none"])
    desk.start()
    desk.send("SetState", key="k", value="1")
    return desk


@pytest.mark.parametrize("name", CASES)
def test_a_reference_needs_the_right_that_using_it_directly_would_need(name: str) -> None:
    """Refused without it, and not with it: it is that right which refuses."""
    fields, right, refused_by = CASES[name]
    kind = name.partition(".")[0]
    assert rule(prepared().send(kind, agent="narrow", **fields)) == refused_by
    assert code(prepared(**right).send(kind, agent="narrow", **fields)) == ""


HELD_ELSEWHERE: Final = {
    references.JOINS: "test_answers_to_sender",
    references.CHILD: "test_runs_of_others",
    references.SUPERVISOR: "test_redrives_need_a_right",
    references.ASKER: "tests/unit/core/test_roles",
    references.RECIPIENT: "test_who_handles_nothing_speaks_for_no_delivery",
    references.PLATFORM: "test_only_the_platform_says_of_which_run_another_one_is, tests/unit/core/test_roles",
    references.OPERATOR: "test_granted_rights, tests/unit/core/test_roles",
    references.ASKED: "test_granted_rights",
    references.CONTRACTS: "test_contracts_are_applied_by_who_was_granted_that",
    references.OWN_ID: "test_answers_to_sender",
    references.OWN_NAME: "tests/unit/core/test_identity",
    references.NARROWED: "tests/unit/core/test_roles",
    references.TRIGGERS: "test_a_message_is_for_those_who_take_part",
}
RESUMES: Final = {"RestoreState", "Resend", "ResumeRun"}
RESUMED: Final = {"resumed_from", "completed", "published"}
"""See test_going_on_from_an_ended_run_is_to_control_it."""
HARMLESS: Final = {references.TEXT, references.UNUSED, references.ANSWER}


def test_every_right_of_the_table_is_tried() -> None:
    """Each entry with a right has a case above, or a test that is named."""
    tried = {tuple(name.split(" ", 1)[0].split(".")) for name in CASES}
    left = {
        (kind, field): right
        for (kind, field), right in NEEDS.items()
        if right not in HARMLESS and right not in HELD_ELSEWHERE and (kind, field) not in tried
    }
    begins = {(kind, field) for kind, field in left if kind in RESUMES or field in ("run_id", *RESUMED)}
    left = {key: right for key, right in left.items() if key not in begins}
    assert left == {
        ("StartRun", "workflow"): references.STARTS,
        ("StartRun", "input"): references.ARTIFACTS,
        ("CompleteRun", "result"): references.ARTIFACTS,
        ("CompleteHandler", "result"): references.ARTIFACTS,
        ("RecordStep", "params"): references.ARTIFACTS,
        ("RecordStep", "result"): references.ARTIFACTS,
        ("SettleStep", "params"): references.ARTIFACTS,
        ("SettleStep", "result"): references.ARTIFACTS,
    }, "see test_what_a_run_is_started_and_ended_with, test_what_a_step_is_asked_and_ends_with"


def test_what_a_run_is_started_and_ended_with() -> None:
    """Input and result are held as any other payload; a handler's result fails its attempt, and tells its asker."""
    desk = prepared(publishes=["*"])
    assert rule(desk.send("StartRun", agent="narrow", run_id="n", workflow="x", complete_when="idle")) == "starts"
    start: dict[str, Any] = {"run_id": "n", "workflow": "free", "complete_when": "idle"}
    assert rule(desk.send("StartRun", agent="narrow", input=DESCRIPTOR, **start)) == "reads"
    desk.send("Ask", agent="other", name="go", recipient="narrow", reply_to="asker")
    assert code(desk.send("Ask", agent="client", name="go", recipient="narrow", reply_to="asker")) == ""
    delivery = desk.facts[-1]
    step = desk.within(delivery, "CompleteHandler", attempt=1, result=DESCRIPTOR)
    assert kinds(step)[0] == "HandlerFailed"
    assert code(prepared(controls=["w"]).send("CompleteRun", agent="narrow", result=DESCRIPTOR)) == "scope"


@pytest.mark.parametrize("field", ["params", "result"])
def test_what_a_step_is_asked_and_ends_with(field: str) -> None:
    """Arguments and results of the author's own effects are held as any other payload."""
    whole = {"name": "draft", "mode": "end", "params": "{}", "result": "1"}
    claim = {**whole, "mode": "claim", "unsafe": True, "holder": "first", "lease_ms": 1_000, "result": ""}
    for may_read in (False, True):
        desk = prepared(**({"reads": ["artifacts/*"]} if may_read else {}))
        desk.send("Ask", agent="client", name="go", recipient="narrow", reply_to="asker")
        delivery = desk.facts[-1]
        assert code(desk.within(delivery, "RecordStep", 1, **claim)) == ""
        end = {**whole, "unsafe": True, "holder": "first", "call_id": desk.sent[-1].command_id, "attempt": 1}
        steps = [
            desk.within(delivery, "RecordStep", 2, **{**whole, field: DESCRIPTOR}),
            desk.within(delivery, "SettleStep", 3, **{**end, field: DESCRIPTOR}),
        ]
        assert [code(step) for step in steps] == (["", ""] if may_read else ["scope", "scope"])
        assert may_read or [rule(step) for step in steps] == ["reads", "reads"]


def test_going_on_from_an_ended_run_is_to_control_it() -> None:
    """To resume is to write its state anew, and to speak for its agents."""
    start: dict[str, Any] = {"run_id": "n", "workflow": "w", "complete_when": "explicit"}
    desk = prepared()
    desk.grant("narrow", client=True, workflows=["*"], starts=["w"], **{r: ALWAYS[r] for r in ("writes", "publishes")})
    desk.send("RemoveAgent", agent="bp.operator", run_id="", name="narrow")
    for field, value in (("resumed_from", "r"), ("completed", ["other"]), ("published", ["tip.given"])):
        assert rule(desk.send("StartRun", agent="narrow", **{**start, field: value})) == "controls"
    assert code(desk.send("StartRun", agent="client", resumed_from="r", **start)) == ""
    tried: tuple[tuple[str, dict[str, Any]], ...] = (
        ("RestoreState", {"key": "free", "value": "1", "version": 1}),
        ("Resend", {"name": "free", "recipient": "other", "sender": "other"}),
        ("ResumeRun", {"resumed_from": "r"}),
    )
    for kind, fields in tried:
        assert rule(desk.send(kind, agent="narrow", run_id="n", **fields)) == "controls"
    desk.grant("narrow", client=True, controls=["w"])
    for (kind, fields), needs in zip(tried[:2], ("writes", "publishes"), strict=True):
        assert rule(desk.send(kind, agent="narrow", run_id="n", **fields)) == needs
    desk.grant("narrow", client=True, controls=["w"], writes=["free"], publishes=["free"])
    for kind, fields in tried:
        assert code(desk.send(kind, agent="narrow", run_id="n", **fields)) == ""
    files = {"RestoreState": "value", "Resend": "data"}
    for (kind, fields), field in zip(tried[:2], files.values(), strict=True):
        desk.send("StartRun", agent="client", resumed_from="r", **{**start, "run_id": f"n-{kind}"})
        assert rule(desk.send(kind, agent="narrow", run_id=f"n-{kind}", **{**fields, field: DESCRIPTOR})) == "reads"


def test_a_dead_letter_is_given_up_by_its_supervisor_or_who_controls_the_run() -> None:
    """While the run goes on, and when it has ended."""
    desk = prepared()
    desk.agent("boss", workflows=["w"], controls=["w"], subscriptions=["none"])
    desk.send("CallCapability", agent="client", capability="search")
    call_id = desk.sent[-1].command_id
    desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report='{"attempts":[]}')
    fields = {"capability": "search", "dead_call_id": call_id, "reason": "no use"}
    assert rule(desk.send("DiscardCall", agent="narrow", **fields)) == "controls"
    desk.send("CancelRun")
    assert rule(desk.send("DiscardCall", agent="narrow", **fields)) == "controls"
    assert kinds(desk.send("DiscardCall", agent="boss", **fields)) == ["CallDiscarded"]


def test_a_capability_reads_for_an_agent_only_what_the_agent_may_read() -> None:
    """Another agent's file, by a hash that it learnt somewhere; its own results and what it was sent it may pass on."""
    desk = prepared(reads=["shared"])
    desk.send("SetState", agent="other", key=artifacts.key_of(SHA), value=DESCRIPTOR)
    params = f'{{"artifact":{DESCRIPTOR}}}'
    assert rule(desk.send("CallCapability", agent="narrow", capability="free", params=params)) == "reads"
    assert rule(desk.send("SetState", agent="narrow", key="free", value=DESCRIPTOR)) == "reads"
    desk.send("SetState", agent="other", key="shared", value=DESCRIPTOR)
    assert code(desk.send("CallCapability", agent="narrow", capability="free", params=params)) == ""


GIVEN: Final[dict[str, Callable[[RightsDesk], Any]]] = {
    "a message": lambda desk: desk.send("SendMessage", name="go", recipient="narrow", data=DESCRIPTOR),
    "the result of its call": lambda desk: (
        desk.send("CallCapability", agent="narrow", capability="free"),
        desk.send("CompleteCall", agent=EXECUTOR, call_id=desk.sent[-1].command_id, result=DESCRIPTOR),
    ),
    "the outcome of its child": lambda desk: (
        desk.send("StartChild", agent="narrow", workflow="free", complete_when="explicit", child_run_id="child"),
        desk.send("ReportChild", agent="bp.ledger", child_run_id="child", status="completed", result=DESCRIPTOR),
    ),
}


@pytest.mark.parametrize("how", GIVEN)
def test_who_was_given_a_file_may_pass_it_on(how: str) -> None:
    """And who was not, may not."""
    desk = prepared()
    desk.agent("third", **NOTHING, capabilities=["free"])
    GIVEN[how](desk)
    params = f'{{"artifact":{DESCRIPTOR}}}'
    assert code(desk.send("CallCapability", agent="narrow", capability="free", params=params)) == ""
    assert rule(desk.send("CallCapability", agent="third", capability="free", params=params)) == "reads"


def test_an_invented_result_of_a_local_call_gives_no_file() -> None:
    """An agent says itself what its local call came to: that is no way to another's file."""
    desk = prepared()
    desk.send("CallCapability", agent="narrow", capability="free", local=True)
    call_id = desk.sent[-1].command_id
    assert kinds(desk.send("CompleteCall", agent="narrow", call_id=call_id, result=DESCRIPTOR)) == ["CallCompleted"]
    params = f'{{"artifact":{DESCRIPTOR}}}'
    assert rule(desk.send("CallCapability", agent="narrow", capability="free", params=params)) == "reads"


def test_a_message_is_for_those_who_take_part() -> None:
    """Who knows a run's id cannot draw others in; nor does an agent have others triggered that take no part."""
    desk = prepared(publishes=["*"])
    desk.agent("outside", workflows=["elsewhere"], publishes=["*"], reads=["*"], writes=["*"])
    for kind, fields in (
        ("SendMessage", {"name": "go", "recipient": "outside"}),
        ("Ask", {"name": "go", "recipient": "outside"}),
        ("DeclareDependency", {"downstream": "outside", "depends_on": ["narrow"], "trigger_when": "all_completed"}),
    ):
        assert rule(desk.send(kind, agent="narrow", **fields)) == "workflows"


def test_an_agent_that_takes_no_part_can_do_nothing_in_a_run() -> None:
    """Neither end it, nor charge it, nor speak, read or write there, though all else was granted to it."""
    desk = prepared()
    lists = {right: ["*"] for right in ("reads", "writes", "publishes", "capabilities", "starts", "subscriptions")}
    desk.agent("outside", workflows=["elsewhere"], controls=["elsewhere"], **lists)
    tried: dict[str, dict[str, Any]] = {
        "CompleteRun": {},
        "FailRun": {"reason": "no"},
        "CancelRun": {"reason": "no"},
        "AwaitRun": {},
        "CallCapability": {"capability": "free", "budget_nano_usd": 5},
        "StartChild": {"workflow": "free", "complete_when": "explicit", "budget_nano_usd": 5},
        "GetState": {"key": "k"},
        "SetState": {"key": "k", "value": "2"},
        "ListState": {"key": ""},
        "Publish": {"name": "free"},
        "RecordDecision": {"action": "a"},
        "DeclareDependency": {"downstream": "outside", "depends_on": ["other"], "trigger_when": "all_completed"},
    }
    before = msgspec.msgpack.encode(desk.book.runs[RunId("r")].account)
    for kind, fields in tried.items():
        step = desk.send(kind, agent="outside", **fields)
        assert code(step) == "scope", kind
        assert answer(step).value == ""
    run = desk.book.runs[RunId("r")]
    assert (msgspec.msgpack.encode(run.account), len(run.children), len(run.state["k"])) == (before, 0, 1)


def test_runs_of_others_are_not_awaited_or_cancelled_by_their_parents_agents() -> None:
    """A child is its starter's: others of the parent's run need a right in the child's workflow."""
    desk = prepared()
    desk.send("StartChild", workflow="w2", complete_when="explicit", child_run_id="child")
    assert rule(desk.send("AwaitChild", agent="narrow", child_run_id="child")) == "runs"
    assert rule(desk.send("CancelChild", agent="narrow", child_run_id="child")) == "controls"
    desk.send("StartChild", agent="narrow", workflow="free", complete_when="explicit", child_run_id="own")
    assert kinds(desk.send("AwaitChild", agent="narrow", child_run_id="own")) == ["ChildAwaited"]


def test_who_handles_nothing_speaks_for_no_delivery() -> None:
    """Neither by the delivery's id nor by naming it as the cause: answers kept for a handler are that handler's."""
    desk = prepared()
    delivery: Any = desk.send("SendMessage", name="go", recipient="other").facts[-1]
    for envelope in ({"delivery_id": delivery.delivery_id}, {"causation_id": delivery.event_id}):
        assert rule(desk.send("SetState", agent="narrow", key="free", value="1", **envelope)) == "recipient"


def test_who_is_told_of_a_failure_may_speak_where_it_handles_it() -> None:
    """A supervisor of another workflow handles the escalation in the run it is about; before and after it may not."""
    desk = RightsDesk()
    desk.agent("boss", workflows=["elsewhere"], reads=["*"])
    desk.agent("worker", workflows=["*"], subscriptions=["none"], supervisors=["boss"])
    desk.register("worker", subscriptions=["none"], supervisor="boss", max_deliveries=1)
    desk.start()
    assert rule(desk.send("GetState", agent="boss", key="k")) == "workflows"
    step = desk.fail(desk.send("SendMessage", name="go", recipient="worker").facts[-1])
    escalation = step.facts[-1]
    assert (escalation.recipient, escalation.sender, escalation.origin) == ("boss", "bp.ledger", "worker")  # type: ignore[attr-defined]  # a MessageEvent
    assert code(desk.within(escalation, "GetState", 0, key="k")) == ""
    desk.complete(escalation)
    assert rule(desk.send("GetState", agent="boss", key="k")) == "workflows"


def test_redrives_need_a_right() -> None:
    """That of the supervisor of who failed, or control of the run; and what the call anew would need."""
    desk = prepared(capabilities=["search"])
    desk.agent("control", workflows=["w"], controls=["w"], capabilities=["none"])
    desk.send("CallCapability", agent="client", capability="search", params=f'{{"a":{DESCRIPTOR}}}')
    call_id = desk.sent[-1].command_id
    report = '{"attempts":[]}'
    desk.send("FailCall", agent=EXECUTOR, call_id=call_id, error_class="outage", report=report)
    for who, needs in (("narrow", "controls"), ("control", "capabilities")):
        assert rule(desk.send("RedriveCall", agent=who, capability="", dead_call_id=call_id)) == needs
    desk.grant("control", workflows=["w"], controls=["w"], capabilities=["search"], subscriptions=["*"])
    assert rule(desk.send("RedriveCall", agent="control", capability="", dead_call_id=call_id)) == "reads"
    desk.agent("boss", workflows=["w"], subscriptions=["none"])
    desk.agent("weak", workflows=["w"], subscriptions=["none"], supervisors=["boss"])
    desk.register("weak", subscriptions=["none"], supervisor="boss", max_deliveries=1)
    desk.fail(desk.send("SendMessage", name="go", recipient="weak").facts[-1])
    (dead,) = desk.book.runs[RunId("r")].dead
    assert rule(desk.send("Redrive", agent="narrow", name="", dead_delivery_id=dead)) == "controls"
    assert kinds(desk.send("Redrive", agent="boss", name="", dead_delivery_id=dead)) == [
        "MessageRedriven",
        "MessageDelivered",
    ]


def test_only_the_platform_says_of_which_run_another_one_is() -> None:
    """Parents, roots, and who started a child."""
    desk = prepared(starts=["*"])
    fields = {"workflow": "w", "complete_when": "idle", "run_id": "n"}
    for field in ("parent_run_id", "root_run_id", "started_by", "status", "state_hash"):
        assert rule(desk.send("StartRun", agent="narrow", **fields, **{field: "r"})) == "ledger"


def test_contracts_are_applied_by_who_was_granted_that() -> None:
    """A client with all other rights has not this one."""
    desk = RightsDesk()
    desk.grant("viewer", client=True, **{right: ["*"] for right in ("reads", "writes", "workflows")})
    contract = {"target": "state", "pattern": "k*", "schema": "true", "run_id": ""}
    assert rule(desk.send("ApplyContract", agent="viewer", **contract)) == "contracts"
    desk.grant("viewer", client=True, contracts=["k*"])
    assert kinds(desk.send("ApplyContract", agent="viewer", **contract)) == ["ContractApplied"]


def test_memories_are_held_by_their_whole_name() -> None:
    """A right to a run's key is none to a memory's."""
    desk = prepared(reads=["k", "memory/own/*"], writes=["memory/own/*"])
    desk.send("SetState", run_id="memory/other", key="k", value="1")
    assert rule(desk.send("GetState", agent="narrow", run_id="memory/other", key="k")) == "reads"
    assert code(desk.send("SetState", agent="narrow", run_id="memory/own", key="k", value="1")) == ""
    assert answer(desk.send("ListState", agent="narrow", run_id="memory/other", key="")).value == "[]"
