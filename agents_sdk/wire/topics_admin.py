"""Topics on the broker: what is there, what is made; and an agent's inbox, made by the agent's own process.

SHELL around confluent_kafka's AdminClient; its errors end here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from agents_sdk import schemas, topics
from agents_sdk.errors import BackplaneError, Unreachable
from agents_sdk.wire import topic_files
from agents_sdk.wire.registry import LEVEL, Registry, subject

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from agents_sdk.settings import Settings

TIMEOUT_S: Final = 10.0
PASSING: Final = (
    *("_TRANSPORT", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_ALL_BROKERS_DOWN", "_RESOLVE", "_WAIT_COORD", "_WAIT_CACHE"),
    *("REQUEST_TIMED_OUT", "NETWORK_EXCEPTION", "BROKER_NOT_AVAILABLE", "NOT_CONTROLLER", "STALE_CTRL_EPOCH"),
    *("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "REPLICA_NOT_AVAILABLE", "OFFSET_NOT_AVAILABLE"),
    *("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "REBALANCE_IN_PROGRESS"),
    "_NOENT",  # no partition has a leader: the broker is just coming
    *("FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "KAFKA_STORAGE_ERROR", "THROTTLING_QUOTA_EXCEEDED"),
)
"""Names of Kafka's errors that time mends: a broker that is away, starts, or has just handed something over."""
UNKNOWN: Final = ("_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_OR_PART")
"""Of a topic that is not there, or not yet, or that a client has forgotten while the broker did not answer."""
EARLY_S: Final = 2.0
"""Kafka that is there answers by then; else it is asked whether it refuses the login."""
SILENCE: Final = frozenset({"_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_AUTHENTICATION"})
"""Names of librdkafka's errors that may hide a login that Kafka refuses."""
NOT_ALLOWED: Final = "`backplane topics acls` says what each user of Kafka needs, with --agent NAME for an agent's"
VISIBLE_S: Final = 5.0
"""A topic is known to every broker within milliseconds of its creation; a consumer that comes before waits minutes."""


class TopicsNotApplied(BackplaneError):
    """A topic that everything needs does not exist; ``fields["topic"]`` names it."""

    code: ClassVar[str] = "topics_not_applied"
    hint = "run `backplane topics apply`"


class TopicRefused(BackplaneError):
    """The broker refused to create or to change a topic."""

    code: ClassVar[str] = "topic_refused"


class ExistingTopic(NamedTuple):
    """One topic on the broker."""

    partitions: int
    replication: int


class NewTopicSpec(NamedTuple):
    """One topic to be created."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


def connect(settings: Settings) -> AdminClient:
    """An admin client; connects when it is first asked something."""
    from confluent_kafka.admin import AdminClient

    # Next to nothing: failures are raised, and a login that is refused would be logged ten times a second.
    return AdminClient({"socket.timeout.ms": int(TIMEOUT_S * 1000), "log_level": 2, **settings.kafka})


def existing(admin: AdminClient, settings: Settings) -> dict[str, ExistingTopic]:
    """All topics on the broker by name. Raises Unreachable."""
    from confluent_kafka import KafkaException

    try:
        found = listed(admin, settings)
    except KafkaException as error:
        raise mapped(error, settings, "the topics cannot be listed") from error
    return {
        name: ExistingTopic(len(topic.partitions), max((len(p.replicas) for p in topic.partitions.values()), default=0))
        for name, topic in found.topics.items()
        if topic.error is None
    }


def listed(client: Any, settings: Settings) -> Any:
    """The metadata of the cluster. A login that Kafka refuses is found early. Raises KafkaException, NotLetIn."""
    from confluent_kafka import KafkaException

    from agents_sdk.wire.kafka_door import refusal

    try:
        return client.list_topics(timeout=min(EARLY_S, TIMEOUT_S))
    except KafkaException as error:
        if error.args[0].name() in SILENCE and (refused := refusal(settings)) is not None:
            raise refused from error
        if TIMEOUT_S <= EARLY_S:
            raise
    return client.list_topics(timeout=TIMEOUT_S - EARLY_S)


def create(admin: AdminClient, settings: Settings, wanted: Iterable[NewTopicSpec]) -> None:
    """Creates topics and waits until they are visible; one that somebody else has just created is fine.

    Raises:
        TopicRefused: the broker says no.
        Unreachable: it says nothing.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # public, but not in __all__

    new = [NewTopic(w.name, w.partitions, w.replication, config=w.config) for w in wanted]
    if not new:
        return
    for name, made in admin.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S).items():
        try:
            made.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise mapped(error, settings, f"topic {name!r} cannot be created", name) from error
    _await_visible(admin, settings, {topic.topic for topic in new})


