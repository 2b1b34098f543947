"""Why a run ended as it did, told of whole runs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_sdk.core.facts import CallEvent, Fact, MessageEvent
from agents_sdk.core.ids import RunId
from backplane.insight.answers import Event
from backplane.insight.failure_causes import FailureCauses, failing, related
from backplane.insight.postmortem import PostMortem, explain
from tests.support.family_story import CHECK, EDIT, Family, Remembered, events_of
from tests.support.stories import Story, article

RUN = "01930000-0000-7000-8000-000000000021"
ADVICE = "see `backplane capabilities health`; when brave is back, `backplane dlq redrive --cause outage`"
REPORT = msgspec.json.encode(
    {
        "attempts": [],
        "alternatives": [
            {"capability": "web_search", "provider": "brave", "asked": 2},
            {"capability": "web_search", "provider": "tavily", "asked": 0, "why_not": "its key is not set"},
        ],
        "cause": "outage",
        "action": ADVICE,
    }
).decode()


def reports_of(facts: Sequence[Fact]) -> dict[str, str]:
    return {fact.event_id: fact.report for fact in facts if isinstance(fact, CallEvent) and fact.report}


def post_mortem(story: Story, run_id: str = "") -> PostMortem:
    run_id = run_id or story.run_id
    return explain(run_id, related(run_id, Remembered(events_of(story)).events), reports_of(story.facts))


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def searching(supervisor: str = "") -> tuple[Story, MessageEvent]:
    """A run whose only agent is about to search."""
    story = Story(RUN)
    every = ["*"]
    for name, boss in (("boss", ""), ("searcher", supervisor)):
        story.send(
            "RegisterAgent", name, name=name, subscriptions=[] if name == "boss" else ["run.started"], reads=every,
            writes=every, capabilities=every, publishes=every, supervisor=boss, max_deliveries=2,
        )  # fmt: skip
    story.send("StartRun", "client", workflow="w", complete_when="idle")
    return story, story.delivered("searcher", "run.started")


def failed_search(story: Story, job: MessageEvent) -> Fact:
    """A call that both its attempts fail."""
    call: Fact = story.send("CallCapability", "searcher", handling=job, capability="web_search", params="{}")
    down: dict[str, Any] = {"error_class": "outage", "error_message": "503", "price_id": "p", "cost_nano_usd": 5}
    story.attempt(call, 1, "brave", **down)
    story.attempt(call, 2, "brave", **down)
    story.outcome(
        call, error_class="outage", error_code="outage", error_message="brave is down", attempts=2, report=REPORT
    )
    return call


def fail(story: Story, job: MessageEvent, text: str, attempts: Sequence[int] = (1, 2)) -> None:
    for attempt in attempts:
        story.send(
            "FailHandler", job.recipient, handling=job, attempt=attempt, error_type="CallFailed", error_message=text
        )


def test_a_run_that_failed_is_led_back_to_the_attempt_that_failed_first() -> None:
    """From the provider over the call and the handler to the end; nothing in between is left out."""
    story, job = searching()
    failed_search(story, job)
    fail(story, job, "brave is down")

    found = post_mortem(story)

    assert (found.verdict, kinds(found.chain)) == (
        "failed", ["AttemptFailed", "CallFailed", "HandlerFailed", "MessageDeadLettered", "RunFailed"]
    )  # fmt: skip
    assert found.first_cause is not None
    assert (found.first_cause.provider, found.first_cause.attempt) == ("brave", 1)
    assert found.other_causes == []
    assert found.next_steps == [ADVICE, f"then `backplane resume {RUN}`"]
    assert (found.cost_nano_usd, found.wasted_nano_usd, found.lost_nano_usd) == (10, 10, 10)
    call, message = found.tried
    assert (call.outcome, call.attempts) == ("failed", ["brave: outage: 503"] * 2)
    assert call.not_tried == ["web_search/tavily: its key is not set"]
    assert (message.what, message.outcome, len(message.attempts)) == ("run.started", "given up", 2)


def test_a_failure_that_quotes_nothing_it_met_rests_on_what_failed_it_but_on_no_refusal() -> None:
    """Versions that were written meanwhile are refused and mended all the time."""
    story, job = searching()
    story.send("SetState", "searcher", handling=job, key="x", value="1")
    story.send("SetState", "searcher", handling=job, key="x", value="2", guarded=True, expected_version=7)
    fail(story, job, "'x' is no list")

    found = post_mortem(story)

    assert found.first_cause is not None
    assert found.first_cause.kind == "HandlerFailed"
    assert found.next_steps == [
        (
            "mend how searcher handles run.started, which said \"CallFailed: 'x' is no list\"; then"
            f" `backplane resume {RUN}`"
        )
    ]


def test_a_refusal_that_the_failure_quotes_is_its_cause() -> None:
    """The handler says what it died of."""
    story, job = searching()
    story.send("SetState", "searcher", handling=job, key="x", value="2", guarded=True, expected_version=7)
    [refused] = [event for event in events_of(story) if event.kind == "CommandRefused"]
    fail(story, job, refused.message)

    found = post_mortem(story)

    assert found.first_cause == refused
    assert found.next_steps == [
        f"mend what searcher asks for: version_conflict: {refused.message}", f"then `backplane resume {RUN}`"
    ]  # fmt: skip


def test_a_supervisor_that_gives_up_rests_on_what_it_was_told() -> None:
    """The ladder is climbed down again."""
    story, job = searching(supervisor="boss")
    failed_search(story, job)
    told = story.delivered("boss", "escalation.raised")
    story.send("FailRun", "boss", handling=told, reason="no sources")

    found = post_mortem(story)

    assert kinds(found.chain) == ["AttemptFailed", "CallFailed", "RunFailed"]
    assert kinds(found.spread) == ["DeliveryCancelled"]


def test_a_child_that_failed_is_looked_into() -> None:
    """The first cause of the parent's failure lies in another run."""
    story = Family(EDIT)
    for agent in ("editor", "checker"):
        story.register(agent, [f"{agent}.go"])
    story.register("editor", ["run.started"])
    story.send("StartRun", "client", workflow="edit", complete_when="explicit")
    edit = story.delivered("editor", "run.started")
    story.send("StartChild", "editor", handling=edit, workflow="check", complete_when="explicit", child_run_id=CHECK)
    story.on(CHECK).send("FailRun", "client", reason="no checker")
    story.on(EDIT).send("FailRun", "editor", handling=edit, reason=f"run {CHECK} failed: no checker")

    found = post_mortem(story, EDIT)

    assert [(event.kind, event.run_id) for event in found.chain] == [
        ("RunFailed", CHECK), ("ChildEnded", EDIT), ("RunFailed", EDIT)
    ]  # fmt: skip
    assert f"`backplane explain {CHECK}`" in found.next_steps


