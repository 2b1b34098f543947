"""The AsyncAPI 3.1 document of the platform, made from the topic files, the Avro schemas and the examples.

Pure but for reading ``schemas/``. Nothing is written by hand here but what those files cannot say: AsyncAPI's own form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from agents_sdk import schemas
from agents_sdk.wire import topic_files
from agents_sdk.wire.topic_files import AGENT, Party, Topic
from backplane.topics.examples import examples

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

ASYNCAPI: Final = "3.1.0"
BINDING: Final = "0.5.0"
AVRO: Final = "application/vnd.apache.avro+json;version=1.9.0"
SHOWN_CONFIG: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")
"""The properties that the channel binding has names for."""

TEXT: Final = {"type": "string"}
HEADERS: Final[dict[str, tuple[str, str]]] = {
    "traceparent": ("W3C trace context: the trace is the root run, the span is this record.", "00-…-…-01"),
    "ce_specversion": ("CloudEvents version.", "1.0"),
    "ce_id": ("event_id, or command_id of a command.", ""),
    "ce_source": ("Who made the record.", "/backplane/ledger"),
    "ce_type": ("Record and kind.", "backplane.StateEvent.StateWritten"),
    "ce_time": ("When, RFC 3339; facts only.", "2026-01-01T10:00:00.212345Z"),
    "ce_subject": ("State key, or agent, or run.", ""),
    "ce_dataschema": ("Record and version of its schema.", "urn:backplane:schema:StateEvent:1"),
    "ce_partitionkey": ("The Kafka key.", ""),
    "content-type": ("Always Avro, in Confluent's wire format.", "application/avro"),
    "correlation_id": ("Copy of the envelope's.", ""),
    "causation_id": ("Copy of the envelope's; absent at the root.", ""),
}
"""Header → what it says, and an example."""
ALWAYS: Final = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_dataschema", "content-type")

Json = dict[str, Any]


def document(settings: Settings | None = None) -> Json:
    """The document as JSON data. With settings it has the servers, partitions and replicas of that platform."""
    from importlib.metadata import version

    files = topic_files.load_all()
    records = list(schemas.records())
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Backplane",
            "version": version("agent-backplane"),
            "description": (
                "Commands go in, facts come out: bp.commands is decided in order, and everything else follows from it. "
                "All records of a run have the key run_id and lie in the same partition number of every topic."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/avro",
        "servers": _servers(settings),
        "channels": {_id(file.topic): _channel(file, settings) for file in files},
        "operations": {name: body for file in files for name, body in _operations(file)},
        "components": {
            "schemas": {record: _payload(record) for record in records} | {"RecordHeaders": _headers()},
            "messages": {_message_id(file): _message(file) for file in _one_per_message(files)},
        },
    }


def _servers(settings: Settings | None) -> Json:
    secure = settings is not None and "ssl" in settings.kafka.get("security.protocol", "").lower()
    kafka: Json = {
        "host": settings.kafka.get("bootstrap.servers", "").split(",")[0] if settings else "localhost:9092",
        "protocol": "kafka-secure" if secure else "kafka",
        "description": "The broker, and the registry that its values' schemas are in.",
    }
    binding: Json = {"bindingVersion": BINDING}
    if settings and settings.registry.url:
        binding |= {"schemaRegistryUrl": settings.registry.url, "schemaRegistryVendor": "confluent"}
    return {"kafka": kafka | {"bindings": {"kafka": binding}}}


def _channel(file: Topic, settings: Settings | None) -> Json:
    binding: Json = {"topic": file.topic, "bindingVersion": BINDING}
    config = {
        "cleanup.policy": file.cleanup_policy.split(","),
        "retention.ms": topic_files.retention_ms(file.retention),
    }
    if settings:
        replication = settings.topics.replication
        count = settings.topics.partitions if file.partitions == "default" else file.partitions
        binding |= {"partitions": count, "replicas": replication}
        config["max.message.bytes"] = topic_files.max_message_bytes(settings)
    binding["topicConfiguration"] = {key: config[key] for key in SHOWN_CONFIG if key in config}
    channel: Json = {
        "address": file.topic,
        "title": file.topic,
        "description": file.description,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {file.record: {"$ref": f"#/components/messages/{_message_id(file)}"}},
        "tags": [{"name": file.role}],
        "bindings": {"kafka": binding},
    }
    if file.template:
        channel["parameters"] = {"agent": {"description": "Name of the agent."}}
    if file.dead_letter_topic:
        channel["x-dead-letter-topic"] = file.dead_letter_topic
    return channel


def _operations(file: Topic) -> list[tuple[str, Json]]:
    sends = [(party, "send") for party in file.producers]
    return [_operation(file, party, action) for party, action in sends + [(p, "receive") for p in file.consumers]]


def _operation(file: Topic, party: Party, action: str) -> tuple[str, Json]:
    channel = _id(file.topic)
    binding: Json = {"bindingVersion": BINDING}
    if party.group:
        # A template's group is one per agent, so only the form of its name can be said.
        pattern = f"^{re.escape(party.group).replace(re.escape(AGENT), '.+')}$"
        named = {"pattern": pattern} if AGENT in party.group else {"enum": [party.group]}
        binding["groupId"] = TEXT | named
    body = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "title": f"{party.name} {action}s {file.topic}",
        "summary": party.why,
        "tags": [{"name": party.name}],
        "messages": [{"$ref": f"#/channels/{channel}/messages/{file.record}"}],
        "bindings": {"kafka": binding},
    }
    return f"{_id(party.name)}_{action}_{channel}", body


def _message(file: Topic) -> Json:
    record = file.record
    schema = schemas.avro(record, schemas.latest_version(record))
    return {
        "name": record,
        "title": f"{record}, keyed by {file.key}",
        "summary": schema["doc"],
        "contentType": "application/avro",
        "headers": {"$ref": "#/components/schemas/RecordHeaders"},
        "payload": {"$ref": f"#/components/schemas/{record}"},
        "correlationId": {"location": "$message.header#/correlation_id", "description": "The root run's."},
        "examples": [{"name": example.case, "payload": example.datum} for example in examples(record)],
        "bindings": {
            "kafka": {
                "key": TEXT | {"description": f"{file.key}, as UTF-8"},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicIdStrategy",
                "bindingVersion": BINDING,
            }
        },
    }


def _payload(record: str) -> Json:
    return {"schemaFormat": AVRO, "schema": schemas.avro(record, schemas.latest_version(record))}


def _headers() -> Json:
    properties = {
        name: TEXT | {"description": says} | ({"examples": [example]} if example else {})
        for name, (says, example) in HEADERS.items()
    }
    return {"type": "object", "required": list(ALWAYS), "properties": properties}


def _one_per_message(files: tuple[Topic, ...]) -> list[Topic]:
    """One file per record: topics that share a record share its message, and its key by the same field."""
    return list({_message_id(file): file for file in reversed(files)}.values())[::-1]


def _message_id(file: Topic) -> str:
    return file.record


def _id(name: str) -> str:
    """A name as AsyncAPI's keys allow it: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]", "", name)
