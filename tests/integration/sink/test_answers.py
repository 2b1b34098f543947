"""The questions, asked of the real engine over HTTP; the books balance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import msgspec
import pytest

from agents_sdk.core import facts
from agents_sdk.core.ids import RunId
from agents_sdk.errors import UnknownRun
from backplane.insight import answers, figures
from backplane.store.queries import QueryRefused, ask, query
from tests.integration.sink.conftest import Database
from tests.support.family_story import Remembered, events_of, family
from tests.support.stories import NOON, Story, article, records

FIRST = "01930000-0000-7000-8000-000000000001"
SECOND = "01930001-0000-7000-8000-000000000002"
STORIES = [article(FIRST), article(SECOND, NOON + 60_000_000)]
FACTS = [fact for story in STORIES for fact in story.facts]


@pytest.fixture
def client(database: Database, port: int) -> Iterator[Any]:
    """What another process has: a client over HTTP on a store with two runs."""
    database.writer.write(database.writer.prepare(records(FACTS)))
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    yield found
    found.close()


@pytest.mark.parametrize("run", ["", FIRST])
def test_cost_is_the_same_by_whatever_it_is_asked(client: Any, run: str) -> None:
    """Per agent, per capability and per provider add up to the leaves, attempts and unpriced ones as well."""
    leaves = [fact for fact in FACTS if isinstance(fact, facts.AttemptEvent) and run in ("", fact.run_id)]

    for by in ("agent", "capability", "provider", "model", "run", "day", "key"):
        found = answers.costs(client, by, run)
        assert sum(row.cost_nano_usd for row in found) == sum(leaf.cost_nano_usd for leaf in leaves) > 0
        assert sum(row.attempts for row in found) == len(leaves)
        assert sum(row.unpriced for row in found) == sum(not leaf.price_id for leaf in leaves) > 0


def test_a_call_counts_for_the_key_that_its_caller_wrote_next(client: Any) -> None:
    """What a value cost to make; attempts that failed count for it too."""
    found = {
        row.name: (row.cost_nano_usd, row.attempts, row.failed, row.retries)
        for row in answers.costs(client, "key", FIRST)
    }

    assert found["research_findings"] == (1_500_000, 2, 1, 1)
    assert found["article"][:2] == (2_250_001, 1)


def test_state_as_of_a_time_is_what_a_reader_then_saw(client: Any) -> None:
    """At each moment of the run, for each key the newest version written by then, as the ledger's own fold has it."""
    own = [fact for fact in FACTS if fact.run_id == FIRST]
    for moment in sorted({fact.at for fact in own}):
        wanted = {
            f.key: f.version
            for f in own
            if isinstance(f, facts.StateEvent) and f.kind == "StateWritten" and f.at <= moment
        }
        at = datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        sql = f"SELECT key, version FROM v_state_as_of(run = '{FIRST}', at = '{at}')"
        assert dict(query(client, sql).result_rows) == wanted


def test_the_agent_that_asked_pays(client: Any) -> None:
    """Attempts are the executor's commands, and the executor pays for nothing."""
    found = {row.name: row.cost_nano_usd for row in answers.costs(client, "agent", FIRST)}

    assert found == {"research_agent": 1_500_000, "content_agent": 2_250_001, "review_agent": 0}


def test_cost_view_is_exact_in_usd(client: Any) -> None:
    """Money leaves as a decimal, the last nano-dollar included."""
    [(total,)] = query(client, "SELECT toString(sum(cost_usd)) FROM v_cost").result_rows

    assert total == "0.007500002"


def test_runs_are_listed_the_newest_first(client: Any) -> None:
    """Each with its end, its facts and its cost."""
    newest, oldest = answers.runs(client)

    assert (newest.run_id, oldest.run_id) == (SECOND, FIRST)
    assert (newest.status, newest.workflow, newest.calls) == ("completed", "content", 3)
    assert newest.facts == newest.last_seq == sum(fact.run_id == SECOND for fact in FACTS)
    assert newest.cost_nano_usd == 3_750_001
    assert [row.run_id for row in answers.runs(client, 1)] == [SECOND]


def test_a_timeline_is_the_run_in_its_order(client: Any) -> None:
    """All facts of the run, none of another, by run_seq; a reader can go on where it stopped."""
    told = answers.timeline(client, FIRST)

    assert [event.event_id for event in told] == [fact.event_id for fact in FACTS if fact.run_id == FIRST]
    assert [event.run_seq for event in answers.timeline(client, FIRST, after=5, limit=3)] == [6, 7, 8]


@pytest.mark.parametrize(("text", "run"), [(FIRST, FIRST), ("01930000", FIRST), ("last", SECOND)])
def test_a_run_is_found_by_its_beginning(client: Any, text: str, run: str) -> None:
    """People type the first characters, or `last`."""
    assert answers.find_run(client, text) == run


