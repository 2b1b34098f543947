"""``backplane sql|cost|runs|run|lineage`` against the real engine, as a person in a pipe and as a program."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from backplane.cli.output import ExitCode
from tests.integration.sink.conftest import Database, Done
from tests.support.family_story import CHECK, EDIT, family
from tests.support.stories import article, records
from tests.unit.insight.test_lineage import HERO, illustrated

STORY = article()
RUN = STORY.run_id


@pytest.fixture
def backplane(database: Database, commands: Callable[..., Done]) -> Callable[..., Done]:
    """Runs a command line on a store that has one run."""
    database.writer.write(database.writer.prepare(records(STORY.facts)))
    return commands


def test_cost_by_each_has_one_total(backplane: Callable[..., Done]) -> None:
    """The table and the document say the same, to the nano-dollar, unpriced attempts beside it."""
    for by in ("agent", "capability", "provider"):
        document = backplane("cost", RUN, "--by", by, "--json").json
        assert (document["cost_nano_usd"], document["unpriced"], document["complete"]) == (3_750_001, 1, True)
        assert sum(row["cost_nano_usd"] for row in document["rows"]) == 3_750_001

    told = backplane("cost", "last")
    assert told.out.splitlines()[1].split("\t")[:4] == ["content_agent", "$0.002250001", "1", "1"]
    assert "total $0.003750001, and 1 attempt without a price" in told.err


def test_runs_are_listed(backplane: Callable[..., Done]) -> None:
    """One line a run."""
    [row] = backplane("runs", "--json").json
    assert (row["run_id"], row["status"], row["cost_nano_usd"], row["agents"]) == (RUN, "completed", 3_750_001, 3)
    assert RUN in backplane("runs", "--limit", "1").out


def test_a_run_is_told(backplane: Callable[..., Done]) -> None:
    """In a pipe each line is whole, without colour and without trailing blanks."""
    told = backplane("run", RUN[:8])

    assert told.code == ExitCode.OK
    assert "\x1b" not in told.out
    assert all(line == line.rstrip() for line in told.out.splitlines())
    assert "calls web_search → corpus, fallback from brave" in told.out
    assert told.out.splitlines()[0].split() == [RUN, "content", "completed"]


def test_a_run_is_told_as_a_tree_with_its_child_runs(database: Database, backplane: Callable[..., Done]) -> None:
    """Each line below what caused it; a document has every fact, of both runs, with the one above it."""
    story = family()
    database.writer.write(database.writer.prepare(records(story.facts, partition=1)))

    lines = backplane("run", EDIT, "--tree").out.splitlines()
    depth = {line.strip(): len(line) - len(line.lstrip()) for line in lines}
    started = next(line for line in depth if "starts check as" in line)
    child = next(line for line in depth if line.endswith(f"in run {CHECK}") and "run of check started" in line)
    searched = next(line for line in depth if "calls document_search → corpus" in line)
    assert depth[started] < depth[child] < depth[searched]
    assert list(depth).index(started) < list(depth).index(child) < list(depth).index(searched)

    events = backplane("run", EDIT, "--tree", "--json").json["events"]
    known = {event["event_id"]: event for event in events}
    assert len(known) == len(events) == sum(fact.run_id in (EDIT, CHECK) for fact in story.facts)
    for event in events:
        assert event["depth"] == (known[event["below"]]["depth"] + 1 if event["below"] else 0)
    assert backplane("run", RUN, "--timeline").out == backplane("run", RUN).out


def test_a_run_as_a_document_has_all_its_facts(backplane: Callable[..., Done]) -> None:
    """In order, without gaps."""
    document = backplane("run", RUN, "--json").json

    assert [event["run_seq"] for event in document["events"]] == list(range(1, document["facts"] + 1))


def test_lineage_leads_down_and_to_a_graph(backplane: Callable[..., Done]) -> None:
    """What came of a value; and both ways as a graph whose arrows lead from cause to effect."""
    document = backplane("lineage", RUN, "brief", "--down", "--json").json
    assert (document["direction"], document["root"]["state"]) == ("down", "brief@1")
    assert "web_search" in json.dumps(document["root"]["led_to"])

    for way in ("--up", "--down"):
        graph = backplane("lineage", RUN, "research_findings", way, "--dot").out
        assert graph.startswith("digraph lineage {")
        names = {line.split('"')[1] for line in graph.splitlines() if "[label=" in line and "->" not in line}
        arrows = [(parts[1], parts[3]) for line in graph.splitlines() if "->" in line for parts in [line.split('"')]]
        assert arrows
        assert {end for arrow in arrows for end in arrow} == names


def test_lineage_of_a_file_leads_to_the_call_that_made_it_and_to_what_came_of_it(
    database: Database, backplane: Callable[..., Done]
) -> None:
    """In whichever run it is, or in one; as a tree and as a graph whose ends all have names."""
    story = illustrated()
    database.writer.write(database.writer.prepare(records(story.facts, partition=1)))
    file = f"artifact:{HERO}"

    up = backplane("lineage", file, "--json").json["root"]
    assert (up["state"], up["event"]) == (file, None)
    [made] = up["rests_on"]
    assert (made["relation"], made["run_id"], made["event"]["provider"]) == ("called", story.run_id, "pillow")
    assert "brief@1" in {below["state"] for below in made["rests_on"]}

    told = backplane("lineage", file, "--down").out
    assert told.startswith(file)
    assert "wrote film@1  by director" in told
    assert told.count("called image_generation → pillow") == told.count("called video_generation → ffmpeg") == 1
    assert backplane("lineage", story.run_id, file, "--down").out == told
    assert f'"{file}"' in backplane("lineage", file, "--dot").out
    assert backplane("lineage", RUN, file).code == ExitCode.NOT_FOUND


def test_lineage_leads_to_a_provider(backplane: Callable[..., Done]) -> None:
    """As a tree with each fact's place in Kafka, and as a document with one path."""
    told = backplane("lineage", RUN, "article@1").out
    document = backplane("lineage", RUN, "article", "--json").json

    assert told.startswith("wrote article@1  by content_agent")
    assert "tried openai small-4  bp.attempts[0]@" in told
    assert document["path"][0] == document["root"]["event"]["event_id"]
    assert len(document["path"]) == 4


