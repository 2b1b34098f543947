"""The rights of each user of Kafka: the second wall, beside the proofs that records carry. ``acls`` is pure.

The topic files say who writes and reads each topic; what is here follows from them. A user whose records nobody would
believe cannot write them either, and an agent reads its own inbox and its own answers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agents_sdk.core.identity import EXECUTOR, LEDGER, SINK
from agents_sdk.topics import (
    CAPABILITIES,
    COMMANDS,
    DEAD_LETTER_PREFIX,
    PROVIDERS,
    REPLIES,
    SWITCHES,
    inbox,
    replies_of,
)
from agents_sdk.wire.topic_files import AGENT, Topic, find, load_all
from agents_sdk.wire.topics_admin import TIMEOUT_S, NewTopicSpec, connect, create, ensure_inbox, existing, mapped

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

USER_OF: Final = {"backplane.ledger": LEDGER, "backplane.executor": EXECUTOR, "backplane.sink": SINK}
"""Party of a topic file → its user. Operators are super users, and so is the creator of topics."""
READERS: Final = ("bp.reader", "bp.replies", "bp.registry", "bp.history")
"""Groups that librdkafka wants named, where nothing is committed and nobody joins."""
GROUPS: Final = {LEDGER: (LEDGER,), EXECUTOR: (EXECUTOR,), SINK: (SINK,)}
PREFIX: Final = "bp."
CHANGELOG: Final = "bp.ledger-"
"""The prefixes of the ledger's own topics, those of its snapshots, and its transactions."""


class Acl(NamedTuple):
    """One permission."""

    user: str
    resource: str
    """topic, group or transactional_id."""
    name: str
    prefixed: bool
    """The name is what the resource's name begins with."""
    operation: str


def acls(topics: Iterable[Topic] | None = None) -> list[Acl]:
    """The permissions of the platform's own users."""
    found: list[Acl] = []
    for topic in load_all() if topics is None else topics:
        for operation, parties in (("write", topic.producers), ("read", topic.consumers)):
            found += [_topic(USER_OF[each.name], topic.topic, operation) for each in parties if each.name in USER_OF]
    for user, groups in GROUPS.items():
        found += [Acl(user, "group", group, False, "read") for group in (*groups, *READERS)]
    found.append(Acl(LEDGER, "topic", replies_of(""), True, "write"))
    found += [Acl(user, "topic", DEAD_LETTER_PREFIX, True, "write") for user in USER_OF.values()]
    found += [Acl(LEDGER, "topic", CHANGELOG, True, each) for each in ("create", "read", "write")]
    found.append(Acl(LEDGER, "topic", PREFIX, True, "describe_configs"))  # how large a record each of them takes
    found += [Acl(LEDGER, "transactional_id", CHANGELOG, True, each) for each in ("write", "describe")]
    return sorted(set(found))


def agent_acls(agent: str) -> list[Acl]:
    """The permissions of an agent or client: it writes commands, reads its inbox and its answers, and what can be
    called."""
    own = (inbox(agent), replies_of(agent))
    readable = (*own, CAPABILITIES, SWITCHES, PROVIDERS)
    groups = (f"bp.agent.{agent}", "bp.replies", "bp.registry")
    return sorted(
        [
            Acl(agent, "topic", COMMANDS, False, "write"),
            *(Acl(agent, "topic", topic, False, "read") for topic in readable),
            *(Acl(agent, "group", group, False, "read") for group in groups),
        ]
    )


def own_topics(settings: Settings, agent: str) -> None:
    """An agent's inbox and the topic of its answers, made where they are not there. Raises Unreachable,
    TopicRefused."""
    ensure_inbox(settings, agent)
    admin = connect(settings)
    there, wanted = existing(admin, settings), replies_of(agent)
    if wanted not in there:
        replication = there[REPLIES].replication
        config = find(REPLIES).broker_config(settings, replication)
        create(admin, settings, [NewTopicSpec(wanted, 1, replication, config)])


def _topic(user: str, topic: str, operation: str) -> Acl:
    """An inbox's file stands for all of them."""
    return Acl(user, "topic", topic.removesuffix(AGENT), topic.endswith(AGENT), operation)


def apply(settings: Settings, wanted: Iterable[Acl]) -> list[Acl]:
    """Makes the permissions that are not there, and says which. Raises Unreachable, TopicRefused."""
    from confluent_kafka import KafkaException

    admin = connect(settings)
    try:
        there = set(map(_key, admin.describe_acls(_all_of(), request_timeout=TIMEOUT_S).result()))
        missing = [each for each in wanted if _key(_binding(each)) not in there]
        for made in admin.create_acls([_binding(each) for each in missing]).values() if missing else ():
            made.result()
    except KafkaException as error:
        raise mapped(error, settings, "permissions cannot be made") from error
    return missing


def remove(settings: Settings, user: str) -> None:
    """Takes away all that a user may do. Raises Unreachable, TopicRefused."""
    from confluent_kafka import KafkaException

    admin = connect(settings)  # kept: its answers die with it
    try:
        for gone in admin.delete_acls([_all_of(user)], request_timeout=TIMEOUT_S).values():
            gone.result()
    except KafkaException as error:
        raise mapped(error, settings, f"permissions of {user!r} cannot be taken away") from error


def _all_of(user: str | None = None) -> Any:
    """The filter of a user's permissions; of all for None."""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in __all__
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    anything: Any = None
    whose: Any = None if user is None else f"User:{user}"
    return AclBindingFilter(
        ResourceType.ANY, anything, ResourcePatternType.ANY, whose, anything, AclOperation.ANY, AclPermissionType.ANY
    )


def _key(binding: object) -> tuple[object, ...]:
    names = ("restype", "name", "resource_pattern_type", "principal", "host", "operation", "permission_type")
    return tuple(getattr(binding, name) for name in names)


def _binding(acl: Acl) -> Any:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in __all__
        AclBinding,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    return AclBinding(
        ResourceType[acl.resource.upper()],
        acl.name,
        ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
        f"User:{acl.user}",
        "*",
        AclOperation[acl.operation.upper()],
        AclPermissionType.ALLOW,
    )


def commands(wanted: Iterable[Acl]) -> Iterator[str]:
    """The same for Kafka's own tool, a line each."""
    option = {"topic": "--topic", "group": "--group", "transactional_id": "--transactional-id"}
    for acl in wanted:
        pattern = " --resource-pattern-type prefixed" if acl.prefixed else ""
        what = f"{option[acl.resource]} {acl.name}{pattern}"
        yield f"kafka-acls.sh --add --allow-principal 'User:{acl.user}' --operation {acl.operation} {what}"