@pytest.mark.parametrize(("text", "says"), [("0193", "several runs"), ("ffff", "no run 'ffff'")])
def test_a_run_that_is_not_one_is_told(client: Any, text: str, says: str) -> None:
    """None, or several."""
    with pytest.raises(UnknownRun, match=says):
        answers.find_run(client, text)


def test_waiting_ends_when_an_ended_run_is_whole(client: Any) -> None:
    """Facts count without gaps, so nothing needs to be asked of Kafka."""
    seen = answers.wait_for(client, FIRST, lambda: 99, timeout_s=5)

    assert seen.whole
    assert seen.ended


def test_waiting_gives_up_in_time_and_says_what_is_missing(database: Database, client: Any) -> None:
    """A fact that never comes does not hold the caller up for ever."""
    missing = FACTS[20].event_id
    database.client.command(
        f"ALTER TABLE {database.name}.events DELETE WHERE event_id = '{missing}' SETTINGS mutations_sync = 2"
    )

    seen = answers.wait_for(client, FIRST, lambda: 1, timeout_s=0.3)

    assert not seen.whole
    assert seen.last_seq - seen.facts == 1


@pytest.mark.parametrize("view", ["v_calls", "v_messages", "v_state_history", "v_lineage"])
def test_views_tell_the_story(client: Any, view: str) -> None:
    """Each view has the rows of both runs that its name promises."""
    counts = {
        "v_calls": sum(fact.kind == "CallRequested" for fact in FACTS),
        "v_messages": sum(fact.kind == "MessageDelivered" for fact in FACTS),
        "v_state_history": sum(fact.kind == "StateWritten" for fact in FACTS),
    }
    [(found,)] = query(client, f"SELECT count() FROM {view}").result_rows

    assert found == counts.get(view, found) > 0


def test_lineage_view_leads_from_a_read_to_its_writer(client: Any) -> None:
    """SQL alone walks one hop up."""
    sql = (
        "SELECT parent_event FROM v_lineage WHERE run_id = {run:String} AND relation = 'read' AND state_key = 'article'"
    )
    [(parent,)] = query(client, sql, {"run": FIRST}).result_rows

    [writer] = [
        f
        for f in FACTS
        if isinstance(f, facts.StateEvent) and f.run_id == FIRST and (f.key, f.kind) == ("article", "StateWritten")
    ]
    assert parent == writer.event_id


def test_a_call_in_its_view_has_its_outcome(client: Any) -> None:
    """Caller, provider that answered, attempts, exact cost."""
    sql = (
        "SELECT agent, status, provider, attempts, toString(cost_usd) FROM v_calls "
        "WHERE run_id = {run:String} AND capability = 'web_search'"
    )

    assert query(client, sql, {"run": FIRST}).result_rows == [("research_agent", "completed", "corpus", 2, "0.0015")]


def test_an_error_of_clickhouse_is_ours(client: Any) -> None:
    """Its code as a field, its text without the driver's wrapping."""
    with pytest.raises(QueryRefused, match="Unknown table expression identifier 'nothing'") as caught:
        query(client, "SELECT * FROM nothing")

    assert caught.value.fields["code"] == 60
    assert "url" not in str(caught.value)


def test_every_question_has_a_file_and_every_file_a_question(client: Any) -> None:
    """An SQL file that nothing asks would rot."""
    from backplane.store.queries import FOLDER

    asking = re.compile(r"\b(?:ask|question)\(\s*(?:[\w.()]+,\s*)?[\"'](\w+)[\"']")
    sources = [path.read_text() for path in (FOLDER.parents[1]).rglob("*.py")]
    asked = {name for source in sources for name in asking.findall(source)}
    files = {path.stem for path in FOLDER.glob("*.sql")}
    assert asked == files
    assert all((FOLDER / f"{name}.sql").read_text().startswith("-- ") for name in files)
    assert ask(client, "runs_like", answers.RunId, prefix="x") == []


def test_a_tree_of_runs_is_one_bill(database: Database, port: int) -> None:
    """With its children a run costs what all of them cost; a child alone what it and those below it cost; and in the
    list each stands below the one that started it."""
    third = "01930002-0000-7000-8000-000000000003"
    stories = [article(FIRST), article(SECOND, NOON + 60_000_000), article(third, NOON + 120_000_000)]
    tree = [
        msgspec.structs.replace(fact, parent_run_id=FIRST, root_run_id=FIRST) if fact.run_id == third else fact
        for story in stories
        for fact in story.facts
    ]
    database.writer.write(database.writer.prepare(records(tree)))
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)

    def cost(run: str, *, tree: bool) -> int:
        return sum(row.cost_nano_usd for row in answers.costs(client, "agent", run, tree=tree))

    alone = cost(FIRST, tree=False)
    assert (cost(FIRST, tree=True), cost(third, tree=True), cost(SECOND, tree=True)) == (2 * alone, alone, alone)
    listed = answers.by_parent(answers.runs(client))
    assert [(depth, row.run_id) for depth, row in listed] == [(0, SECOND), (0, FIRST), (1, third)]
    client.close()


