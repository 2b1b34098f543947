"""``schemas/topics/*.yaml`` as frozen models: what each topic is for, who uses it, and how the broker is to keep it.

Pure but for reading those files. ``backplane.topics.apply`` creates the topics, ``agents_sdk.wire.topics_admin`` an
agent's inbox.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agents_sdk import schemas, topics
from agents_sdk.errors import ContractBroken

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

AGENT: Final = "{agent}"
"""Stands for the agent's name in the topic and the group of an inbox."""
UNLIMITED: Final = "unlimited"
MIN_MESSAGE_BYTES: Final = 4 * 1024 * 1024
ENVELOPE_BYTES: Final = 64 * 1024
"""Room for a record's envelope, headers and error texts beside its payload; measured 1–12 kB."""

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([1-9][0-9]*)([smhd])")
_AGENT_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*", re.ASCII)
_AGENT_NAME_LIMIT: Final = 200
"""Kafka allows 249 characters of a topic's name; ``bp.inbox.`` and the names of groups need their part."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Party(_Strict):
    """A writer or reader of a topic."""

    name: str = Field(min_length=1)
    """The module, or ``agents`` for the processes of agent authors."""
    why: str = Field(min_length=1)
    group: str = ""
    """Consumer group; empty: it assigns its partitions itself and keeps its own position."""


class Topic(_Strict):
    """One file of ``schemas/topics``."""

    topic: str = Field(pattern=r"^(bp|dlq)\.[a-z.]+(\{agent\})?$")
    role: Literal["commands", "facts", "inbox", "replies", "registry", "dead-letters"]
    description: str = Field(min_length=40)
    record: str
    """The one record type of its values."""
    key: str
    """The record's field that is the Kafka key, as UTF-8."""
    partitions: int | Literal["default"]
    """``default``: ``topics.partitions`` of the settings. A run lies in the same partition number of every topic, so
    all have the same count."""
    retention: str
    """``unlimited``, or a number with s, m, h or d."""
    cleanup_policy: Literal["delete", "compact", "compact,delete"]
    config: dict[str, str] = {}
    """Further properties of the topic, by Kafka's names."""
    producers: tuple[Party, ...] = Field(min_length=1)
    consumers: tuple[Party, ...] = Field(min_length=1)
    dead_letter_topic: str | None
    """Where its readers put what they cannot handle; null: nowhere, and the description says why."""

    @field_validator("producers", "consumers", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("retention")
    @classmethod
    def _retention_reads(cls, value: str) -> str:
        retention_ms(value)
        return value

    @model_validator(mode="after")
    def _agree(self) -> Topic:
        clash = {"cleanup.policy", "retention.ms", "min.insync.replicas", "max.message.bytes"} & set(self.config)
        if clash:
            raise ValueError(
                f"config must not repeat {sorted(clash)}: they follow from the other keys and the settings"
            )
        if self.record not in set(schemas.records()):
            raise ValueError(f"record {self.record!r} has no schemas/avro/{self.record}.v1.avsc")
        if self.dead_letter_topic not in (None, topics.dead_letter(self.topic)):
            raise ValueError(f"dead_letter_topic must be {topics.dead_letter(self.topic)!r} or null")
        return self

    @property
    def template(self) -> bool:
        """Whether this stands for one topic per agent."""
        return AGENT in self.topic

    @property
    def has_subject(self) -> bool:
        """Whether its record's schema is registered for it. Dead letters keep the bytes, and so the schema ids, of the
        topic they come from. They may not be decodable at all: they have no subject of their own.
        """
        return self.role != "dead-letters"

    def matches(self, name: str) -> bool:
        """Whether this file is about the topic of that name."""
        if not self.template:
            return name == self.topic
        return name.startswith(topics.INBOX_PREFIX) and len(name) > len(topics.INBOX_PREFIX)

    def broker_config(self, settings: Settings, replication: int) -> dict[str, str]:
        """All properties the topic is to have on the broker; ``replication`` is its replication factor."""
        return {
            "cleanup.policy": self.cleanup_policy,
            "retention.ms": str(retention_ms(self.retention)),
            # A majority: losing fewer than half of the replicas loses no acknowledged record.
            "min.insync.replicas": str(replication // 2 + 1),
            "max.message.bytes": str(max_message_bytes(settings)),
            **self.config,
        }


def retention_ms(text: str) -> int:
    """``30d`` as milliseconds, ``unlimited`` as Kafka's -1. Raises ValueError."""
    if text == UNLIMITED:
        return -1
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"retention is {text!r}; write {UNLIMITED!r}, or a number with s, m, h or d such as 30d")
    return int(match[1]) * _UNITS_MS[match[2]]


def max_message_bytes(settings: Settings) -> int:
    """The largest record a topic takes: a record may carry a value at the limit twice (a call's params and result)."""
    return max(MIN_MESSAGE_BYTES, 2 * settings.limits.max_value_bytes + ENVELOPE_BYTES)


def inbox_name(agent: str) -> str:
    """The inbox topic of an agent. Raises ValueError when the name cannot be part of a topic's name."""
    if not _AGENT_NAME.fullmatch(agent) or len(agent) > _AGENT_NAME_LIMIT:
        raise ValueError(
            f"an agent's name has letters, digits, '.', '_' and '-', at most {_AGENT_NAME_LIMIT}, not {agent!r}"
        )
    return topics.inbox(agent)


def load(path: Path) -> Topic:
    """One file. Raises ContractBroken naming the file and everything that is wrong with it."""
    import yaml

    try:
        topic = Topic.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors(include_url=False)
        )
        raise ContractBroken(f"{path.name} is no topic file: {wrong}", path=str(path)) from error
    except yaml.YAMLError as error:
        raise ContractBroken(f"{path.name} is no YAML: {error}", path=str(path)) from error
    if path.stem != file_stem(topic.topic):
        message = f"{path.name} describes {topic.topic!r}; its file is {file_stem(topic.topic)}.yaml"
        raise ContractBroken(message, hint="rename one of the two", path=str(path))
    return topic


def file_stem(topic: str) -> str:
    """Name of a topic's file: braces do not go into file names."""
    return topic.removesuffix(f".{AGENT}")


@cache
def load_all() -> tuple[Topic, ...]:
    """All topic files, sorted by name. Raises ContractBroken."""
    return tuple(load(path) for path in sorted((schemas.root() / "topics").glob("*.yaml")))


def find(name: str) -> Topic:
    """The file about a topic, an inbox by any agent's or by the template's name. Raises LookupError."""
    for topic in load_all():
        if name == topic.topic or topic.matches(name):
            return topic
    raise LookupError(f"no topic file is about {name!r}; there are {', '.join(t.topic for t in load_all())}")