def test_a_child_that_was_cancelled_is_led_back_to_its_parent() -> None:
    """It ended because another run did."""
    story = Family(EDIT)
    story.register("editor", ["run.started"])
    story.send("StartRun", "client", workflow="edit", complete_when="explicit")
    edit = story.delivered("editor", "run.started")
    story.send("StartChild", "editor", handling=edit, workflow="check", complete_when="explicit", child_run_id=CHECK)
    story.on(EDIT).send("FailRun", "client", reason="stop it all")

    found = post_mortem(story, CHECK)

    assert found.verdict == "cancelled"
    assert found.first_cause is not None
    assert (found.first_cause.kind, found.first_cause.run_id) == ("RunFailed", EDIT)


def test_a_substitute_is_told_with_what_it_stands_in_for() -> None:
    """The run completed, and yet not with what was asked for."""
    story, job = searching()
    call = story.send("CallCapability", "searcher", handling=job, capability="web_search", params="{}")
    story.attempt(call, 1, "brave", error_class="outage", error_message="503")
    story.outcome(call, result="{}", provider="", degraded=True, attempts=1, report=REPORT)
    story.send("CompleteHandler", "searcher", handling=job, attempt=1)

    found = post_mortem(story)

    assert (found.verdict, kinds(found.chain)) == ("degraded", ["AttemptFailed", "CallCompleted"])
    assert found.tried[0].outcome == "degraded"
    assert found.next_steps == [ADVICE]


def test_what_was_redriven_is_no_trouble_any_more() -> None:
    """The call that was made anew stands for the one that failed."""
    story, job = searching()
    call = failed_search(story, job)
    assert post_mortem(story).verdict == "troubled"

    story.send("RedriveCall", "client", capability="", dead_call_id=call.command_id)

    found = post_mortem(story)
    assert found.verdict == "recovered"
    assert found.tried[0].outcome == "redriven"
    assert found.next_steps == []


def test_a_fallback_is_recovery_and_a_run_without_failure_is_well() -> None:
    """Nothing to do in either."""
    found = post_mortem(article())
    assert (found.verdict, found.next_steps) == ("recovered", [])
    assert (found.tried[0].attempts, found.tried[0].outcome) == (
        ["brave: rate_limited: 429, try in 3 s", "corpus: succeeded"], "recovered"
    )  # fmt: skip

    story, job = searching()
    story.send("CompleteHandler", "searcher", handling=job, attempt=1)
    well = post_mortem(story)
    assert (well.verdict, well.first_cause, well.chain, well.tried) == ("well", None, [], [])


