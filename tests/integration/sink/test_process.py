"""The sink as a process on a real Kafka: what it does when Kafka is not what the store remembers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import httpx
import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from agents_sdk.settings import Settings
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import run as run_command
from backplane.insight import answers
from backplane.insight.verify import verify
from backplane.platform.platform import LocalPlatform
from backplane.runtime.clients import producer, reader
from backplane.topics.apply import apply_topics
from tests.support.eventually import assert_eventually
from tests.support.prepared import Prepared
from tests.support.sinks import SinkProcess, committed
from tests.support.stories import Story, article

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[Settings]:
    """A broker of this module alone: it deletes facts and a topic, and each sink takes all facts there are."""
    with LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("facts")), parts=("kafka", "registry", "topics")
    ) as running:
        yield running.settings


@pytest.fixture
def sink(settings: Settings, tmp_path: Path) -> Iterator[SinkProcess]:
    with SinkProcess(settings, tmp_path / "data") as running:
        running.wait_until_caught_up()
        yield running


def tell(settings: Settings) -> Story:
    """A run of its own in Kafka."""
    story = article(str(uuid.uuid4()), int(time.time() * 1_000_000))
    codec, out = connect_codec(settings), producer(settings.kafka)
    for fact in story.facts:
        out.produce(TOPIC_OF_FACT[type(fact)], key=fact.run_id, value=codec.encode(fact))
    assert out.flush(30) == 0
    return story


def test_facts_become_visible_and_lag_goes_back_to_nothing(settings: Settings, sink: SinkProcess) -> None:
    """A run that was just written is there a moment later, whole."""
    story = tell(settings)

    def there() -> None:
        [(rows,)] = sink.rows(f"SELECT count() FROM events WHERE run_id = '{story.run_id}'")
        assert rows == sum(fact.run_id == story.run_id for fact in story.facts)

    assert_eventually(there)
    assert sink.wait_until_caught_up()["lost"] == 0


def test_a_stop_is_orderly_and_the_next_start_goes_on(settings: Settings, sink: SinkProcess) -> None:
    """SIGTERM ends it with 0; what came meanwhile is taken up, nothing twice."""
    tell(settings)
    assert sink.stop() == 0
    tell(settings)

    sink.start().wait_until_caught_up()

    assert sink.rows("SELECT count(), uniqExact(topic, partition, offset) FROM events") == [
        (len(committed(settings)),) * 2
    ]


def test_the_group_shows_how_far_the_store_is(settings: Settings, sink: SinkProcess) -> None:
    """Tools that know only consumer groups see the lag too."""
    tell(settings)
    sink.wait_until_caught_up()

    stored = sink.rows("SELECT topic, partition, max(offset) FROM events GROUP BY topic, partition")
    group = reader(settings.kafka, group_id="bp.sink")

    def committed_offsets() -> None:
        places = [TopicPartition(topic, number) for topic, number, _ in stored]
        found = {(one.topic, one.partition): one.offset for one in group.committed(places, timeout=10)}
        assert stored
        assert all(found[topic, number] > at for topic, number, at in stored)

    assert_eventually(committed_offsets)
    group.close()


def test_facts_deleted_before_they_were_read_are_told(settings: Settings, sink: SinkProcess) -> None:
    """Retention that overtakes the sink is not passed over in silence."""
    sink.stop()
    tell(settings)
    admin = AdminClient({**settings.kafka})
    ends = {(one.topic, one.partition): one.offset + 1 for one in committed(settings) if one.topic == "bp.decisions"}
    for future in admin.delete_records([TopicPartition(*place, end) for place, end in ends.items()]).values():
        future.result(10)

    sink.start()

    assert sink.wait_until_caught_up()["lost"] >= 1
    assert "facts lost: bp.decisions" in sink.log.read_text()


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_a_store_of_another_cluster_is_refused(settings: Settings, sink: SinkProcess, *, filled: bool) -> None:
    """Offsets that Kafka does not have, or has for other records: those partitions are not read, with the reason."""
    tell(settings)
    sink.wait_until_caught_up()
    sink.stop()
    kafka = AdminClient({**settings.kafka})
    for future in kafka.delete_topics(["bp.refusals"]).values():
        future.result(10)
    assert_eventually(lambda: _gone(kafka, "bp.refusals"))
    apply_topics(settings)
    if filled:
        _fill(settings, "bp.refusals", 10)

    sink.start()

    def told() -> None:
        assert any(place.startswith("bp.refusals[") for place in sink.health().get("ahead", {}))

    assert_eventually(told, limit_s=60)
    log = sink.log.read_text()
    assert "bp.refusals" in log
    assert ("was deleted and made again" if filled else "is not read: the store has it up to offset") in log


def _fill(settings: Settings, topic: str, count: int) -> None:
    """As many records in each partition, so that the places of its readers are there."""
    story = article(str(uuid.uuid4()), int(time.time() * 1_000_000))
    codec, out = connect_codec(settings), producer(settings.kafka)
    value = codec.encode(next(fact for fact in story.facts if TOPIC_OF_FACT[type(fact)] == topic))
    for number in range(settings.topics.partitions):
        for _ in range(count):
            out.produce(topic, key="", value=value, partition=number)
    assert out.flush(30) == 0


def _gone(kafka: AdminClient, topic: str) -> None:
    assert topic not in kafka.list_topics(timeout=10).topics


def test_a_rebuilt_store_is_what_it_was(settings: Settings, sink: SinkProcess) -> None:
    """Emptied and filled again from Kafka, in other batches: the same rows in every column of both tables; and the
    books balance, as the process says itself."""
    tell(settings)
    with_poison = producer(settings.kafka)
    with_poison.produce("bp.state", key=b"x", value=b"no fact")
    with_poison.flush(30)
    sink.wait_until_caught_up()
    before = contents(sink)
    tell(settings)
    tell(settings)
    (sink.data_dir / "rebuild-store").touch()
    assert sink.stop() == 0

    sink.start().wait_until_caught_up()

    assert not (sink.data_dir / "rebuild-store").exists()
    assert "the store is emptied" in sink.log.read_text()
    assert contents(sink, before.offsets) == before
    assert_eventually(lambda: _balanced(sink), 30)


def test_what_the_store_says_is_verified_in_kafka(settings: Settings, sink: SinkProcess) -> None:
    """Every fact of a run lies where the store says, and says the same; one that was changed, or is gone, is told."""
    story = tell(settings)
    sink.wait_until_caught_up()
    client = clickhouse_connect.get_client(host="127.0.0.1", port=sink.port, database="backplane")
    told = answers.timeline(client, story.run_id)
    client.close()
    changed = msgspec.structs.replace(told[0], event_id="changed", agent="somebody")
    gone = msgspec.structs.replace(told[1], event_id="gone", offset=10**9)

    found = verify([*told, changed, gone], settings.kafka, connect_codec(settings))

    assert [one.problem for one in found[:-2]] == [""] * len(told)
    assert "'changed' in the store" in found[-2].problem
    assert "no record there" in found[-1].problem


def test_facts_are_tailed_as_with_kcat(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All facts of a run from the beginning, each partition in its order, in a format of one's own; and only some."""
    story = tell(settings)
    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", settings.kafka["bootstrap.servers"])
    monkeypatch.setenv("BACKPLANE_REGISTRY__URL", settings.registry.url)

    def tail(*arguments: str) -> list[str]:
        capfd.readouterr()
        assert run_command(["events", "tail", "-e", "--run", story.run_id, *arguments]) == 0
        return capfd.readouterr().out.splitlines()

    own = [fact for fact in story.facts if fact.run_id == story.run_id]
    told = [json.loads(line) for line in tail("-o", "beginning", "-J")]
    assert sorted(one["value"]["event_id"] for one in told) == sorted(fact.event_id for fact in own)
    runs = tail("-t", "bp.runs", "--since", "10m", "-f", r"%t %k\n")
    assert runs == [f"bp.runs {story.run_id}"] * sum(fact.kind.startswith("Run") for fact in own)
    assert len(tail("-o", "beginning", "--kind", "State*", "-c", "2", "-f", r"%o\n")) == 2
    assert tail("-o", "end") == []


