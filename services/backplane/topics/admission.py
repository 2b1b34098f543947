"""Agents and clients as users of Kafka: let in by their key, with the topics that are their own. Blocking.

Only where the platform's Kafka is ours, as on a local platform. Elsewhere the operator of Kafka makes its users, and
``backplane topics acls --agent NAME`` says what they need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agents_sdk.core.identity import OPERATOR
from agents_sdk.kafka_login import MECHANISMS, PASSWORD, key_login, mechanism
from agents_sdk.wire.topics_admin import TIMEOUT_S, connect, mapped
from backplane.topics import acls

if TYPE_CHECKING:
    from agents_sdk.keys import Key
    from agents_sdk.settings import Settings


def ours(settings: Settings) -> bool:
    """Whether this process may make users of this Kafka."""
    return settings.kafka.get("sasl.username") == OPERATOR


def admit(settings: Settings, key: Key, *, alone: bool = True) -> None:
    """Lets the holder of the key in, and no longer that of the generation before where it is ``alone``. Raises
    Unreachable, TopicRefused, ValueError for a name that no topic can have."""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in __all__
        ScramCredentialInfo,
        UserScramCredentialUpsertion,
    )

    acls.own_topics(settings, key.name)
    acls.apply(settings, acls.agent_acls(key.name))
    info = ScramCredentialInfo(_mechanism(mechanism(key)), 4096)
    _alter(settings, UserScramCredentialUpsertion(key.name, info, key_login(key)[PASSWORD].encode()))
    if alone:
        _forget(settings, key.name, [each for each in MECHANISMS if each != mechanism(key)])


def admit_new(settings: Settings, names: Iterable[str]) -> None:
    """Lets in those of the names that Kafka does not know, by the keys that this process has. Nothing happens where
    this process may not. Raises as ``admit``, and KeyUnusable."""
    from agents_sdk.keys import Keys

    keys = Keys.of(settings)
    for name in names if ours(settings) else ():
        key = keys.get(name)
        if key is not None and not _known(settings, name):
            admit(settings, key)


def _known(settings: Settings, name: str) -> bool:
    from confluent_kafka import KafkaError, KafkaException

    admin: Any = connect(settings)
    try:
        admin.describe_user_scram_credentials([name], request_timeout=TIMEOUT_S)[name].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.RESOURCE_NOT_FOUND:
            return False
        raise mapped(error, settings, "the users of Kafka cannot be listed") from error
    return True


def dismiss(settings: Settings, name: str) -> None:
    """Lets nobody in by this name, and allows nothing to who is in. Raises Unreachable, TopicRefused."""
    acls.remove(settings, name)
    _forget(settings, name, MECHANISMS)


def _forget(settings: Settings, name: str, mechanisms: Any) -> None:
    from confluent_kafka.admin import UserScramCredentialDeletion  # type: ignore[attr-defined]  # not in __all__

    for each in mechanisms:
        _alter(settings, UserScramCredentialDeletion(name, _mechanism(each)), absent=True)


def _mechanism(name: str) -> Any:
    from confluent_kafka.admin import ScramMechanism  # type: ignore[attr-defined]  # public, but not in __all__

    return ScramMechanism[name.replace("-", "_")]


def _alter(settings: Settings, change: Any, *, absent: bool = False) -> None:
    """``absent``: what is to be taken away may be gone."""
    from confluent_kafka import KafkaError, KafkaException

    admin = connect(settings)
    try:
        for done in admin.alter_user_scram_credentials([change], request_timeout=TIMEOUT_S).values():
            done.result()
    except KafkaException as error:
        if absent and error.args[0].code() == KafkaError.RESOURCE_NOT_FOUND:
            return
        raise mapped(error, settings, "the user of Kafka cannot be changed") from error
