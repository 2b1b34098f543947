"""Topics and schemas on a real Kafka and a real registry: applied once, left alone after, and never broken."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agents_sdk import schemas
from agents_sdk.errors import Unreachable
from agents_sdk.settings_model import Settings
from agents_sdk.wire import topics_admin
from agents_sdk.wire.foreign_schemas import ForeignSchemas
from agents_sdk.wire.registry import (
    LEVEL,
    Registry,
    SchemaRejected,
    SchemasNotApplied,
    connect_codec,
    subject,
    topic_of,
)
from agents_sdk.wire.topic_files import load_all
from backplane.platform.platform import LocalPlatform
from backplane.topics.apply import Change, SchemasIncompatible, TopicsDiffer, apply_schemas, apply_topics, partitions_of
from backplane.topics.examples import examples

pytestmark = pytest.mark.timeout(300)
DELIVERED = next(example for example in examples("MessageEvent") if example.case == "delivered")


class DryRun(NamedTuple):
    """What a dry run said of an empty broker, and what was there after it."""

    topics: list[Change]
    schemas: list[Change]
    topics_left: set[str]
    subjects_left: dict[str, list[int]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker and a registry of this module alone: others do not want its topics and schemas changed."""
    with LocalPlatform(tmp_path_factory.mktemp("empty"), parts=("kafka", "registry")) as running:
        yield running.settings


@pytest.fixture(scope="module")
def dry(empty: Settings) -> DryRun:
    """Asked before anything is applied, whichever test comes first."""
    topics, schemas = apply_topics(empty, dry_run=True), apply_schemas(empty, dry_run=True)
    left = topics_admin.existing(topics_admin.connect(empty), empty)
    return DryRun(topics, schemas, {name for name in left if name.startswith("bp.")}, registered(empty))