STEPS = st.lists(
    st.sampled_from(["call", "failed call", "substitute", "refused", "fail", "fail quoting", "publish", "done", "end"]),
    max_size=25,
)


def told(steps: Sequence[str]) -> Story:
    """A run of any course: two agents that set each other off, and what may happen to either."""
    story = Story(RUN)
    for name in ("a", "b"):
        story.register(name, ["run.started", "again"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit")
    for number, step in enumerate(steps):
        run = story.book.runs.get(RunId(RUN))
        if run is None or not run.deliveries:
            break
        open_ = list(run.deliveries.items())
        delivery_id, delivery = open_[number % len(open_)]
        job = next(
            fact
            for fact in reversed(story.facts)
            if isinstance(fact, MessageEvent) and (fact.kind, fact.delivery_id) == ("MessageDelivered", delivery_id)
        )
        _do(story, job, step, delivery.attempt)
    return story


def _do(story: Story, job: MessageEvent, step: str, attempt: int) -> None:
    who = job.recipient
    if step in ("call", "failed call", "substitute"):
        call = story.send("CallCapability", who, handling=job, capability="web_search", params="{}")
        story.attempt(call, 1, "brave", error_class="outage", error_message="503", cost_nano_usd=3)
        if step == "failed call":
            story.outcome(call, error_class="outage", error_code="outage", error_message="all down", report=REPORT)
        else:
            story.attempt(call, 2, "corpus", cost_nano_usd=4)
            story.outcome(call, result="{}", provider="corpus", degraded=step == "substitute", attempts=2)
    elif step == "refused":
        story.send("SetState", who, handling=job, key="x", value="1", guarded=True, expected_version=99)
    elif step in ("fail", "fail quoting"):
        text = "all down" if step == "fail quoting" else "'x'"
        story.send("FailHandler", who, handling=job, attempt=attempt, error_type="E", error_message=text)
    elif step == "publish":
        story.send("Publish", who, handling=job, name="again", data="{}")
    elif step == "done":
        story.send("CompleteHandler", who, handling=job, attempt=attempt)
    else:
        story.send("FailRun", who, handling=job, reason="enough")


def naive_closure(events: Sequence[Event], ends: Sequence[str]) -> set[str]:
    """All that the ends rest on, by going over every pair until nothing is new."""
    causes = FailureCauses(events)
    pairs = {(event.event_id, cause.event_id) for event in events for cause in causes.of(event)}
    found = set(ends)
    while fresh := {cause for event, cause in pairs if event in found and cause not in found}:
        found |= fresh
    return found


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_first_cause_is_the_earliest_and_each_step_rests_on_the_one_before(steps: list[str]) -> None:
    """Whatever happens in a run: as a naive walk over all pairs of facts has it; money is counted once."""
    story = told(steps)
    events = events_of(story)
    causes = FailureCauses(events)
    found = post_mortem(story)

    assert all(failing(cause) and cause.run_seq < event.run_seq for event in events for cause in causes.of(event))
    assert (found.first_cause is None) == (not any(map(failing, events))) == (found.verdict == "well")
    if found.first_cause is None:
        return
    assert found.chain[0] == found.first_cause
    assert all(before in causes.of(after) for before, after in zip(found.chain, found.chain[1:], strict=False))
    if found.verdict == "failed":
        assert found.chain[-1].kind == "RunFailed"
        behind = naive_closure(events, [found.chain[-1].event_id])
        assert found.first_cause.run_seq == min(event.run_seq for event in events if event.event_id in behind)
    assert {event.event_id for event in found.spread}.isdisjoint(event.event_id for event in found.chain)
    assert 0 <= found.wasted_nano_usd <= found.cost_nano_usd
    assert (
        found.lost_nano_usd
        <= found.cost_nano_usd
        == sum(event.cost_nano_usd for event in events if event.provider and event.attempt)
    )


def test_a_report_that_is_none_takes_nothing_away() -> None:
    """What the executor did not write itself may say anything; the facts are told all the same."""
    story, job = searching()
    failed_search(story, job)
    events = related(RUN, Remembered(events_of(story)).events)
    without = explain(RUN, events, {})
    for text in ("<script>", "[1]", "null", '"text"', '{"attempts":'):
        assert explain(RUN, events, {fact.event_id: text for fact in story.facts}) == without