def configs(admin: AdminClient, settings: Settings, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The properties of topics, those left at a default included. Raises Unreachable, TopicRefused."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]  # public, but not in __all__

    asked = {name: ConfigResource(ConfigResource.Type.TOPIC, name) for name in names}
    if not asked:
        return {}
    answers = admin.describe_configs(list(asked.values()), request_timeout=TIMEOUT_S)
    found = {}
    for name, resource in asked.items():
        try:
            found[name] = {key: entry.value for key, entry in answers[resource].result().items()}
        except KafkaException as error:
            raise mapped(error, settings, f"properties of topic {name!r} cannot be read", name) from error
    return found


def alter(admin: AdminClient, settings: Settings, changes: Mapping[str, Mapping[str, str]]) -> None:
    """Sets properties of topics and leaves their other ones alone. Raises Unreachable, TopicRefused."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in __all__
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
    )

    def entry(key: str, value: str) -> Any:
        return ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)

    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC, name, incremental_configs=[entry(key, value) for key, value in wanted.items()]
        )
        for name, wanted in changes.items()
    ]
    if not resources:
        return
    for resource, done in admin.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).items():
        try:
            done.result()
        except KafkaException as error:
            what = f"properties of topic {resource.name!r} cannot be set"
            raise mapped(error, settings, what, resource.name) from error


def ensure_inbox(settings: Settings, agent: str) -> str:
    """The agent's inbox topic, created when it is not there, with its schema registered. Twice does no harm, nor does
    another process at the same time. It gets the partitions and replicas of ``bp.commands``: a delivery lies in the
    partition number of its run.

    Raises:
        ValueError: the agent's name cannot be part of a topic's name.
        TopicsNotApplied: the platform's own topics are not there.
        Unreachable, TopicRefused, SchemaRejected: as their names say.
    """
    name = topic_files.inbox_name(agent)
    admin = connect(settings)
    # 1. The topic.
    there = existing(admin, settings)
    if name not in there:
        like = there.get(topics.COMMANDS)
        if like is None:
            raise TopicsNotApplied(
                f"there is no topic {topics.COMMANDS!r}", hint=TopicsNotApplied.hint, topic=topics.COMMANDS
            )
        config = topic_files.find(name).broker_config(settings, like.replication)
        create(admin, settings, [NewTopicSpec(name, like.partitions, like.replication, config)])
    # 2. The schema, after the topic: a subject without a topic would be an orphan.
    with Registry(settings) as registry:
        register_latest(registry, name, topic_files.find(name).record)
    return name


def register_latest(registry: Registry, topic: str, record: str) -> int:
    """The id of the record's latest schema under the topic's subject, registered there if it was not."""
    schema = schemas.avro(record, schemas.latest_version(record))
    found = registry.lookup(subject(topic), schema)
    if found is None:
        found = registry.register(subject(topic), schema)
        registry.set_level(subject(topic), LEVEL)
    return found


def mapped(error: Any, settings: Settings, what: str, topic: str = "") -> BackplaneError:
    """A driver's error as one of ours. Where Kafka does not answer, it is asked whether that is for want of a login."""
    from confluent_kafka import KafkaError

    from agents_sdk.wire.kafka_door import refusal

    cause = error.args[0]
    if cause.code() in {getattr(KafkaError, name) for name in UNKNOWN}:
        return TopicsNotApplied(f"{what}: {cause.str()} ({cause.name()})", hint=TopicsNotApplied.hint, topic=topic)
    broker = settings.kafka.get("bootstrap.servers", "")
    if cause.name() in SILENCE and (refused := refusal(settings)) is not None:
        return refused
    if cause.code() in {getattr(KafkaError, name) for name in PASSING}:
        return Unreachable(
            f"{what}: Kafka at {broker!r} does not answer ({cause.name()})",
            hint="check `backplane status`",
            server="kafka",
        )
    hint = "see the broker's log"
    if cause.name().endswith("AUTHORIZATION_FAILED"):
        hint = NOT_ALLOWED
    return TopicRefused(f"{what}: {cause.str()} ({cause.name()})", hint=hint, topic=topic, error=cause.name())


def _await_visible(admin: AdminClient, settings: Settings, names: set[str]) -> None:
    deadline = time.monotonic() + VISIBLE_S
    while missing := names - set(existing(admin, settings)):
        if time.monotonic() > deadline:
            raise Unreachable(f"{sorted(missing)} were created but do not show in {VISIBLE_S:g} s", server="kafka")
        time.sleep(0.02)
