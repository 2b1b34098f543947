"""An attempt that asks for something else than is recorded is refused, and its delivery waits for a decision."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command, RunBody
from agents_sdk.core.facts import EXECUTE_LOCALLY
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import PartitionState, divergence, fingerprints, timers
from tests.support.ledger_desk import EXECUTOR, Desk, answer, detail, kinds

RUN: Final = RunId("r")


@pytest.fixture
def desk() -> Desk:
    """Agents with a run under way; ``boss`` supervises ``watched``."""
    desk = Desk()
    desk.register("one")
    desk.register("two", subscriptions=["told"])
    desk.register("boss")
    desk.register("watched", supervisor="boss")
    desk.register("again", on_divergence="restart")
    desk.register("strict", on_divergence="fail", supervisor="boss")
    desk.start()
    return desk


def parked(desk: Desk, agent: str = "one") -> Any:
    """A delivery whose second handling asks for something else."""
    delivery = desk.deliver(agent)
    desk.within(delivery, "SetState", 0, key="draft", value='"a"')
    desk.within(delivery, "GetState", 0, key="config")
    return delivery


def test_the_examples_that_gave_answers_of_other_commands(desk: Desk) -> None:
    """A read where a write is recorded, a call where a write is, and an inserted step: each is refused, by name."""
    others: tuple[dict[str, Any], ...] = (
        {"kind": "GetState", "key": "config"},
        {"kind": "CallCapability", "capability": "search"},
        {"kind": "SetState", "key": "draft", "value": '"b"'},
        {"kind": "SetState", "key": "other", "value": '"a"'},
    )
    for again in others:
        delivery = desk.deliver("one")
        first = desk.within(delivery, "SetState", 0, key="draft", value='"a"', step="0")
        step = desk.within(delivery, again.pop("kind"), 0, step="0", **again)
        told = answer(step)
        assert (told.status, told.code, told.value, told.version) == ("refused", "diverged", "", 0)
        assert kinds(step) == ["CommandRefused", "MessageParked", "EscalationRaised"]
        difference = msgspec.json.decode(step.facts[1].difference)  # type: ignore[attr-defined]  # a MessageEvent
        shown = {name: difference[name] for name in ("agent", "handler", "attempt", "place", "recorded_event_id")}
        assert shown == {
            "agent": "one", "handler": "go", "attempt": 1, "place": "0", "recorded_event_id": first.facts[0].event_id,
        }  # fmt: skip
        assert difference["recorded"].startswith("SetState draft ")
        assert difference["asked"] == fingerprints.of(desk.sent[-1])


def test_nothing_else_of_a_diverged_attempt_has_an_effect(desk: Desk) -> None:
    """Whatever it sends, named or counted, and however it ends; the run waits and is not idle."""
    delivery = parked(desk)
    commands: dict[str, dict[str, Any]] = {
        "SetState": {"key": "x", "value": "1"},
        "Publish": {"name": "told"},
        "CompleteRun": {},
        "StartHandler": {"attempt": 1},
        "FailHandler": {"attempt": 1, "error_type": "E"},
        "CompleteHandler": {"attempt": 1},
    }
    for kind, fields in commands.items():
        step = desk.within(delivery, kind, "new", **fields)
        assert (kinds(step), answer(step).code) == (["CommandRefused"], "diverged")
    foreign = desk.within(delivery, "SetState", "new", key="x", value="1", causation_id="of-no-attempt")
    assert answer(foreign).code == "diverged"
    run = desk.book.runs[RUN]
    assert (delivery.delivery_id in run.deliveries, run.deliveries[delivery.delivery_id].parked != "") == (True, True)
    assert run.pending["one"] == 1
    assert "x" not in run.state


def test_a_corrected_agent_goes_on_with_what_is_recorded(desk: Desk) -> None:
    """Its commands have the same ids and the answers of the first time; those of the diverged attempt stay without
    effect."""
    delivery = parked(desk)
    told = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id)
    assert kinds(told) == ["MessageContinued", "MessageDelivered"]
    second: Any = told.facts[-1]
    assert (second.delivery_id, second.attempt, second.restarts) == (delivery.delivery_id, 2, 0)
    zombie = desk.within(delivery, "SetState", 1, key="x", value="1")
    assert answer(zombie).code == "diverged"
    assert answer(desk.within(second, "SetState", 0, key="draft", value='"a"')).version == 1
    assert answer(desk.within(second, "SetState", 1, key="x", value="2")).version == 1
    assert kinds(desk.within(second, "CompleteHandler", counted=True, commands=2, attempt=2))[0] == "HandlerCompleted"
    assert desk.book.runs[RUN].state["x"][-1].value == "2"


def test_a_restart_begins_from_nothing_once(desk: Desk) -> None:
    """Nothing recorded counts: the same ids are new commands. Said again it is answered as before."""
    delivery = parked(desk)
    told = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id, restart=True)
    assert kinds(told) == ["MessageRestarted", "MessageDelivered"]
    assert kinds(desk.again()) == []
    second: Any = told.facts[-1]
    assert (second.attempt, second.restarts, second.rules) == (2, 1, 4)
    assert answer(desk.within(delivery, "SetState", 0, key="draft", value='"a"')).code == "diverged"
    assert answer(desk.within(second, "GetState", 0, key="config")).status == "ok"
    assert kinds(desk.within(second, "CompleteHandler", counted=True, commands=1, attempt=2))[0] == "HandlerCompleted"
    run = desk.book.runs[RUN]
    assert not [kept for kept in run.answers.values() if kept.fingerprint.startswith("SetState")]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Publish", {"name": "told"}),
        ("SendMessage", {"name": "told", "recipient": "two"}),
        ("Ask", {"name": "told", "recipient": "two"}),
        ("StartChild", {"workflow": "w", "complete_when": "idle"}),
        ("DeclareDependency", {"downstream": "two", "depends_on": ["one"], "trigger_when": "all_completed"}),
    ],
)
def test_a_restart_does_not_repeat_effects_unless_allowed(desk: Desk, kind: str, fields: dict[str, Any]) -> None:
    """What others have acted on they would act on again."""
    delivery = desk.deliver("one")
    desk.within(delivery, kind, 0, **fields)
    desk.within(delivery, "GetState", 0, key="config")
    restart = {"name": "", "dead_delivery_id": delivery.delivery_id, "restart": True}
    refused = desk.send("Redrive", **restart)
    assert (answer(refused).code, len(detail(refused)["effects"])) == ("invalid_command", 1)
    assert kinds(desk.send("Redrive", **restart, repeat_effects=True))[0] == "MessageRestarted"


def test_an_unsafe_call_that_was_begun_is_not_repeated(desk: Desk) -> None:
    """Its claim says that its effect may have happened; a call without a claim may be made again."""
    for claimed in (True, False):
        delivery = desk.deliver("one")
        call = desk.within(delivery, "CallCapability", 0, capability="pay").facts[0].command_id
        if claimed:
            desk.send("StartAttempt", agent=EXECUTOR, call_id=call, attempt=1, executor="e")
        desk.send("CompleteCall", agent=EXECUTOR, call_id=call, result="1", provider="p")
        desk.within(delivery, "GetState", 0, key="config")
        step = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id, restart=True)
        assert answer(step).status == ("refused" if claimed else "ok")


def test_a_write_that_joins_is_not_repeated(desk: Desk) -> None:
    """A contract that adds would add twice."""
    contract = {"target": "state", "pattern": "draft", "schema": "true", "reducer": "append", "run_id": ""}
    desk.send("ApplyContract", **contract)
    delivery = desk.deliver("one")
    desk.within(delivery, "SetState", 0, key="draft", value="[1]")
    desk.within(delivery, "GetState", 0, key="config")
    step = desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id, restart=True)
    assert detail(step)["effects"] == ["SetState of 'draft'"]


def test_an_open_call_of_a_restarted_delivery_ends_for_nobody(desk: Desk) -> None:
    """Its outcome is recorded, and counts for no command of the new attempt."""
    delivery = desk.deliver("one")
    call = desk.within(delivery, "CallCapability", 0, capability="search").facts[0].command_id
    desk.within(delivery, "GetState", 0, key="config")
    desk.send("Redrive", name="", dead_delivery_id=delivery.delivery_id, restart=True)
    assert kinds(desk.send("CompleteCall", agent=EXECUTOR, call_id=call, result="1", provider="p")) == ["CallCompleted"]
    assert desk.book.runs[RUN].open_calls == 0


def test_the_supervisor_hears_of_it_and_may_decide(desk: Desk) -> None:
    """As of a dead letter, with the difference; another agent may not decide."""
    delivery = parked(desk, "watched")
    escalation: Any = desk.facts[-1]
    assert (escalation.kind, escalation.recipient, escalation.name) == ("MessageDelivered", "boss", "escalation.raised")
    story = msgspec.json.decode(escalation.data)
    assert (story["cause"], story["difference"]["asked"]) == ("diverged", "GetState config")
    redrive = {"name": "", "dead_delivery_id": delivery.delivery_id}
    assert detail(desk.send("Redrive", agent="two", **redrive))["rule"] == "supervisor"
    assert kinds(desk.send("Redrive", agent="boss", **redrive)) == ["MessageContinued", "MessageDelivered"]


def test_a_parked_delivery_is_failed_for_a_reason(desk: Desk) -> None:
    """It is a dead letter then, and its run fails where nobody supervises."""
    delivery = parked(desk)
    discard = {"name": "", "dead_delivery_id": delivery.delivery_id}
    assert answer(desk.send("Discard", **discard)).code == "invalid_command"
    step = desk.send("Discard", **discard, reason="never mind")
    assert kinds(step) == ["MessageDeadLettered", "EscalationRaised", "RunFailed"]
    dead: Any = step.facts[0]
    assert (dead.cause, dead.error_message, dead.said_by) == ("diverged", "never mind", "client")
    assert desk.book.finished[RUN].said_by == "client"


def test_an_agent_may_decide_beforehand(desk: Desk) -> None:
    """``restart`` begins again at once while no effect would repeat, and ``fail`` buries."""
    assert kinds_of_divergence(desk, "again") == ["CommandRefused", "MessageRestarted", "MessageDelivered"]
    delivery = desk.deliver("again")
    desk.within(delivery, "Publish", 0, name="told")
    assert kinds(desk.within(delivery, "GetState", 0, key="k"))[1] == "MessageParked"
    failed = kinds_of_divergence(desk, "strict")
    assert failed == ["CommandRefused", "MessageDeadLettered", "EscalationRaised", "MessageDelivered"]


def kinds_of_divergence(desk: Desk, agent: str) -> list[str]:
    delivery = desk.deliver(agent)
    desk.within(delivery, "SetState", 0, key="draft", value='"a"')
    return kinds(desk.within(delivery, "GetState", 0, key="config"))


def test_restarts_that_nobody_asked_for_have_a_limit(desk: Desk) -> None:
    """A handler whose every attempt differs is parked in the end."""
    delivery = desk.deliver("again")
    for _ in range(divergence.RESTART_LIMIT):
        desk.within(delivery, "SetState", 0, key="draft", value='"a"')
        step = desk.within(delivery, "GetState", 0, key="config")
        delivery = step.facts[-1]
    desk.within(delivery, "SetState", 0, key="draft", value='"a"')
    assert kinds(desk.within(delivery, "GetState", 0, key="config"))[1] == "MessageParked"


def test_a_handler_completes_only_with_all_that_is_recorded(desk: Desk) -> None:
    """A removed step is a divergence as well; a sender that does not count is not held to it."""
    delivery = desk.deliver("one")
    desk.within(delivery, "SetState", 0, key="a", value="1")
    desk.within(delivery, "Publish", 1, name="told")
    step = desk.within(delivery, "CompleteHandler", attempt=1, counted=True, commands=1)
    assert (kinds(step)[:2], answer(step).code) == (["CommandRefused", "MessageParked"], "diverged")
    difference = detail(step)["difference"]
    assert (difference["place"], difference["recorded"].split()[0], difference["asked"]) == ("1", "Publish", "nothing")
    other = desk.deliver("one")
    desk.within(other, "SetState", 0, key="a", value="1")
    assert kinds(desk.within(other, "CompleteHandler", attempt=1)) == ["HandlerCompleted"]


def test_limits_and_the_way_of_a_call_are_no_part_of_what_is_asked(desk: Desk) -> None:
    """Timeouts, deadlines, times to live and budgets may depend on the attempt; who makes a call on the process."""
    delivery = desk.deliver("one")
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("SetState", {"key": "k", "value": "1", "ttl_ms": 10}, {"key": "k", "value": "1"}),
        ("Publish", {"name": "told", "deadline_ms": 10}, {"name": "told", "deadline_ms": 20}),
        (
            "CallCapability",
            {"capability": "search", "timeout_ms": 10, "local": True},
            {"capability": "search", "timeout_ms": 20},
        ),
    ]
    for number, (kind, first, second) in enumerate(pairs):
        desk.within(delivery, kind, number, **first)
        step = desk.within(delivery, kind, number, **second)
        assert all(each.reply.code in ("", EXECUTE_LOCALLY) for each in step.replies)


def test_a_refusal_is_held_as_an_answer_is(desk: Desk) -> None:
    """What was refused is refused again to the same command, and to another it is a divergence."""
    delivery = desk.deliver("one")
    guarded = {"key": "k", "value": "1", "guarded": True, "expected_version": 7}
    assert answer(desk.within(delivery, "SetState", 0, **guarded)).code == "version_conflict"
    assert answer(desk.within(delivery, "SetState", 0, **guarded)).code == "version_conflict"
    assert answer(desk.within(delivery, "SetState", 0, key="k", value="1")).code == "diverged"


@pytest.mark.parametrize("settled", [True, False])
def test_a_call_and_a_request_are_held_open_and_settled(desk: Desk, settled: bool) -> None:
    """Also while there is no answer yet."""
    delivery = desk.deliver("one")
    call = desk.within(delivery, "CallCapability", 0, capability="search", params='{"q":1}').facts[0].command_id
    if settled:
        desk.send("CompleteCall", agent=EXECUTOR, call_id=call, result="1", provider="p")
    assert not [r for r in desk.within(delivery, "CallCapability", 0, capability="search", params='{"q":1}').replies
                if r.reply.code]  # fmt: skip
    assert answer(desk.within(delivery, "CallCapability", 0, capability="search", params='{"q":2}')).code == "diverged"
    other = desk.deliver("one")
    asked = desk.within(other, "Ask", 0, name="told", recipient="two")
    if settled:
        desk.complete(asked.facts[-1])
    assert answer(desk.within(other, "Ask", 0, name="told", recipient="boss")).code == "diverged"


def test_a_parked_delivery_still_expires_and_ends_with_its_run(desk: Desk) -> None:
    """The deadline of its message buries it, and the end of the run cancels it; both use up its letter."""
    sent: Any = desk.send("SendMessage", name="go", recipient="watched", deadline_ms=1_000).facts[-1]
    desk.within(sent, "SetState", 0, key="draft", value='"a"')
    desk.within(sent, "GetState", 0, key="config")
    delivery = parked(desk)
    name, due = f"{timers.MESSAGE}/{sent.delivery_id}", sent.deadline_at
    fired = timers.fired(RUN, "", name, due)
    step = desk.put(fired, at=due)
    assert kinds(step)[0] == "MessageDeadLettered"
    ended = desk.put(msgspec.structs.replace(desk.sent[-1], command_id="end", kind="CancelRun", agent="client",
                     timer=None, run=RunBody()), at=due + 1)  # fmt: skip
    cancelled: Any = next(f for f in ended.facts if getattr(f, "delivery_id", "") == delivery.delivery_id)
    assert (cancelled.kind, bool(cancelled.difference)) == ("DeliveryCancelled", True)


def test_a_handler_that_takes_too_long_is_not_failed_while_it_is_parked(desk: Desk) -> None:
    """The timer of its attempt is stopped."""
    desk.register("timed", handler_timeout_ms=100)
    delivery = desk.deliver("timed")
    desk.within(delivery, "StartHandler", attempt=1)
    assert any(name.startswith(timers.HANDLER) for name in desk.book.runs[RUN].timers)
    desk.within(delivery, "SetState", 0, key="draft", value='"a"')
    desk.within(delivery, "GetState", 0, key="config")
    assert not any(name.startswith(timers.HANDLER) for name in desk.book.runs[RUN].timers)


def test_a_divergence_in_a_memory_is_told_by_the_process(desk: Desk) -> None:
    """The memory refuses it, and its run parks the delivery when it hears of it."""
    delivery = desk.deliver("one")
    memory = {"run_id": "memory/shared", "step": "0"}
    desk.within(delivery, "SetState", 0, key="k", value="1", **memory)
    told = desk.within(delivery, "SetState", 0, key="k", value="2", **memory)
    assert (answer(told).code, detail(told)["parked"]) == ("diverged", False)
    difference = msgspec.json.encode(detail(told)["difference"]).decode()
    step = desk.within(delivery, "FailHandler", attempt=1, error_type="HandlerDiverged", difference=difference)
    assert kinds(step)[0] == "MessageParked"
    assert '"memory":"memory/shared"' in step.facts[0].difference  # type: ignore[attr-defined]  # a MessageEvent


def test_runs_by_older_rules_go_on_as_they_did(desk: Desk) -> None:
    """No fingerprint is kept of their commands, unless the sender names its steps."""
    desk.start(run_id="old", rules=3)
    sent: Any = desk.send("SendMessage", run_id="old", name="go", recipient="one").facts[-1]
    first = desk.within(sent, "SetState", 0, key="k", value="1")
    assert first.facts[0].fingerprint == ""  # type: ignore[attr-defined]  # a StateEvent
    assert answer(desk.within(sent, "GetState", 0, key="other")).status == "ok"


def test_a_snapshot_of_before_still_loads() -> None:
    """Without fingerprints, parked deliveries and what follows from them."""
    desk = Desk()
    desk.register("one")
    desk.start()
    delivery = desk.deliver("one")
    desk.within(delivery, "SetState", 0, key="k", value="1")
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(desk.book))
    for kept in plain["runs"]["r"]["answers"].values():
        del kept["fingerprint"]
    for kept in plain["runs"]["r"]["deliveries"].values():
        del kept["parked"], kept["superseded"], kept["restarts"]
    desk.book = msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=PartitionState)
    assert answer(desk.within(delivery, "SetState", 0, key="k", value="2")).status == "ok", "nothing to hold it against"


@pytest.mark.parametrize("kind", fingerprints.ASKS)
def test_each_field_that_is_asked_changes_the_fingerprint(kind: str) -> None:
    """All but the limits, the way, and what the kind does not use."""
    shape = BODIES[BODY_OF_KIND[kind]]
    required: dict[str, Any] = {field.name: "x" for field in msgspec.structs.fields(shape) if field.required}
    fields: dict[str, Any] = {BODY_OF_KIND[kind]: shape(**required)}
    plain = Command(command_id=CommandId("c"), kind=kind, run_id=RUN, agent="a", correlation_id="", **fields)
    changed = {
        field.name
        for field in msgspec.structs.fields(shape)
        if fingerprints.of(
            msgspec.structs.replace(plain, **{BODY_OF_KIND[kind]: shape(**{**required, field.name: other(field)})})
        )
        != fingerprints.of(plain)
    }
    assert changed
    assert not changed & {"timeout_ms", "deadline_ms", "ttl_ms", "budget_nano_usd", "local", "rules"}


def other(field: msgspec.structs.FieldInfo) -> Any:
    return {str: "other", int: 5, bool: True}.get(field.type, ["other"])


def test_a_divergence_says_what_to_do(desk: Desk) -> None:
    """A value that varies has to come from the record; a path that varies is named, restarted or failed."""
    for number, (kind, fields, says) in enumerate(
        (
            ("SetState", {"key": "draft", "value": '"b"'}, ("with other content", "from the record", "of a model")),
            ("GetState", {"key": "config"}, ("ctx.named", "restart", "fail it", "on_divergence")),
        )
    ):
        delivery = desk.deliver("one")
        desk.within(delivery, "SetState", 0, key="draft", value='"a"')
        message = answer(desk.within(delivery, kind, 0, **fields)).message
        assert all(text in message for text in says), (number, message)


def test_what_was_left_out_is_among_what_is_listed(desk: Desk) -> None:
    """A named step that was removed may be any of them, so the message lists them all."""
    delivery = desk.deliver("one")
    for name in ("title", "draft"):
        desk.within(delivery, "SetState", f"@{name}/0", key=name, value="1")
    desk.within(delivery, "SetState", "@draft/0", key="draft", value="1")
    step = desk.within(delivery, "CompleteHandler", counted=True, commands=1, attempt=1)
    assert "2 commands are recorded, of which it asked for 1: SetState of 'title', SetState of 'draft'" in (
        answer(step).message
    )
