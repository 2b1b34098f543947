"""``backplane demo``, run for real: what it says of its run is what lies in Kafka, in the store and on the disk."""

# long because: one run of the demo, and every sentence it says held against it

from __future__ import annotations

import copy
import hashlib
import html
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from agents_sdk import Settings
from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact, RunEvent, StateEvent
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.store.queries import connect_store
from tests.support.eventually import assert_eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
DEMO: Final = [sys.executable, "-m", "backplane.cli.app", "demo"]
KEYS: Final = {"run_id", "status", "page", "facts", "rows", "cost_nano_usd", "fallbacks", "replay", "seconds"}
DOCUMENTS: Final = {
    "log.md": "# Logs\n\nAn event log is an ordered sequence of records that only grows at its end. Every record in a"
    " log has an offset, and readers remember the offset up to which they have read. Several readers follow the same"
    " log at their own pace without disturbing each other.\n",
    "sourcing.txt": "Event sourcing keeps every change to the state of an application as an event in a log. The present"
    " state is computed by folding the events from the first to the last one. An audit of the application reads the"
    " same events that produced its state.\n",
    "streams.html": "<html><body><h1>Streams</h1><p>Stream processing computes results from events while the events"
    " arrive in a log. A stream processor keeps its state in tables, and each table can be rebuilt from the log of its"
    " changes.</p><script>alert('Scripts hold no prose about event logs at all.')</script></body></html>",
}


