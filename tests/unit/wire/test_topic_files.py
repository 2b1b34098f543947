"""Topic files: what they say is what the broker is told, and what they must not say is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agents_sdk import schemas
from agents_sdk.errors import ContractBroken
from agents_sdk.settings import load_settings
from agents_sdk.settings_model import Settings
from agents_sdk.wire import topic_files


def settings(**more: Any) -> Settings:
    return load_settings(kafka={"bootstrap.servers": "localhost:1"}, **more)


def written(tmp_path: Path, change: dict[str, Any], drop: str = "") -> Path:
    """A copy of bp.runs.yaml with some keys changed."""
    data = yaml.safe_load((schemas.root() / "topics" / "bp.runs.yaml").read_text())
    data = {key: value for key, value in (data | change).items() if key != drop}
    path = tmp_path / "bp.runs.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_unchanged_copy_is_accepted(tmp_path: Path) -> None:
    """The copy that the refusals below start from is itself fine."""
    assert topic_files.load(written(tmp_path, {})).topic == "bp.runs"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"retension": "30d"}, "retension"),
        ({"producers": [{"name": "backplane.ledger", "why": "x", "grup": "g"}]}, "grup"),
        ({"retention": "30 days"}, "30 days"),
        ({"retention": "0d"}, "0d"),
        ({"cleanup_policy": "remove"}, "cleanup_policy"),
        ({"role": "fact"}, "role"),
        ({"record": "RunEvents"}, "RunEvents"),
        ({"partitions": "4"}, "partitions"),
        ({"partitions": True}, "partitions"),
        ({"producers": []}, "producers"),
        ({"consumers": [{"name": "backplane.sink"}]}, "why"),
        ({"dead_letter_topic": "dlq.bp.run"}, "dlq.bp.runs"),
        ({"config": {"retention.ms": "5"}}, "retention.ms"),
        ({"config": {"segment.ms": 5}}, "segment.ms"),
        ({"description": "Runs."}, "description"),
        ({"topic": "runs"}, "topic"),
        ({"topic": "bp.state", "dead_letter_topic": "dlq.bp.state"}, "bp.state.yaml"),
    ],
)
def test_wrong_file_is_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    """Every kind of mistake in a topic file is refused with the offending key or value in the text."""
    with pytest.raises(ContractBroken, match=named.replace(".", r"\.")) as refused:
        topic_files.load(written(tmp_path, change))
    assert "bp.runs.yaml" in str(refused.value)


@pytest.mark.parametrize("key", ["record", "key", "retention", "dead_letter_topic", "consumers", "description"])
def test_missing_key_is_refused(tmp_path: Path, key: str) -> None:
    """Nothing that the issue asks of a topic file may be left out."""
    with pytest.raises(ContractBroken, match=key):
        topic_files.load(written(tmp_path, {}, drop=key))


def test_no_yaml_is_refused(tmp_path: Path) -> None:
    """A file that is no YAML is a broken contract, not a crash."""
    (tmp_path / "bp.runs.yaml").write_text("topic: [")
    with pytest.raises(ContractBroken, match=r"bp\.runs\.yaml"):
        topic_files.load(tmp_path / "bp.runs.yaml")


@pytest.mark.parametrize(
    ("text", "ms"), [("unlimited", -1), ("1h", 3_600_000), ("30d", 2_592_000_000), ("90s", 90_000)]
)
def test_retention_in_milliseconds(text: str, ms: int) -> None:
    """Retention reads as people write it."""
    assert topic_files.retention_ms(text) == ms


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_majority_of_replicas_has_every_record(replicas: int, in_sync: int) -> None:
    """Losing fewer than half of the replicas loses no acknowledged record."""
    config = topic_files.find("bp.runs").broker_config(settings(), replicas)
    assert config["min.insync.replicas"] == str(in_sync)


def test_largest_value_fits_into_a_record() -> None:
    """A value at the limit fits twice, with its envelope, whatever the limit is."""
    limit = 16 * 1024 * 1024
    config = topic_files.find("bp.state").broker_config(settings(limits={"max_value_bytes": limit}), 1)
    assert int(config["max.message.bytes"]) > 2 * limit
    assert topic_files.max_message_bytes(settings()) == topic_files.MIN_MESSAGE_BYTES


def test_commands_have_the_brokers_time() -> None:
    """The clock of all decisions is the broker's append time."""
    assert topic_files.find("bp.commands").config["message.timestamp.type"] == "LogAppendTime"


def test_inbox_of_any_agent_is_found() -> None:
    """One file stands for the inboxes of all agents, and for no other topic."""
    inbox = topic_files.find("bp.inbox.web-search")
    assert inbox.topic == "bp.inbox.{agent}" == topic_files.find("bp.inbox.{agent}").topic
    assert not inbox.matches("bp.inbox.")
    assert not inbox.matches("bp.runs")
    with pytest.raises(LookupError, match=r"bp\.runz.*bp\.runs"):
        topic_files.find("bp.runz")


@pytest.mark.parametrize("agent", ["", "a b", "ä", "../x", "a/b", ".", "x" * 201, "{agent}"])
def test_agent_that_cannot_have_a_topic_is_refused(agent: str) -> None:
    """A name that Kafka would refuse, or that reads as another topic, is refused before Kafka is asked."""
    with pytest.raises(ValueError, match="agent's name"):
        topic_files.inbox_name(agent)
