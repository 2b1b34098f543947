"""The ledger's core against naive oracles: messages, requests and their ends, over any history of commands."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

from hypothesis import given

from agents_sdk.core.ids import CommandId
from agents_sdk.core.kinds import RUN_ENDS
from tests.properties.test_ledger_laws import LAW
from tests.support.ledger_strategies import HISTORIES, History


@LAW
@given(HISTORIES)
def test_a_request_ends_once_with_its_delivery_and_its_asker_is_told(history: History) -> None:
    """Answered by what completed, failed by what gave up; the reply goes to whoever asked last, and says the same."""
    waiting: dict[str, tuple[str, int]] = {}
    runs: dict[str, str] = {}
    for entry in history.entries:
        ended: list[Any] = [f for f in entry.facts if f.kind in ("HandlerCompleted", "MessageDeadLettered")]
        settled: list[Any] = [fact for fact in entry.facts if fact.kind in ENDS.values()]
        expected = [(ENDS[fact.cause], fact.request_id) for fact in ended if fact.request_id]
        assert [(fact.kind, fact.request_id) for fact in settled] == expected
        told = {reply.reply.command_id: reply for reply in entry.replies}
        for fact in settled:
            client, partition = waiting.pop(fact.request_id)
            if client:
                reply = told[fact.request_id]
                assert (reply.reply.reply_to, reply.partition) == (client, partition)
                assert (reply.reply.status == "ok") == (fact.kind == "RequestAnswered")
                assert reply.reply.value == fact.result
        for fact in entry.facts:
            known: Any = fact
            if fact.kind in ("RequestSent", "RequestAwaited"):
                waiting[known.request_id] = (known.reply_to, known.reply_partition)
                runs[known.request_id] = fact.run_id
            elif fact.kind in RUN_ENDS:
                gone = [name for name in waiting if runs[name] == fact.run_id]
                assert all(told[CommandId(name)].reply.code == "run_finished" for name in gone if waiting[name][0])
                for name in gone:
                    del waiting[name]


ENDS = {
    "": "RequestAnswered",
    "handler_failed": "RequestFailed",
    "handler_timeout": "RequestFailed",
    "expired": "RequestExpired",
}
"""Cause of a dead letter, if it became one, → how the request ends that it carried."""


@LAW
@given(HISTORIES)
def test_a_message_expires_at_its_deadline_unless_it_was_handled(history: History) -> None:
    """Once, not before its time by the broker's clock, and only by the ledger's own command."""
    due: dict[str, int] = {}
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            if fact.kind == "MessageDelivered" and known.deadline_at:
                due[known.delivery_id] = known.deadline_at
            elif fact.kind == "MessageDeadLettered" and known.cause == "expired":
                assert entry.command.kind == "TimerFired"
                assert entry.at >= due.pop(known.delivery_id)
            elif fact.kind in ("HandlerCompleted", "MessageDeadLettered"):
                due.pop(known.delivery_id, None)
    timers = {name for run in history.book.runs.values() for name in run.timers}
    alive = {f"message/{delivery_id}" for run in history.book.runs.values() for delivery_id in run.deliveries}
    assert {name for name in timers if name.startswith("message/")} == {f"message/{one}" for one in due} & alive


@LAW
@given(HISTORIES)
def test_the_ledger_gives_up_an_attempt_only_when_it_is_late_and_still_under_way(history: History) -> None:
    """What was started, of an agent with a timeout, and has neither ended nor been replaced by a newer attempt."""
    due: dict[tuple[str, int], int] = {}
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            match fact.kind:
                case "HandlerStarted":
                    if known.deadline_at:
                        assert known.deadline_at > entry.at
                        due[known.delivery_id, known.attempt] = known.deadline_at
                case "HandlerFailed":
                    armed = due.pop((known.delivery_id, known.attempt), None)
                    assert entry.command.kind != "TimerFired" or (armed is not None and entry.at >= armed)
                case "HandlerCompleted" | "MessageDeadLettered":
                    due = {place: at for place, at in due.items() if place[0] != known.delivery_id}
    timers = {name for run in history.book.runs.values() for name in run.timers if name.startswith("handler/")}
    alive = {delivery_id for run in history.book.runs.values() for delivery_id in run.deliveries}
    assert timers == {f"handler/{place[0]}/{place[1]}" for place in due if place[0] in alive}


@LAW
@given(HISTORIES)
def test_nothing_that_could_not_be_handled_is_dropped(history: History) -> None:
    """It goes to the agent's supervisor, or the operator; a supervisor that fails as well leaves it to the operator;
    a dead letter is redriven at most once, with attempts anew."""
    supervisors: dict[str, str] = {}
    letters: dict[str, Any] = {}
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            match fact.kind:
                case "AgentRegistered":
                    supervisors[known.name] = known.supervisor
                case "MessageDeadLettered":
                    letters[known.delivery_id] = known
                case "EscalationRaised":
                    letter = letters.get(known.delivery_id)
                    up = supervisors.get(known.sender, "")
                    gone = letter is not None and (letter.name, letter.sender) == ("escalation.raised", "bp.ledger")
                    expected = up if up in supervisors and up != known.sender and not gone else "operator"
                    assert known.recipient == expected
                    told: list[Any] = [f for f in entry.facts if getattr(f, "message_id", "") == fact.event_id]
                    assert [(f.kind, f.recipient, f.name) for f in told] == (
                        [] if expected == "operator" else [("MessageDelivered", expected, "escalation.raised")]
                    )
                case "MessageRedriven":
                    letter = letters.pop(known.delivery_id)
                    again: Any = entry.facts[-1]
                    assert (again.kind, again.recipient, again.data, again.attempt) == (
                        "MessageDelivered", letter.recipient, letter.data, 1,
                    )  # fmt: skip
                    assert again.delivery_id != known.delivery_id


@LAW
@given(HISTORIES)
def test_a_delivery_is_handled_by_its_recipient_within_its_attempts(history: History) -> None:
    """Attempts count 1, 2, … up to the agent's limit; it ends once, completed or as a dead letter."""
    attempts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    limit: dict[str, int] = {}
    for entry in history.entries:
        kinds = entry.kinds()
        for fact in entry.facts:
            known: Any = fact
            match fact.kind:
                case "AgentRegistered":
                    limit[known.name] = max(known.max_deliveries, limit.get(known.name, 0))
                case "MessageDelivered":
                    attempts[known.delivery_id] += 1
                    assert known.attempt == attempts[known.delivery_id] <= limit[known.recipient]
                    assert not ends[known.delivery_id]
                case "HandlerCompleted" | "MessageDeadLettered":
                    ends[known.delivery_id] += 1
                    late = entry.command.kind == "TimerFired"
                    assert fact.agent == entry.command.agent == ("bp.ledger" if late else known.recipient)
                    assert not late or known.cause in ("expired", "handler_timeout")
        dead: list[Any] = [fact for fact in entry.facts if fact.kind == "MessageDeadLettered"]
        for fact in dead:
            raised: list[Any] = [each for each in entry.facts if each.kind == "EscalationRaised"]
            told = [each for each in raised if each.message_id == fact.event_id]
            assert len(told) == (not fact.request_id)
            unhandled = any(f.recipient == "operator" for f in told) and fact.cause != "expired"
            assert ("RunFailed" in kinds) == unhandled
    assert set(ends.values()) <= {0, 1}


