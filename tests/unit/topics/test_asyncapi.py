"""The AsyncAPI document: all of the contracts, and nothing that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from agents_sdk import schemas
from agents_sdk.settings import load_settings
from agents_sdk.wire.topic_files import load_all
from backplane.topics.asyncapi import document
from backplane.topics.examples import examples

DOCUMENT = document()
SETTINGS: dict[str, Any] = {
    "kafka": {"bootstrap.servers": "broker:9093,other:9093", "security.protocol": "SASL_SSL"},
    "registry": {"url": "http://registry/apis/ccompat/v7"},
    "topics": {"partitions": 8, "replication": 3},
}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_every_reference_resolves() -> None:
    """No reference points to nothing; the walk itself finds a broken one."""
    found = list(references(DOCUMENT))
    assert len(found) > 100
    for reference in found:
        assert resolve(DOCUMENT, reference)
    with pytest.raises(KeyError):
        resolve(DOCUMENT, "#/channels/bp.runz")


def test_every_topic_is_a_channel_with_its_parties() -> None:
    """Each topic file is one channel, and each of its producers and consumers one operation."""
    channels = DOCUMENT["channels"]
    assert {channel["address"] for channel in channels.values()} == {file.topic for file in load_all()}
    for file in load_all():
        name = next(name for name, channel in channels.items() if channel["address"] == file.topic)
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        mine = [o for o in DOCUMENT["operations"].values() if o["channel"]["$ref"] == f"#/channels/{name}"]
        assert len([o for o in mine if o["action"] == "send"]) == len(file.producers)
        assert len([o for o in mine if o["action"] == "receive"]) == len(file.consumers)
        assert channels[name].get("parameters", {}).keys() == ({"agent"} if file.template else set())


def test_every_message_has_its_schema_key_and_examples() -> None:
    """A reader of the document alone can decode each record: the payload is the registered schema, and it parses."""
    messages = DOCUMENT["components"]["messages"]
    assert set(messages) == set(schemas.records())
    for record, message in messages.items():
        payload = resolve(DOCUMENT, message["payload"]["$ref"])
        assert payload["schemaFormat"].startswith("application/vnd.apache.avro+json")
        assert payload["schema"] == schemas.latest(record)
        fastavro.parse_schema(payload["schema"])
        assert len(message["examples"]) == len(list(examples(record))) > 0
        binding = message["bindings"]["kafka"]
        assert binding["schemaIdLocation"] == "payload"
        assert binding["schemaIdPayloadEncoding"] == "confluent"
        assert binding["bindingVersion"] == "0.5.0"


def test_settings_fill_in_the_platform() -> None:
    """With a platform at hand the document says where it is and how its topics are cut; no secret is in it."""
    made = document(load_settings(**SETTINGS))
    server = made["servers"]["kafka"]
    assert (server["host"], server["protocol"]) == ("broker:9093", "kafka-secure")
    assert server["bindings"]["kafka"]["schemaRegistryUrl"] == SETTINGS["registry"]["url"]
    binding = made["channels"]["bp.commands"]["bindings"]["kafka"]
    assert (binding["partitions"], binding["replicas"]) == (8, 3)
    assert binding["topicConfiguration"]["retention.ms"] == -1


def test_groups_that_are_known_are_named() -> None:
    """Who reads in which group is in the document; an agent's group by its form."""
    operations = DOCUMENT["operations"]
    ledger = operations["backplane.ledger_receive_bp.commands"]["bindings"]["kafka"]["groupId"]
    agent = operations["agents_receive_bp.inbox.agent"]["bindings"]["kafka"]["groupId"]
    assert ledger["enum"] == ["bp.ledger"]
    assert re.fullmatch(agent["pattern"], "bp.agent.web-search")
    assert not re.fullmatch(agent["pattern"], "bp.agent.")