@dataclass
class Shown:
    """One demo: what it printed, and what its run left."""

    document: dict[str, Any]
    facts: list[Fact]
    rows: int
    settings: Settings

    def values(self, key: str) -> list[Any]:
        """The values a state key had, the oldest first."""
        return [json.loads(f.value) for f in self.of(StateEvent, "StateWritten") if f.key == key]

    def of(self, kind_of: type[Any], kind: str) -> list[Any]:
        """The facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind_of) and fact.kind == kind]


def demo(settings: Settings, *options: str) -> Shown:
    """Runs it on a platform that runs, and reads what it left by other ways than the demo's own."""
    argv = [*DEMO, "--json", "--data-dir", str(settings.data_dir), *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    # what was refused before its sender was known is about the run, and not in its record
    read = read_run(settings, connect_codec(settings), document["run_id"], whole=True)
    facts = [fact for fact in read if fact.run_seq]
    client = connect_store(settings)
    rows = client.query(
        "SELECT count() FROM events WHERE run_id = {run:String}", parameters={"run": document["run_id"]}
    ).result_rows[0][0]
    return Shown(document, facts, int(rows), settings)


@pytest.fixture(scope="module")
def by_default(platform: Any) -> Shown:
    """About the distributions that are installed here."""
    return demo(platform.settings)


@pytest.fixture(scope="module")
def of_folder(platform: Any, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """About a small folder of Markdown, text and HTML."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    return demo(platform.settings, "--corpus", str(folder), "--topic", "event logs")


def faults(shown: Shown) -> list[str]:
    """Keys of the document that do not fit the facts, the rows and the files."""
    return [name for name, fits in CHECKS.items() if not _holds(fits, shown)]


def _holds(fits: Callable[[Shown], bool], shown: Shown) -> bool:
    try:
        return fits(shown)
    except (LookupError, OSError, TypeError, ValueError, AttributeError):
        return False


def _page(shown: Shown) -> bool:
    """It is the page that the run wrote, whole: title, hero image, every paragraph, every source that is named."""
    path = Path(shown.document["page"])
    text = path.read_text()
    told, draft = shown.values("page")[-1], shown.values("draft")[-1]
    hero = re.search(r'<img src="([^"]+)"', text)
    cited = {source for paragraph in draft["paragraphs"] for source in paragraph["sources"]}
    listed = set(re.findall(r'<span class="id">([^<]+)</span>', text))
    return (
        told["path"] == str(path)
        and told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        and hero is not None
        and (path.parent / hero[1]).read_bytes().startswith(b"\x89PNG")
        and all(_words(paragraph["text"]) in _words(text) for paragraph in draft["paragraphs"])
        and {html.unescape(identity) for identity in listed} == cited != set()
    )


def _words(text: str) -> str:
    """Letters only: publishing makes typography of the rest."""
    return re.sub(r"[^a-z]", "", html.unescape(re.sub(r"<[^>]+>", " ", text)).lower())


def _fallbacks(shown: Shown) -> bool:
    refused = [f for f in shown.of(AttemptEvent, "AttemptFailed") if f.error_class == "rate_limited"]
    saved = [
        done
        for done in shown.of(CallEvent, "CallCompleted")
        if any(f.call_id == done.call_id and f.provider != done.provider for f in refused)
    ]
    return all("429" in f.error_message for f in refused) and shown.document["fallbacks"] == len(saved) >= 1


def _replay(shown: Shown) -> bool:
    recorded = shown.of(RunEvent, "RunCompleted")[0].state_hash
    return shown.document["replay"] == {"identical": True, "state_hash": recorded} and bool(recorded)


def _drafts(shown: Shown) -> bool:
    """Two: the reviewer sent the first one back, by a message to its author."""
    returned = [f for f in shown.facts if f.kind == "MessageSent" and getattr(f, "name", "") == "draft.returned"]
    return (
        shown.document["drafts"] == len(shown.values("draft")) == 2
        and len(returned) == 1
        and returned[0].agent == "review_agent"
    )


def _lineage(shown: Shown) -> bool:
    """The paragraph is the draft's, its source was found, and each hop is a record in Kafka by the agent named."""
    told = shown.document["lineage"]
    paragraph = next(p for p in shown.values("draft")[-1]["paragraphs"] if p["id"] == told["paragraph"])
    searches = [f for f in shown.of(CallEvent, "CallCompleted") if f.capability == "web_search"]
    found = {hit["id"] for search in searches for hit in json.loads(search.result)["hits"]}
    kept = {source["id"] for source in shown.values("research_findings")[-1]["sources"]}
    hops = [hop for hop in told["hops"] if hop["at"]]
    return (
        paragraph["text"] == told["text"]
        and told["source"] in set(paragraph["sources"]) & kept & found
        and told["source"] in told["hops"][-1]["what"]
        and [hop["agent"] for hop in hops] == ["publish_agent", *["content_agent"] * 2, *["research_agent"] * 2]
        and all(_in_kafka(shown, hop) for hop in hops)
    )


def _in_kafka(shown: Shown, hop: dict[str, str]) -> bool:
    place = re.fullmatch(r"(.+)\[(\d+)\]@(\d+)", hop["at"])
    assert place is not None
    config = {"group.id": "test", "isolation.level": "read_committed", **shown.settings.kafka}
    consumer = Consumer(config)
    try:
        consumer.assign([TopicPartition(place[1], int(place[2]), int(place[3]))])
        message = consumer.poll(10)
    finally:
        consumer.close()
    assert message is not None
    fact: Any = connect_codec(shown.settings).decode(message.value())
    # the outcome of a call is the executor's word; the request before it was the agent's
    asked = {f.call_id: f.agent for f in shown.of(CallEvent, "CallRequested")}
    agent = asked.get(getattr(fact, "call_id", ""), fact.agent)
    return bool(message.offset() == int(place[3]) and fact in shown.facts and agent == hop["agent"])


CHECKS: Final[dict[str, Callable[[Shown], bool]]] = {
    "keys": lambda shown: set(shown.document) >= KEYS,
    "status": lambda shown: shown.document["status"] == "completed" and bool(shown.of(RunEvent, "RunCompleted")),
    "page": _page,
    "facts": lambda shown: shown.document["facts"] == len(shown.facts) > 0,
    "rows": lambda shown: shown.document["rows"] == shown.rows == len(shown.facts),
    "cost_nano_usd": lambda shown: (
        shown.document["cost_nano_usd"]
        == sum(f.cost_nano_usd for f in shown.facts if isinstance(f, AttemptEvent))
        == sum(f.cost_nano_usd for f in shown.of(CallEvent, "CallCompleted"))
        > 0
    ),
    "fallbacks": _fallbacks,
    "replay": _replay,
    "drafts": _drafts,
    "lineage": _lineage,
    "doubts": lambda shown: shown.document["doubts"] == [],
    "seconds": lambda shown: 0 < shown.document["first_event_seconds"] < shown.document["seconds"] < 300,
}


def test_the_demo_says_what_is_true(by_default: Shown) -> None:
    """Every key of its document fits the facts in Kafka, the rows in the store and the files."""
    assert faults(by_default) == []


def test_all_five_agents_worked(by_default: Shown) -> None:
    """Research, content, review, media and publish each handled a message to its end."""
    handled = {fact.agent for fact in by_default.facts if fact.kind == "HandlerCompleted"}
    agents = {"research_agent", "content_agent", "review_agent", "media_agent", "publish_agent"}
    assert handled == agents


def test_the_agents_ran_in_two_processes(by_default: Shown) -> None:
    """Each process told who is in it."""
    logs = by_default.settings.data_dir / "logs"
    said = [(logs / f"demo-{name}.log").read_text() for name in ("newsroom", "press")]
    assert "agents: ready: research_agent, content_agent, review_agent" in said[0]
    assert "agents: ready: media_agent, publish_agent" in said[1]


def test_the_demo_writes_from_a_folder(of_folder: Shown) -> None:
    """All holds for the user's own documents; only they are named as sources, and no script is prose."""
    assert faults(of_folder) == []
    cited = {s for p in of_folder.values("draft")[-1]["paragraphs"] for s in p["sources"]}
    assert cited == set(DOCUMENTS)
    assert "alert" not in Path(of_folder.document["page"]).read_text()


def test_one_document_is_enough(platform: Any, tmp_path: Path) -> None:
    """The smallest corpus there is gives a page, and the fallback happens on the way all the same."""
    (tmp_path / "log.md").write_text(DOCUMENTS["log.md"])
    assert faults(demo(platform.settings, "--corpus", str(tmp_path), "--topic", "event logs")) == []


def test_a_topic_that_no_document_is_about_is_told(platform: Any, tmp_path: Path) -> None:
    """No page, exit code 1, and why: in words for a person. Nothing else is wrong with such a run."""
    (tmp_path / "log.md").write_text(DOCUMENTS["log.md"])
    where = ["--data-dir", str(platform.settings.data_dir), "--corpus", str(tmp_path)]
    argv = [*DEMO, *where, "--topic", "zxqvw"]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    document = subprocess.run([*argv, "--json"], capture_output=True, text=True, timeout=120, check=False)

    assert (told.returncode, document.returncode) == (1, 1), told.stderr
    assert "said 'no document is about “zxqvw”'\nhint: another --topic" in told.stderr
    assert "warning" not in told.stderr
    assert "none was published" in told.stdout
    found = json.loads(document.stdout)
    assert (found["status"], found["page"], found["doubts"]) == ("failed", "", [])
    assert found["said"] == "no document is about “zxqvw”"


def test_the_corpus_is_as_it_was_afterwards(of_folder: Shown) -> None:
    """The platform's own choice of documents, and of a search service, outlives a demo."""
    assert not (of_folder.settings.data_dir / "corpus.path").exists()
    assert not (of_folder.settings.data_dir / "search_server.url").exists()


BREAKS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "keys": lambda told: told.pop("seconds"),
    "status": lambda told: told.update(status="failed"),
    "page": lambda told: told.update(page=str(Path(told["page"]).with_name("other.html"))),
    "facts": lambda told: told.update(facts=told["facts"] + 1),
    "rows": lambda told: told.update(rows=told["rows"] - 1),
    "cost_nano_usd": lambda told: told.update(cost_nano_usd=told["cost_nano_usd"] + 1),
    "fallbacks": lambda told: told.update(fallbacks=0),
    "replay": lambda told: told["replay"].update(identical=False),
    "drafts": lambda told: told.update(drafts=1),
    "lineage": lambda told: told["lineage"].update(source="pkg:pypi/nothing@0"),
    "doubts": lambda told: told["doubts"].append("the replay differs"),
    "seconds": lambda told: told.update(first_event_seconds=told["seconds"] + 1),
}


@pytest.mark.parametrize("key", CHECKS)
def test_a_false_document_is_found(by_default: Shown, key: str) -> None:
    """Each check can fail: change what the demo says, and it is named."""
    false = Shown(copy.deepcopy(by_default.document), by_default.facts, by_default.rows, by_default.settings)
    BREAKS[key](false.document)

    assert key in faults(false)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("status", "RunCompleted"),
        ("facts", "StateRead"),
        ("cost_nano_usd", "AttemptSucceeded"),
        ("fallbacks", "AttemptFailed"),
        ("drafts", "MessageSent"),
        ("lineage", "CallCompleted"),
    ],
)
def test_a_run_that_lacks_facts_is_found(by_default: Shown, key: str, kind: str) -> None:
    """Each check looks at the facts: take some away, and the document does not fit them any more."""
    fewer = [fact for fact in by_default.facts if fact.kind != kind]

    assert key in faults(Shown(by_default.document, fewer, by_default.rows, by_default.settings))