@LAW
@given(HISTORIES)
def test_messages_reach_every_subscriber_of_the_workflow_once(history: History) -> None:
    """A published message is delivered to each declared agent whose globs match, and to nobody else. A run that goes on
    from another begins with what was open there: nobody is told that it started."""
    specs: dict[str, Any] = {}
    workflows: dict[str, str] = {}
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            if fact.kind == "AgentRegistered":
                specs[known.name] = known
            elif fact.kind == "AgentRemoved":
                del specs[known.name]
            elif fact.kind == "RunStarted":
                workflows[fact.run_id] = known.workflow
            if fact.kind not in ("RunStarted", "MessagePublished"):
                continue
            name = "run.started" if fact.kind == "RunStarted" else known.name
            goes_on = fact.kind == "RunStarted" and known.resumed_from
            expected = sorted(
                agent for agent, spec in specs.items()
                if not goes_on and any(fnmatchcase(name, glob) for glob in spec.subscriptions)
                and (not spec.workflows or any(fnmatchcase(workflows[fact.run_id], g) for g in spec.workflows))
            )  # fmt: skip
            made: list[Any] = [f for f in entry.facts if getattr(f, "message_id", "") == fact.event_id]
            assert [f.recipient for f in made] == expected
            assert known.recipients == len(expected)
            assert all((f.kind, f.name, f.attempt) == ("MessageDelivered", name, 1) for f in made)