def test_budgets_in_the_store_are_those_of_the_ledger(database: Database, port: int) -> None:
    """Of a run in the middle of its work: what is spent and reserved, of the run and of each agent that has a limit."""
    story = Story("01930009-0000-7000-8000-000000000009")
    declared: dict[str, Any] = {"capabilities": ["*"], "budget_nano_usd": 1_000}
    story.send("RegisterAgent", "writer", name="writer", **declared)
    story.send("RegisterAgent", "free", name="free", capabilities=["*"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit", budget_nano_usd=5_000)
    calls = [story.send("CallCapability", "writer", capability="c", budget_nano_usd=200) for _ in range(3)]
    story.send("CallCapability", "free", capability="c", budget_nano_usd=70)
    for call, cost in zip(calls, (120, 30, 0), strict=True):
        story.send("RecordAttempt", "bp.executor", call_id=call.call_id, attempt=1, capability="c", cost_nano_usd=cost)
    story.send("CompleteCall", "bp.executor", call_id=calls[0].call_id, result="1")
    children = [
        story.send("StartChild", agent, workflow="w", complete_when="idle", budget_nano_usd=300)
        for agent in ("writer", "client")
    ]
    ended = {"child_run_id": children[0].child_run_id, "status": "completed", "spent_nano_usd": 45}
    story.send("ReportChild", "bp.ledger", **ended)
    database.writer.write(database.writer.prepare(records(story.facts)))
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)

    whole, writer = answers.budgets(client, story.run_id)

    run = story.book.runs[RunId(story.run_id)]
    for purse, limit, account in ((whole, 5_000, run.account), (writer, 1_000, run.accounts["writer"])):
        assert (purse.limit_nano_usd, purse.spent_nano_usd) == (limit, account.spent)
        assert purse.reserved_nano_usd == account.reserved
        assert purse.left_nano_usd == limit - account.spent - account.reserved
    assert (writer.spent_nano_usd, writer.reserved_nano_usd) == (120 + 30 + 45, 170 + 200)
    client.close()


def test_the_archive_answers_as_a_list_of_all_facts_would(database: Database, port: int) -> None:
    """Runs, memories, and who wrote what where: the walk through families of runs rests on it."""
    story = family()
    told = events_of(story)
    database.writer.write(database.writer.prepare(records(story.facts)))
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    archive, oracle = answers.Archive(client), Remembered(told)
    try:
        for run_id in {event.run_id for event in told}:
            assert [e.event_id for e in archive.events(run_id)] == [e.event_id for e in oracle.events(run_id)]
        remembered = 0
        for run_id in ("none", *{event.run_id for event in told}):
            reads = [(event.run_id, event.key, event.version) for event in archive.memory_reads(run_id)]
            assert reads == [(event.run_id, event.key, event.version) for event in oracle.memory_reads(run_id)]
            remembered += len(reads)
        assert remembered
        for event in (*told, told[0]):
            assert archive.run_of(event.event_id) == event.run_id
        assert archive.run_of("none") == ""
        for place in (("memory/lessons", "tone", 1), ("memory/lessons", "tone", 2)):
            found, expected = archive.writer(*place), oracle.writer(*place)
            assert (found and found.event_id) == (expected and expected.event_id)
    finally:
        client.close()


def test_a_file_is_a_run_s_once_the_run_has_it(database: Database, port: int) -> None:
    """Not for the asking: an agent that looks for another run's file, which is not there, opens it to no viewer."""
    sha256 = "ab" * 32
    story = Story("0193abcd-0000-7000-8000-0000000000aa")
    story.register("scout", ["run.started"])
    story.send("StartRun", "client", workflow="w", complete_when="explicit", input="{}")
    story.send("GetState", "scout", key=f"artifacts/{sha256}")
    asked = len(story.facts)
    descriptor = {"mime": "text/plain", "sha256": sha256, "size": 1, "uri": f"artifact:{sha256}"}
    story.send("SetState", "scout", key=f"artifacts/{sha256}", value=msgspec.json.encode(descriptor).decode())
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    try:
        every = records(story.facts)
        database.writer.write(database.writer.prepare(every[:asked]))
        assert client.command(f"SELECT count() FROM events WHERE key = 'artifacts/{sha256}'") == 1
        assert not figures.has_artifact(client, sha256)
        database.writer.write(database.writer.prepare(every[asked:]))
        assert figures.has_artifact(client, sha256)
    finally:
        client.close()
