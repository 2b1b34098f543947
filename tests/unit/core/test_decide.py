"""Runs, registrations, repeats, and what is refused before a decider is asked."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.commands import BODY_OF_KIND, Command, RunBody
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger.decide import DECIDERS, WITHOUT_RUN
from agents_sdk.core.ledger.scribe import FactBuilder
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_every_kind_of_command_has_a_decider() -> None:
    """The table is complete: a new kind without decider would be a KeyError in the log."""
    assert set(DECIDERS) | {"StartRun"} | set(WITHOUT_RUN) == set(BODY_OF_KIND)


def test_an_idle_run_completes_when_handlers_calls_and_dependencies_are_done(desk: Desk) -> None:
    """Not at its start, not with work open, but with the fact that leaves nothing to do."""
    desk.register("one", subscriptions=["run.started"])
    desk.register("two")
    delivery = desk.start("idle", input='"in"').facts[1]
    desk.send("DeclareDependency", downstream="two", depends_on=["one"], trigger_when="all_completed")
    call_id = desk.call()
    step = desk.complete(delivery)
    assert kinds(step) == ["HandlerCompleted", "DependencySatisfied", "MessageDelivered"]
    assert kinds(desk.complete(step.facts[-1])) == ["HandlerCompleted"]
    step = desk.send("FailCall", agent=EXECUTOR, call_id=call_id)
    assert kinds(step) == ["CallFailed", "RunCompleted"]
    assert desk.book.finished[RunId("r")].reason == "idle"


def test_an_explicit_run_ends_only_by_command(desk: Desk) -> None:
    """With nothing left to do it stays open until CompleteRun gives its result."""
    desk.register("one", subscriptions=["run.started"])
    assert kinds(desk.complete(desk.start("explicit").facts[1])) == ["HandlerCompleted"]
    desk.send("AwaitRun", reply_to="waiter")
    step = desk.send("CompleteRun", result="42")
    mine, waiters = (told.reply for told in step.replies)
    assert (mine.status, waiters.status, waiters.value) == ("ok", "completed", "42")
    assert msgspec.json.decode(waiters.detail)["state_hash"] == step.facts[0].state_hash  # type: ignore[attr-defined]


def test_cancelling_tells_those_who_wait_for_calls_and_for_the_end(desk: Desk) -> None:
    """Nobody waits for an outcome that no longer comes; who asked without address is told nothing."""
    desk.start()
    call_id = desk.call(reply_to="caller")
    desk.call(reply_to="")
    desk.send("AwaitRun", reply_to="waiter")
    desk.send("AwaitRun", reply_to="")
    step = desk.send("CancelRun", reason="stop")
    told = {t.reply.reply_to: t.reply for t in step.replies}
    assert set(told) == {"me", "caller", "waiter"}
    assert (told["caller"].command_id, told["caller"].code) == (call_id, "run_finished")
    assert (told["waiter"].status, told["waiter"].message) == ("cancelled", "'client' cancelled the run")


def test_who_waits_for_a_run_from_another_address_is_told_there(desk: Desk) -> None:
    """A restarted client asks again with the same command: the end goes to its new address, once."""
    desk.start()
    desk.send("AwaitRun", reply_to="old")
    assert kinds(desk.again(reply_to="new", reply_partition=2)) == ["RunAwaited"]
    assert kinds(desk.again()) == []
    step = desk.send("CancelRun", reply_to="")
    assert [(told.partition, told.reply.reply_to) for told in step.replies] == [(2, "new")]


def test_a_run_that_has_ended_is_answered_from_memory(desk: Desk) -> None:
    """Its start, its end and its outcome are answered again; anything else is told that it has ended, and how."""
    start, end = answer(desk.start()), answer(desk.send("FailRun", reason="why"))
    for number, first in ((0, start), (1, end)):
        step = desk.put(desk.sent[number])
        assert (step.facts, answer(step)) == ([], first)
    step = desk.send("AwaitRun")
    assert (step.facts, answer(step).status, answer(step).code) == ([], "failed", "asked")
    assert (detail(step)["said"], detail(step)["said_by"]) == ("why", "client")
    step = desk.send("SetState", key="k", value="1")
    assert (answer(step).code, detail(step)["status"]) == ("run_finished", "failed")
    assert answer(desk.start()).code == "run_exists"


def test_a_handler_that_ended_its_run_ends_well(desk: Desk) -> None:
    """Its end is neither a fact nor a refusal: nothing failed. One that fails afterwards is refused."""
    desk.register("one", subscriptions=["run.started"])
    delivery = desk.start("explicit").facts[1]
    assert kinds(desk.within(delivery, "FailRun", reason="nothing found")) == ["HandlerCompleted", "RunFailed"]
    step = desk.complete(delivery)
    assert (step.facts, answer(step).status) == ([], "ok")
    assert answer(desk.within(delivery, "FailHandler", attempt=1)).code == "run_finished"


def test_a_repeated_start_gets_its_answer_though_many_commands_came_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start's answer is kept as long as the run: its client may be the slowest of all."""
    monkeypatch.setattr(sys.modules["agents_sdk.core.ledger.evolve"], "RECENT_LIMIT", 100)
    first = answer(desk.start())
    for _ in range(200):
        desk.send("GetState", key="k", reply_to="")
    step = desk.put(desk.sent[0])
    assert (step.facts, answer(step)) == ([], first)
    assert len(desk.book.runs[RunId("r")].answers) <= 101


