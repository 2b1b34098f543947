"""A run's timeline in people's words."""

from __future__ import annotations

import pytest

from agents_sdk.core.facts import Fact, RunEvent
from agents_sdk.core.money import dollars
from backplane.insight import wording as story
from backplane.insight.lineage import Lineage
from backplane.insight.wording import duration, lines_of, money
from tests.support.stories import Story, article
from tests.unit.insight.test_lineage import events

LINES = list(lines_of(events(article())))


def line(beginning: str) -> story.Line:
    return next(found for found in LINES if found.text.startswith(beginning))


def test_a_fallback_is_seen_at_a_glance() -> None:
    """Who answered, instead of whom, with each attempt below."""
    call = line("calls web_search")

    assert call.text == "calls web_search → corpus, fallback from brave"
    assert [(under.mark, under.text) for under in call.under] == [
        ("✗", "brave: rate_limited: 429, try in 3 s"),
        ("✓", "corpus"),
    ]
    assert (call.tone, call.cost_nano_usd) == ("warn", 1_500_000)


def test_a_call_that_went_well_takes_one_line() -> None:
    """One attempt, one answer: nothing below."""
    assert line("calls text_generation").under == []


def test_a_handler_tells_how_long_it_took() -> None:
    """From its delivery to its end."""
    assert line("handles run.started").duration_us == 77_000


def test_a_refusal_tells_the_cause() -> None:
    """Code and message of the ledger."""
    assert line("SetState refused").text.startswith(
        "SetState refused, version_conflict: state 'article' is at version 1"
    )


def test_a_run_that_fails_shows_every_attempt_at_its_handler() -> None:
    """Failures and redeliveries stand in the timeline, the end says why."""
    run = Story("01930000-0000-7000-8000-000000000003")
    run.register("a", ["run.started"])
    run.send("StartRun", "client", workflow="w", complete_when="idle")
    for attempt in (1, 2, 3):
        job = run.delivered("a", "run.started")
        run.send("FailHandler", "a", handling=job, attempt=attempt, error_type="KeyError", error_message="'x'")

    told = [found.text for found in lines_of(events(run))]

    assert [text for text in told if text.startswith("handles")] == [
        "handles run.started from client",
        "handles run.started from client, attempt 2",
        "handles run.started from client, attempt 3",
    ]
    assert "gives up on run.started after 3 attempts" in told
    assert told[-1].startswith("run failed: ")


def delegation() -> Story:
    """A handler that writes what a child run gave it, and a run that ends with one child and one delivery open."""
    run = Story("01930000-0000-7000-8000-000000000004")
    run.register("a", ["run.started"])
    run.register("b", ["run.started"])
    run.send("StartRun", "client", workflow="w", complete_when="explicit")
    job = run.delivered("a", "run.started")
    first, second = (
        run.send("StartChild", "a", handling=job, workflow="sub", complete_when="idle").child_run_id for _ in range(2)
    )
    run.send("AwaitChild", "a", handling=job, child_run_id=first)
    run.send("ReportChild", "bp.ledger", child_run_id=first, status="completed", result="7")
    run.send("SetState", "a", handling=job, key="sum", value="7")
    run.send("CancelChild", "a", handling=job, child_run_id=second, reason="enough")
    run.send("CompleteRun", "a", handling=job)
    return run


def test_child_runs_and_what_an_end_leaves_open_are_told() -> None:
    """Who was started, how it ended, and what was stopped."""
    run = delegation()
    children = [fact.child_run_id for fact in run.facts if isinstance(fact, RunEvent) and fact.kind == "ChildStarted"]
    told = "\n".join(found.text for found in lines_of(events(run)))
    for number, child in enumerate(children):
        told = told.replace(child, f"child {number}")
    assert told.splitlines()[3:] == [
        "starts sub as child 0",
        "starts sub as child 1",
        "child 0 completed",
        "writes sum@1 (1 B)",
        "cancels child 1: enough",
        "stops run.started, the run ends",
        "cancels child 1: its parent ended first: RunCompleted",
        "run completed",
    ]


def test_a_value_made_of_a_childs_result_rests_on_its_end() -> None:
    """The lineage leads to the report of the child that the handler awaited."""
    root = Lineage(events(delegation())).up("sum")
    assert root is not None
    (ended,) = [node.event for node in root.rests_on if node.relation == "delegated"]
    assert ended is not None
    assert (ended.kind, ended.status) == ("ChildEnded", "completed")


def test_every_kind_of_fact_has_words_or_is_hidden_on_purpose() -> None:
    """A new kind must not appear as its bare name by accident."""
    documented = " ".join(str(record.__doc__) for record in Fact.__subclasses__())
    known = {*story.WORDS, *story.HIDDEN}
    assert [kind for kind in known if kind not in documented] == []
    assert {fact.kind for fact in article().facts if fact.run_seq} <= known


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 ms"),
        (12_300, "12 ms"),
        (999_600, "1.0 s"),
        (3_440_000, "3.4 s"),
        (125_000_000, "2 min 5 s"),
        (18_070_000_000, "5 h 1 min"),
    ],
)
def test_duration(micros: int, text: str) -> None:
    """Short and of one unit until it is minutes."""
    assert duration(micros) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "$0.00"), (1, "$0.000000001"), (1_500_000, "$0.0015"), (2_000_000_000, "$2.00"), (-5, "-$0.000000005")],
)
def test_usd_is_exact(nano: int, text: str) -> None:
    """No float, nothing rounded away."""
    assert dollars(nano) == text


def test_money_of_nothing_is_nothing() -> None:
    """A column of zeros hides what was paid."""
    assert money(0) == ""