def test_sql_in_each_format(backplane: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows as asked; a FORMAT in the statement wins; a dash reads the statement."""
    ask = "SELECT kind, count() AS n FROM events WHERE kind LIKE 'Attempt%' GROUP BY kind ORDER BY kind"

    assert backplane("sql", ask).out == "kind\tn\nAttemptFailed\t1\nAttemptSucceeded\t3\n"
    assert backplane("sql", ask, "--json").json == [
        {"kind": "AttemptFailed", "n": 1},
        {"kind": "AttemptSucceeded", "n": 3},
    ]
    assert backplane("sql", ask, "-o", "csv").out.splitlines()[0] == '"kind","n"'
    assert json.loads(backplane("sql", ask, "-o", "jsonl").out.splitlines()[1])["n"] == 3
    assert backplane("sql", f"{ask} FORMAT TSV;").out == "AttemptFailed\t1\nAttemptSucceeded\t3\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 7 AS x"))
    assert backplane("sql", "-").out == "x\n7\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("sql", "DROP TABLE events"), ExitCode.FAILURE, "only SELECT"),
        (("sql", " "), ExitCode.USAGE, "the query is empty"),
        (("sql", "SELECT x"), ExitCode.FAILURE, "Unknown expression identifier `x`"),
        (("cost", "ffffffff"), ExitCode.NOT_FOUND, "no run 'ffffffff'"),
        (("run", "last", "--by", "agent"), ExitCode.USAGE, "--by"),
        (("lineage", "last"), ExitCode.USAGE, "backplane lineage artifact:HASH"),
        (("lineage", "artifact:12"), ExitCode.USAGE, "is no artifact"),
        (("lineage", f"artifact:{'0' * 64}"), ExitCode.NOT_FOUND, "no call made or was given"),
        (("lineage", "last", "nothing"), ExitCode.NOT_FOUND, "it wrote article, brief, research_findings, review"),
    ],
)
def test_errors_have_their_exit_code(
    backplane: Callable[..., Done], arguments: tuple[str, ...], code: ExitCode, says: str
) -> None:
    """A script learns from the code, a person from the text; nothing on stdout."""
    done = backplane(*arguments)

    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_a_run_of_which_facts_are_missing_is_not_passed_off_as_whole(
    database: Database, backplane: Callable[..., Done]
) -> None:
    """What is there is shown, and the exit code says that it is not all."""
    lost = STORY.facts[12].event_id
    database.client.command(
        f"ALTER TABLE {database.name}.events DELETE WHERE event_id = '{lost}' SETTINGS mutations_sync = 2"
    )

    done = backplane("cost", RUN, "--json")

    assert (done.code, done.json["complete"]) == (ExitCode.NOT_VERIFIED, False)
    assert "lacks 1 facts" in done.err


def test_migrations_and_tables_are_shown(database: Database, backplane: Callable[..., Done]) -> None:
    """All applied: 0. One that is missing, or was edited: 1, and what to do."""
    done = backplane("analytics", "status", "--json")
    assert done.code == 0
    assert {one["state"] for one in done.json["migrations"]} == {"applied"}
    assert {one["name"]: one["rows"] for one in done.json["tables"]}["events"] == len(STORY.facts)

    database.client.command(
        f"ALTER TABLE {database.name}.migrations UPDATE sha256 = 'x' WHERE number = 1 SETTINGS mutations_sync = 2"
    )
    done = backplane("analytics", "status")
    assert done.code == ExitCode.FAILURE
    assert "0001_events\tedited" in done.out
    assert "analytics rebuild" in done.err


def test_the_statements_for_a_cluster_are_printed(backplane: Callable[..., Done]) -> None:
    """What to run on a server by hand, or to show who runs it."""
    out = backplane("analytics", "migrate", "--dry-run", "--cluster", "main").out

    assert out.count("ON CLUSTER main") == out.count(";\n\n") - out.count("INSERT INTO") > 5
    assert "ENGINE = ReplicatedMergeTree" in out


def test_the_embedded_engine_is_not_migrated_from_outside(backplane: Callable[..., Done]) -> None:
    """It does that itself, and lets nobody else write."""
    assert "migrates by itself" in backplane("analytics", "migrate").err


def test_books_are_checked_without_kafka_too(database: Database, backplane: Callable[..., Done]) -> None:
    """0 is only for books that were held against Kafka."""
    assert backplane("reconcile").code == ExitCode.NOT_VERIFIED
    database.client.command(f"INSERT INTO {database.name}.events SELECT * FROM {database.name}.events LIMIT 1")

    done = backplane("reconcile", "--json")

    assert (done.code, done.json["balanced"], done.json["kafka"]) == (ExitCode.FAILURE, False, False)
    assert "rows for" in done.err


def test_a_store_that_does_not_answer_is_told(backplane: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do next."""
    monkeypatch.setenv("BACKPLANE_CLICKHOUSE__URL", "http://127.0.0.1:1")

    done = backplane("runs")

    assert done.code == ExitCode.UNREACHABLE
    assert "hint: check `backplane status`" in done.err