@pytest.fixture(scope="module")
def applied(empty: Settings, dry: DryRun) -> Settings:
    """The same broker and registry, on which both were applied."""
    apply_topics(empty)
    apply_schemas(empty)
    return empty


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a new version of a record, in a copy of schemas/."""
    root = tmp_path / "schemas"
    shutil.copytree(schemas.root(), root, ignore=shutil.ignore_patterns("examples"))

    def edit(record: str, change: Callable[[dict[str, Any]], Any], *, version: int | None = None) -> None:
        number = version or schemas.latest_version(record) + 1
        schema = copy.deepcopy(schemas.latest(record))
        change(schema)
        (root / "avro" / f"{record}.v{number}.avsc").write_text(json.dumps(schema))

    monkeypatch.setattr(schemas, "root", lambda: root)
    return edit


def registered(settings: Settings) -> dict[str, list[int]]:
    with Registry(settings) as registry:
        return {name: [each.schema_id for each in registry.versions(name)] for name in sorted(registry.subjects())}


def add(**about: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda schema: schema["fields"].append({"name": "region", "type": "string", "doc": "Where.", **about})


def test_dry_run_tells_everything_and_does_nothing(dry: DryRun) -> None:
    """On an empty broker a dry run names each topic and each schema, and makes none."""
    assert {change.name for change in dry.topics} == {file.topic for file in load_all() if not file.template}
    assert {change.name for change in dry.schemas if change.action == "register schema"} == {
        subject(topic_of(record)) for record in schemas.records()
    }
    assert (dry.topics_left, dry.subjects_left) == (set(), {})


def test_topics_are_as_their_files_say(applied: Settings) -> None:
    """Partitions, replicas and every property, as the broker itself tells them."""
    admin = topics_admin.connect(applied)
    there = topics_admin.existing(admin, applied)
    files = [file for file in load_all() if not file.template]
    configs = topics_admin.configs(admin, applied, [file.topic for file in files])
    for file in files:
        assert there[file.topic] == (partitions_of(applied, file), 1)
        assert file.broker_config(applied, 1).items() <= configs[file.topic].items()
    assert configs["bp.commands"]["message.timestamp.type"] == "LogAppendTime"
    assert configs["bp.runs"]["retention.ms"] == "-1"


def test_applying_again_changes_nothing(applied: Settings) -> None:
    """It runs at every start: no change, no id or version more."""
    before = registered(applied)
    assert apply_topics(applied) == []
    assert apply_schemas(applied) == []
    assert registered(applied) == before


def test_many_at_once_do_no_harm(applied: Settings) -> None:
    """Processes that start together all succeed, and one version is registered for each inbox."""
    before = registered(applied)
    with ThreadPoolExecutor(4) as pool:
        jobs: list[Future[Any]] = [
            pool.submit(topics_admin.ensure_inbox, applied, f"crowded-{n // 3}") for n in range(12)
        ]
        jobs += [pool.submit(apply_schemas, applied) for _ in range(2)]
        jobs += [pool.submit(apply_topics, applied) for _ in range(2)]
        for job in jobs:
            job.result()
    after = registered(applied)
    assert [len(after.pop(f"bp.inbox.crowded-{n}-value")) for n in range(4)] == [1, 1, 1, 1]
    assert after == before


def test_every_subject_is_fully_transitive(applied: Settings) -> None:
    """The registry itself refuses what breaks a reader, whoever registers it."""
    broken = copy.deepcopy(schemas.latest("RunEvent"))
    broken["fields"].append({"name": "region", "type": "string"})
    with Registry(applied) as registry:
        assert {registry.level(subject(topic_of(record))) for record in schemas.records()} == {LEVEL}
        assert not registry.accepts("bp.runs-value", broken)
        with pytest.raises(SchemaRejected):
            registry.register("bp.runs-value", broken)


def test_wire_prefix_is_the_registrys_id_and_survives(applied: Settings) -> None:
    """AvroConfluent: a zero byte and the id under which the registry gives out this very schema; a second process gets
    the same ids, so each reads what the other wrote.
    """
    first, second = connect_codec(applied), connect_codec(applied)
    seen: set[str] = set()
    foreign = ForeignSchemas(applied)
    for example in examples():
        data = first.encode(example.build())
        assert data[0] == 0
        if example.record not in seen:
            assert foreign(int.from_bytes(data[1:5], "big")) == schemas.avro(
                example.record, schemas.latest_version(example.record)
            )
            seen.add(example.record)
        assert second.decode(data) == example.build()
        assert second.encode(example.build()) == data


def test_inbox_is_like_bp_commands_and_shares_the_id_of_messages(applied: Settings) -> None:
    """An inbox has the partitions of bp.commands, its own retention, and the schema id of bp.messages."""
    assert topics_admin.ensure_inbox(applied, "tester") == "bp.inbox.tester"
    assert topics_admin.ensure_inbox(applied, "tester") == "bp.inbox.tester"
    admin = topics_admin.connect(applied)
    there = topics_admin.existing(admin, applied)
    assert there["bp.inbox.tester"] == there["bp.commands"]
    assert topics_admin.configs(admin, applied, ["bp.inbox.tester"])["bp.inbox.tester"]["retention.ms"] == "2592000000"
    now = registered(applied)
    assert now["bp.inbox.tester-value"] == now["bp.messages-value"][-1:], "the newest version alone"
    assert apply_topics(applied) == apply_schemas(applied) == []


def test_changed_property_is_put_right(applied: Settings) -> None:
    """A property that differs is reported by a dry run, set by the next run, and other properties are left alone."""
    admin = topics_admin.connect(applied)
    topics_admin.alter(admin, applied, {"bp.replies": {"retention.ms": "777", "preallocate": "true"}})
    for dry_run in (True, False):
        (change,) = apply_topics(applied, dry_run)
        assert (change.action, change.name) == ("alter topic", "bp.replies")
        assert change.detail == "retention.ms 777 → 3600000"
    assert apply_topics(applied) == []
    kept = topics_admin.configs(admin, applied, ["bp.replies"])["bp.replies"]
    assert (kept["retention.ms"], kept["preallocate"]) == ("3600000", "true")


def test_other_number_of_partitions_is_refused(applied: Settings) -> None:
    """More or fewer partitions would tear runs apart; the refusal says what there is, and nothing is changed."""
    for count in (1, 64):
        wanted = applied.model_copy(update={"topics": applied.topics.model_copy(update={"partitions": count})})
        with pytest.raises(
            TopicsDiffer, match=rf"bp\.commands has {applied.topics.partitions}, not {count}"
        ) as refused:
            apply_topics(wanted)
        assert refused.value.fields["topics"]["bp.runs"] == (applied.topics.partitions, count)
    assert apply_topics(applied) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add(), "+ region: string  <- an added field needs a default"),
        (add(default="EU"), '+ region: string = "EU"  <- the default of an added field is null, zero or empty'),
        (lambda s: s["fields"].pop(3), "- run_seq: long  <- it has no default"),
        (lambda s: s["fields"][3].update(type="string"), "~ run_seq: long → string  <-"),
    ],
)
def test_incompatible_change_is_refused_with_the_difference(
    applied: Settings, edited: Callable[..., None], change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    """Of two new versions one is incompatible: the refusal shows the field, and neither is registered."""
    before = registered(applied)
    edited("AgentEvent", add(default=""))
    edited("RunEvent", change)
    for dry_run in (True, False):
        with pytest.raises(SchemasIncompatible) as refused:
            apply_schemas(applied, dry_run)
        assert "bp.runs-value:" in str(refused.value)
        assert f"RunEvent.v{schemas.latest_version('RunEvent')}.avsc is incompatible with" in str(refused.value)
        assert said in str(refused.value)
        assert "bp.agents-value" not in str(refused.value)
    assert registered(applied) == before


def test_edited_released_file_is_held_against_what_is_registered(
    applied: Settings, edited: Callable[..., None]
) -> None:
    """A change made in place, without a new version, is found by what the registry has."""
    before = registered(applied)
    edited("RunEvent", lambda schema: schema["fields"].pop(3), version=1)
    with pytest.raises(SchemasIncompatible, match=r"registered version \d+ \(id \d+\)"):
        apply_schemas(applied)
    assert registered(applied) == before


def test_codec_of_a_newer_checkout_asks_for_apply(applied: Settings, edited: Callable[..., None]) -> None:
    """A process that is newer than the registry says what to run, instead of writing what nobody can read."""
    edited("Reply", add(default=""))
    with pytest.raises(SchemasNotApplied, match="backplane schemas apply"):
        connect_codec(applied)


def test_compatible_version_is_registered_and_old_ids_stay(applied: Settings, edited: Callable[..., None]) -> None:
    """A new version gets a new id, for inboxes as well; the old one keeps its own, and its records are still read."""
    topics_admin.ensure_inbox(applied, "upgraded")
    before = registered(applied)
    old = connect_codec(applied)
    record = DELIVERED.build()
    edited("MessageEvent", lambda s: s["fields"].append({"name": "extra", "type": "long", "default": 0, "doc": "New."}))
    dry = apply_schemas(applied, dry_run=True)
    assert registered(applied) == before
    changes = apply_schemas(applied)
    assert {change.name for change in changes} == {change.name for change in dry}
    assert {"bp.messages-value", "bp.inbox.upgraded-value"} <= {change.name for change in changes}
    after = registered(applied)
    assert after["bp.messages-value"][:-1] == before["bp.messages-value"]
    assert after["bp.inbox.upgraded-value"] == after["bp.messages-value"][-len(after["bp.inbox.upgraded-value"]) :]
    assert apply_schemas(applied) == []
    assert old.decode(old.encode(record)) == record


def test_kafka_that_is_not_there_is_unreachable(applied: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker: the error says which address, and what to look at."""
    monkeypatch.setattr(topics_admin, "TIMEOUT_S", 1.0)
    gone = applied.model_copy(update={"kafka": {"bootstrap.servers": "127.0.0.1:9", "log_level": "0"}})
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9.*backplane status"):
        apply_topics(gone)