def test_a_hop_into_nowhere_is_found(by_default: Shown) -> None:
    """The lineage is looked up in Kafka: a hop that names another record is found."""
    false = copy.deepcopy(by_default.document)
    topic, _, offset = false["lineage"]["hops"][0]["at"].rpartition("@")
    false["lineage"]["hops"][0]["at"] = f"{topic}@{int(offset) - 1}"

    assert faults(Shown(false, by_default.facts, by_default.rows, by_default.settings)) == ["lineage"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    """A data directory without a platform; afterwards nothing that names it may run."""
    yield tmp_path / "data"
    assert_eventually(lambda: _nobody(tmp_path / "data"))


def _nobody(data_dir: Path) -> None:
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    left = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if p.pid not in own and any(str(data_dir) in part for part in p.info["cmdline"] or ())
    ]
    assert left == []


def test_without_a_platform_it_brings_its_own_and_leaves_nothing_running(alone: Path) -> None:
    """From an empty data directory to a page, for a person: the parts of the story in their order; then silence."""
    done = subprocess.run(
        [*DEMO, "--data-dir", str(alone), "--topic", "event streaming"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "FORCE_COLOR": "1"},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    places = [done.stdout.index(f"\n{title}") for title in ("Page", "Timeline", "Cost", "Lineage", "Replay")]
    assert places == sorted(places)
    assert "fallback from corpus_search_primary" in done.stdout
    assert "HTTP 429" in done.stdout
    assert "identical: " in done.stdout
    assert "\x1b" not in done.stdout
    assert "research_agent  corpus_search_primary: rate limited" in done.stderr
    _nobody(alone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_interrupted_on_the_way_up_it_ends_with_all_it_started(alone: Path, number: signal.Signals) -> None:
    """Within seconds, without a traceback, and nothing is left running."""
    process = subprocess.Popen(
        [*DEMO, "--data-dir", str(alone)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert_eventually(lambda: _kafka_starts(alone), limit_s=60)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert (out, "Traceback" in err) == ("", False)
    _nobody(alone)


def _kafka_starts(data_dir: Path) -> None:
    record = json.loads((data_dir / "platform.json").read_text()) if (data_dir / "platform.json").exists() else {}
    assert record.get("parts", {}).get("kafka", {}).get("pid")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--corpus", "{empty}"], "no document in"),
        (["--corpus", "{empty}/nowhere"], "does not exist"),
        (["--topic", " "], "the topic is empty"),
    ],
)
def test_wrong_use_is_refused_before_anything_starts(
    alone: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    """Wrong use is told at once: exit code 2, what is wrong, and no platform."""
    (tmp_path / "empty").mkdir()
    argv = [*DEMO, "--data-dir", str(alone), *(option.format(empty=tmp_path / "empty") for option in options)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not alone.exists()


def test_agents_that_end_are_told_with_what_they_said(platform: Any, tmp_path: Path) -> None:
    """A demo whose agents cannot run says so, with their log, instead of waiting for ever."""
    agents = tmp_path / "content"
    agents.mkdir()
    for name in ("newsroom", "press"):
        (agents / f"{name}.py").write_text("raise SystemExit('no paper today')\n")
    program = (
        "import pathlib, sys\n"
        "from backplane.cli.demo import stage\n"
        f"stage.content = lambda: pathlib.Path({str(agents)!r})\n"
        "from backplane.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    argv = [sys.executable, "-c", program, "demo", "--data-dir", str(platform.settings.data_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1
    assert "newsroom ended" in done.stderr or "press ended" in done.stderr
    assert "no paper today" in done.stderr
