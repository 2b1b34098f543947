"""Whatever began has its end in the store, in one word; and the record of an ended run stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pytest

from agents_sdk.core.ledger.rules import RULES
from backplane.insight import answers
from backplane.insight.wording import lines_of
from backplane.store.queries import query
from tests.integration.sink.conftest import Database
from tests.support.stories import NOON, Story, records

RUN = "01930000-0000-7000-8000-0000000000e1"
ENDS = {"CompleteRun": "completed", "FailRun": "failed", "CancelRun": "cancelled"}


@pytest.fixture
def client(database: Database, port: int) -> Iterator[Any]:
    """What another process has: a client over HTTP."""
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    yield found
    found.close()


def with_all_open() -> Story:
    """A run in which one handler has asked, called, started a child and made others wait; none of it has ended."""
    story = Story(RUN)
    story.register("one", ["run.started"])
    story.register("two", ["run.started"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit", rules=RULES)
    job = story.delivered("one", "run.started")
    story.send("Ask", "one", handling=job, name="go", recipient="two")
    story.send("CallCapability", "one", handling=job, capability="search")
    story.send("StartChild", "one", handling=job, workflow="part", complete_when="idle")
    waits: dict[str, Any] = {"downstream": "two", "depends_on": ["one"], "trigger_when": "all_completed"}
    story.send("DeclareDependency", "client", **waits)
    return story


def words(client: Any) -> dict[str, list[str]]:
    """What each view says of the run."""
    views = ("v_messages", "v_requests", "v_calls", "v_children", "v_dependencies")
    sql = "SELECT status FROM {view} WHERE run_id = {run:String} ORDER BY status"
    found = {}
    for view in views:
        rows = query(client, sql.replace("{view}", view), {"run": RUN}).result_rows
        found[view.removeprefix("v_")] = [row[0] for row in rows]
    return found


@pytest.mark.parametrize("kind", ENDS)
def test_what_a_run_leaves_open_is_told_in_one_word(database: Database, client: Any, kind: str) -> None:
    """Before its end and after it; the handler that ended the run has handled its message."""
    story = with_all_open()
    job = story.delivered("one", "run.started")
    database.writer.write(database.writer.prepare(records(story.facts)))
    before = words(client)
    assert before == {
        "messages": ["open", "open", "open"],
        "requests": ["open"],
        "calls": ["open"],
        "children": ["running"],
        "dependencies": ["open"],
    }
    told = len(story.facts)
    story.send(kind, "one", handling=job, reason="because")
    database.writer.write(database.writer.prepare(records(story.facts[told:], first_offset=told)))
    assert words(client) == {
        "messages": ["cancelled", "cancelled", "handled"],
        "requests": ["cancelled"],
        "calls": ["cancelled"],
        "children": ["orphaned"],
        "dependencies": ["cancelled"],
    }
    (row,) = answers.runs(client, 1, RUN)
    assert row.status == ENDS[kind]
    texts = [line.text for line in lines_of(answers.timeline(client, RUN))]
    assert any("waits no longer for go" in text for text in texts)


def test_no_figure_of_an_ended_run_changes_when_something_comes_too_late(database: Database, client: Any) -> None:
    """Reads, writes, messages, calls, another end: each is answered and recorded, in no run's record. An attempt that
    was under way is paid for, and makes the run neither longer nor worse."""
    story = with_all_open()
    call = next(fact for fact in story.facts if fact.kind == "CallRequested")
    story.send("CancelRun", "client", reason="enough")
    database.writer.write(database.writer.prepare(records(story.facts)))
    (before,) = answers.runs(client, 1, RUN)
    timeline = answers.timeline(client, RUN)
    told = len(story.facts)
    late: dict[str, dict[str, Any]] = {
        "GetState": {"key": "k"},
        "ListState": {"key": ""},
        "GetHistory": {"key": "k"},
        "GetStates": {"key": "", "keys": ["k"]},
        "SetState": {"key": "k", "value": "1"},
        "Publish": {"name": "a.b"},
        "Ask": {"name": "a.b", "recipient": "one"},
        "CallCapability": {"capability": "search"},
        "StartChild": {"workflow": "w", "complete_when": "idle"},
        "RecordDecision": {"action": "go"},
        "FailRun": {"reason": "again"},
        "CancelRun": {"reason": "again"},
        "AwaitRun": {},
        "Discard": {"name": "a.b", "dead_delivery_id": "d", "reason": "old"},
    }
    for kind, fields in late.items():
        story.at += 60_000_000
        story.send(kind, "client", **fields)
    assert len(story.facts) - told >= len(late) - 1
    database.writer.write(database.writer.prepare(records(story.facts[told:], first_offset=told)))
    assert answers.runs(client, 1, RUN) == [before]
    assert answers.timeline(client, RUN) == timeline
    progress = answers.progress(client, RUN)
    assert (progress.whole, progress.facts) == (True, before.facts)
    about = "SELECT count() FROM events WHERE about_run_id = {run:String}"
    assert query(client, about, {"run": RUN}).result_rows[0][0] == len(story.facts) - told

    told = len(story.facts)
    story.at += 60_000_000
    story.attempt(call, 1, "brave", error_class="outage", cost_nano_usd=7, price_id="p", capability="search")
    database.writer.write(database.writer.prepare(records(story.facts[told:], first_offset=told)))
    (after,) = answers.runs(client, 1, RUN)
    assert (after.last_at, after.failures, after.status) == (before.last_at, before.failures, before.status)
    assert (after.cost_nano_usd, after.facts, after.last_seq) == (7, before.facts + 1, before.last_seq + 1)


@pytest.mark.parametrize(("kind", "word"), [("Redrive", "redriven"), ("Discard", "discarded"), ("", "dead")])
def test_a_dead_letter_is_told_by_what_became_of_it(database: Database, client: Any, kind: str, word: str) -> None:
    """And the message that was put back is a delivery of its own."""
    story = Story(RUN, NOON)
    every = ["*"]
    for name, boss in (("boss", ""), ("one", "boss")):
        story.send(
            "RegisterAgent", name, name=name, subscriptions=["run.started"] if name == "one" else [], reads=every,
            writes=every, capabilities=every, publishes=every, supervisor=boss, max_deliveries=1,
        )  # fmt: skip
    story.send("StartRun", "client", workflow="w", complete_when="explicit", rules=RULES)
    job = story.delivered("one", "run.started")
    story.send("FailHandler", "one", handling=job, attempt=1, error_type="E", error_message="no", traceback="line 1")
    if kind:
        reason: dict[str, Any] = {"reason": "r"} if kind == "Discard" else {}
        story.send(kind, "client", name="", dead_delivery_id=job.delivery_id, **reason)
    database.writer.write(database.writer.prepare(records(story.facts)))
    sql = "SELECT status, traceback FROM v_messages WHERE run_id = {run:String} AND delivery_id = {delivery:String}"
    found = query(client, sql, {"run": RUN, "delivery": job.delivery_id}).result_rows
    assert found == [(word, "line 1")]