class Contents(NamedTuple):
    """All rows up to some offsets, as a hash of each table."""

    offsets: dict[tuple[str, int], int]
    tables: dict[str, list[Any]]


def contents(sink: SinkProcess, offsets: dict[tuple[str, int], int] | None = None) -> Contents:
    """What the store has, up to these offsets, or of all."""
    if offsets is None:
        rows = sink.rows("SELECT topic, partition, max(offset) FROM events GROUP BY topic, partition")
        offsets = {(topic, number): at for topic, number, at in rows}
    up_to = " OR ".join(
        f"topic = '{topic}' AND partition = {number} AND offset <= {at}" for (topic, number), at in offsets.items()
    )
    tables = {
        table: sink.rows(f"SELECT count(), sum(sipHash64(*)) FROM {table} WHERE {up_to}")
        for table in ("events", "edges")
    }
    return Contents(offsets, tables)


def _balanced(sink: SinkProcess) -> None:
    books = sink.health()["books"]
    assert books is not None
    # other tests here delete facts from Kafka, and the audit notices
    assert [problem for problem in books["problems"] if "lack facts" not in problem] == []
    assert books["rows"] > 0


def test_a_store_that_is_down_stops_the_sink_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    """Facts are written as if nothing were; the sink says why it does not take them, and dies of it neither."""
    own = SinkProcess(settings, tmp_path / "data", {"BACKPLANE_CLICKHOUSE__URL": "http://127.0.0.1:1"})
    with own:

        def paused() -> None:
            said = own.health()
            assert said["status"] == "paused"
            assert "the store cannot be opened" in said["error"]

        assert_eventually(paused, 60)
        tell(settings)
        assert own.process is not None
        assert own.process.poll() is None
        assert own.stop() == 0


def test_the_store_answers_while_kafka_is_away(settings: Settings, tmp_path: Path) -> None:
    """Whoever looks for what happened does so most when something is down."""
    away = settings.model_copy(update={"kafka": {"bootstrap.servers": "127.0.0.1:1"}})
    own = SinkProcess(away, tmp_path / "data")
    with own:

        def answers() -> None:
            assert own.health()["status"] != "gone"

        assert_eventually(answers, 60)
        assert httpx.get(f"http://127.0.0.1:{own.port}/", params={"query": "SELECT 1"}).text == "1\n"
        assert own.health()["status"] != "ok"
