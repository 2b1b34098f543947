"""The sentence of the lineage page: who wrote a value, from what, and what set its writer off."""

from __future__ import annotations

from backplane.console.provenance import provenance_of
from backplane.insight.lineage import Lineage
from tests.support.family_story import events_of
from tests.support.stories import Story

RUN = "01930000-0000-7000-8000-000000000041"


def asking() -> Story:
    """A writer is told of a plan, asks a checker, and writes a draft."""
    story = Story(RUN)
    for name, hears in (("planner", ["run.started"]), ("writer", ["plan.ready"]), ("checker", ["check"])):
        story.register(name, hears)
    story.send("StartRun", "client", workflow="w", complete_when="explicit")
    planning = story.delivered("planner", "run.started")
    story.send("SetState", "planner", handling=planning, key="plan", value="1")
    story.send("Publish", "planner", handling=planning, name="plan.ready", data="1")
    writing = story.delivered("writer", "plan.ready")
    story.send("GetState", "writer", handling=writing, key="plan")
    story.send("Ask", "writer", handling=writing, name="check", recipient="checker", data="1")
    checking = story.delivered("checker", "check")
    story.send("SetState", "checker", handling=checking, key="checked", value="1")
    story.send("CompleteHandler", "checker", handling=checking, result="true")
    story.send("SetState", "writer", handling=writing, key="draft", value="1")
    return story


def test_what_set_the_writer_off_is_the_message_it_handles_and_no_answer_that_it_asked_for() -> None:
    """The answer came later, to a question of the writer's own."""
    root = Lineage(events_of(asking())).up("draft")
    assert root is not None
    trigger = provenance_of(root, RUN).trigger
    assert trigger is not None
    assert (trigger.kind, trigger.name, trigger.agent) == ("MessagePublished", "plan.ready", "planner")


def test_what_set_off_the_one_who_was_asked_is_the_question() -> None:
    """Seen from what it wrote."""
    root = Lineage(events_of(asking())).up("checked")
    assert root is not None
    trigger = provenance_of(root, RUN).trigger
    assert trigger is not None
    assert (trigger.kind, trigger.agent) == ("RequestSent", "writer")


def test_what_set_a_handler_off_is_told_though_what_it_read_was_set_off_by_the_same() -> None:
    """Two agents hear the same message; one reads what the other wrote."""
    story = Story(RUN)
    for name in ("first", "second"):
        story.register(name, ["run.started"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit")
    one, two = (story.delivered(name, "run.started") for name in ("first", "second"))
    story.send("SetState", "first", handling=one, key="notes", value="1")
    story.send("GetState", "second", handling=two, key="notes")
    story.send("SetState", "second", handling=two, key="draft", value="1")
    root = Lineage(events_of(story)).up("draft")
    assert root is not None
    trigger = provenance_of(root, RUN).trigger
    assert trigger is not None
    assert trigger.kind == "RunStarted"
