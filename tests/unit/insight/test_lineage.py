"""Where a value came from, walked in memory over the story of an article."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agents_sdk.core.ids import RunId
from backplane.insight.answers import Event
from backplane.insight.lineage import Lineage, Node, one_path
from tests.support.stories import Story, article


def events(story: Story) -> list[Event]:
    """The story as the store tells it."""
    names = set(Event.__struct_fields__)
    told = []
    for fact in story.facts:
        if fact.run_seq:
            fields = {name: value for name, value in msgspec.structs.asdict(fact).items() if name in names}
            told.append(Event(**fields))
    return told


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.rests_on:
        yield from walk(child)


def shape(node: Node) -> list[str]:
    """What stands directly below a node."""
    return [
        f"{child.relation} "
        f"{child.state or (child.event and (child.event.action or child.event.capability or child.event.kind))}"
        for child in node.rests_on
    ]


ARTICLE = Lineage(events(article()))


def test_a_value_rests_on_what_its_writer_read_and_called() -> None:
    """The article rests on the findings, on the model that wrote it and on the message that set the writer off."""
    root = ARTICLE.up("article")

    assert root is not None
    assert (root.agent, root.state) == ("content_agent", "article@1")
    assert shape(root) == ["read research_findings@1", "called text_generation", "triggered MessagePublished"]


def test_a_decision_stands_between_a_write_and_what_was_decided_on() -> None:
    """What a decision used is told under it, not beside it."""
    findings = ARTICLE.up("research_findings")

    assert findings is not None
    assert shape(findings) == ["decided keep_top_3", "called web_search", "triggered RunStarted"]
    assert shape(findings.rests_on[0]) == ["read brief@1"]


def test_every_attempt_stands_under_its_call() -> None:
    """The provider that failed and the one that answered are both sources of an answer's price."""
    findings = ARTICLE.up("research_findings")

    assert findings is not None
    call = next(node for node in findings.rests_on if node.relation == "called")
    assert [(node.event.provider, node.event.kind) for node in call.rests_on if node.event] == [
        ("brave", "AttemptFailed"),
        ("corpus", "AttemptSucceeded"),
    ]


def test_what_happened_after_a_write_is_no_source_of_it() -> None:
    """The reviewer's reading of the article is not among what the article rests on."""
    root = ARTICLE.up("article")

    assert root is not None
    assert root.event is not None
    rests_on = [node.event for node in walk(root) if node.event and node.relation != "called"]
    assert max(event.run_seq for event in rests_on) == root.event.run_seq


def test_nothing_is_told_twice() -> None:
    """Two ways to one fact show it once in full."""
    root = ARTICLE.up("review")

    assert root is not None
    full = [node.event.event_id for node in walk(root) if node.event and not node.repeated]
    assert len(full) == len(set(full))


def test_one_path_ends_at_a_source() -> None:
    """The path that the demo tells goes from the value, over agents, to a provider."""
    root = ARTICLE.up("review")

    assert root is not None
    path = one_path(root)
    assert [node.relation for node in path] == ["wrote", "read", "read", "called", "tried"]
    assert path[-1].event is not None
    assert path[-1].event.provider in ("brave", "corpus")


def test_what_was_never_written_has_no_lineage() -> None:
    """Neither the key nor a version of it."""
    assert ARTICLE.up("nothing") is None
    assert ARTICLE.up("article", 9) is None


def test_a_circle_of_reads_and_writes_ends() -> None:
    """Two agents that write what the other reads are walked once."""
    story = Story("01930000-0000-7000-8000-000000000002")
    story.register("a", ["run.started", "again"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit")
    for _ in range(30):
        name = "again" if story.book.runs[RunId(story.run_id)].completed else "run.started"
        job = story.delivered("a", name)
        story.send("GetState", "a", handling=job, key="x")
        story.send("SetState", "a", handling=job, key="x", value="1")
        story.send("Publish", "a", handling=job, name="again", data="{}")
        story.send("CompleteHandler", "a", handling=job, attempt=1)

    root = Lineage(events(story)).up("x")

    assert root is not None
    assert root.state == "x@30"
    assert sum(1 for _ in walk(root)) < 200


def test_a_value_rests_on_the_answers_its_writer_got() -> None:
    """What another agent did to answer stands under the request."""
    story = Story("01930000-0000-7000-8000-000000000009")
    for name in ("writer", "expert"):
        story.register(name, ["run.started"] if name == "writer" else [])
    story.send("StartRun", "client", workflow="w", complete_when="idle")
    story.send("SetState", "client", key="facts", value="1")
    job = story.delivered("writer", "run.started")
    story.send("Ask", "writer", handling=job, name="clarify", recipient="expert")
    question = story.delivered("expert", "clarify")
    story.send("GetState", "expert", handling=question, key="facts")
    story.send("CompleteHandler", "expert", handling=question, attempt=1, result="7")
    story.send("SetState", "writer", handling=job, key="article", value="2")

    root = Lineage(events(story)).up("article")

    assert root is not None
    assert shape(root) == ["asked RequestAnswered", "triggered RunStarted"]
    assert shape(root.rests_on[0]) == ["read facts@1"]


HERO = "ab" * 32


def illustrated() -> Story:
    """An image is made, and elsewhere a video of it; what is published names the video."""
    story = Story("01930000-0000-7000-8000-000000000031")
    story.register("painter", ["run.started"])
    story.register("director", ["image.made"])
    story.send("StartRun", "client", workflow="w", complete_when="idle")
    story.send("SetState", "client", key="brief", value='"a log"')
    job = story.delivered("painter", "run.started")
    story.send("GetState", "painter", handling=job, key="brief")
    story.send("SetState", "painter", handling=job, key="plan", value="1")
    image = story.send("CallCapability", "painter", handling=job, capability="image_generation", params="{}")
    story.attempt(image, 1, "pillow")
    made = f'{{"mime":"image/png","sha256":"{HERO}","size":3,"uri":"artifact:{HERO}"}}'
    story.outcome(image, result=made, provider="pillow", attempts=1)
    story.send("Publish", "painter", handling=job, name="image.made", data=f'"artifact:{HERO}"')
    filming = story.delivered("director", "image.made")
    given = f'{{"frame":"artifact:{HERO}"}}'
    video = story.send("CallCapability", "director", handling=filming, capability="video_generation", params=given)
    story.attempt(video, 1, "ffmpeg")
    story.outcome(video, result="{}", provider="ffmpeg", attempts=1)
    story.send("SetState", "director", handling=filming, key="film", value="1")
    return story


def test_a_call_rests_on_the_files_it_was_given() -> None:
    """The film rests on the image, and through it on the brief that the painter had read; told once."""
    root = Lineage(events(illustrated())).up("film")

    assert root is not None
    call = next(node for node in root.rests_on if node.relation == "called")
    assert [child.relation for child in call.rests_on] == ["tried", "given"]
    assert shape(call.rests_on[1]) == ["tried image_generation", "read brief@1", "triggered RunStarted"]
    full = [
        node.event.event_id for node in walk(root) if node.event and not node.repeated and node.relation != "called"
    ]
    assert len(full) == len(set(full))


def test_a_call_can_be_asked_about_like_a_value() -> None:
    """By its outcome: its attempts, and what its caller had read before."""
    told = events(illustrated())
    [image] = [event for event in told if event.kind == "CallCompleted" and event.artifacts == [HERO]]

    root = Lineage(told).up_from(image.event_id)

    assert root is not None
    assert (root.relation, root.agent) == ("called", "painter")
    assert shape(root) == ["tried image_generation", "read brief@1", "triggered RunStarted"]