def test_a_repeated_refusal_is_the_same_refusal(desk: Desk) -> None:
    """What was refused once stays refused, though it would fit now."""
    desk.start()
    first = answer(desk.send("SetState", key="k", value="1", guarded=True, expected_version=1))
    command = desk.sent[-1]
    desk.send("SetState", key="k", value="1")
    step = desk.put(command)
    assert (step.facts, answer(step)) == ([], first)


@pytest.mark.parametrize("mode", ["", "later"])
def test_a_run_says_when_it_completes(desk: Desk, mode: str) -> None:
    """No default is guessed in the ledger."""
    step = desk.start(mode)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "complete_when")
    assert desk.book.runs == {}


def test_a_registration_is_a_fact_only_if_it_changes_something(desk: Desk) -> None:
    """Every start of an agent registers it; the log keeps only changes."""
    assert kinds(desk.register("one", max_deliveries=0)) == ["AgentRegistered"]
    step = desk.register("one", max_deliveries=3)
    assert (step.facts, answer(step).status) == ([], "ok")
    assert kinds(desk.register("one", writes=["a"])) == ["AgentRegistered"]


@pytest.mark.parametrize("name", ["", "a b", "ü", "bp.executor", ".", "x" * 201, "a/b"])
def test_an_agent_has_a_name_that_a_topic_can_have(desk: Desk, name: str) -> None:
    """bp.inbox.<agent> must be a topic, and the platform's own names are taken."""
    step = desk.register(name)
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", "name")


def test_a_registration_under_a_run_is_refused(desk: Desk) -> None:
    """Its fact would join the run's sequence and be folded into no agent."""
    desk.start()
    step = desk.send("RegisterAgent", name="one")
    assert (answer(step).status, detail(step)["field"]) == ("refused", "run_id")


SOUND = Command(
    command_id=CommandId("1"), kind="StartRun", run_id=RunId("s"), agent="a", correlation_id="", reply_to="me"
)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "Explode"}, "kind"),
        ({"kind": "SetState"}, "state"),
        ({"kind": "SetState", "run": RunBody()}, "state"),
        ({"kind": "CancelRun", "command_id": "", "run": RunBody()}, "command_id"),
        ({"agent": "a" * 5_000}, "agent"),
        ({"run_id": "", "run": RunBody(complete_when="idle")}, "run_id"),
        ({"run": RunBody(complete_when="idle", workflow="w" * 501)}, "workflow"),
    ],
)
def test_a_malformed_command_is_refused_by_field(desk: Desk, changes: dict[str, Any], field: str) -> None:
    """The refusal names the field, and nothing started or ended."""
    desk.start()
    step = desk.put(msgspec.structs.replace(SOUND, **{"run_id": "r", **changes} if "run" not in changes else changes))
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", field)
    assert list(desk.book.runs) == ["r"]


def test_a_refusal_of_a_huge_command_is_small(desk: Desk) -> None:
    """It quotes the command, but must fit into a record whatever the command was."""
    desk.start()
    step = desk.put(
        Command(command_id=CommandId("1"), kind="\0" * 900_000, run_id=RunId("r"), agent="a", correlation_id="")
    )
    assert sum(len(str(getattr(step.facts[0], name))) for name in step.facts[0].__struct_fields__) < 4_000


def test_a_decision_pins_what_it_rests_on_to_versions(desk: Desk) -> None:
    """A key without version means the current one, @0 one that does not exist; an @ inside a key is no pin."""
    desk.start()
    desk.send("SetState", key="a@b", value="1")
    step = desk.send("RecordDecision", action="go", context_used=["a@b", "none", "k@7"])
    assert step.facts[0].context_used == ["a@b@1", "none@0", "k@7"]  # type: ignore[attr-defined]


def test_every_fact_of_a_run_says_where_the_run_stands_in_its_tree(desk: Desk) -> None:
    """A root run is its own root, a child names parent and root, also after its end; facts about no run name none."""
    desk.register("one")
    desk.start(root_run_id="somebody's")
    desk.deliver("one")
    desk.start(run_id="child", agent="bp.ledger", parent_run_id="r", root_run_id="r")
    desk.send("CancelRun", run_id="child")
    desk.send("SetState", run_id="child", key="k", value="1")
    desk.send("SetState", run_id="nowhere", key="k", value="1")
    trees = {fact.run_id: (fact.parent_run_id, fact.root_run_id) for fact in desk.facts}
    assert trees == {"": ("", ""), "r": ("", "r"), "child": ("r", "r"), "nowhere": ("", "")}
    assert desk.facts[-2].kind == "CommandRefused"
    assert desk.facts[-2].parent_run_id == "r"


def test_each_fact_of_a_command_has_an_id_of_its_own() -> None:
    """Also where they are about no run, as a declaration and the grant that it brings."""
    scribe = FactBuilder(
        Command(command_id=CommandId("c"), kind="RegisterAgent", run_id=RunId(""), agent="a", correlation_id="c"),
        7,
        1,
        None,
    )
    facts = [scribe.write(AgentEvent, "AgentRegistered", name="a") for _ in range(3)]

    assert len({fact.event_id for fact in facts}) == 3
    assert facts[0].event_id == ids.derive("c", "@7")
