"""Writes the registry's records, signed where there is a key, and says whose records count.

An executor runs what a manifest names, with the secrets it names: whoever may write one may have both. So manifests and
switches are signed by the key of ``bp.executor``, which the operator has through the master key and executors have
anyhow; an executor with that key takes no other records. SHELL around a confluent_kafka producer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.registry import Record
from agents_sdk.keys import Keys
from agents_sdk.topics import TOPIC_OF_REGISTRY
from agents_sdk.wire.signature import genuine, sign
from agents_sdk.wire.topics_admin import TIMEOUT_S, mapped

if TYPE_CHECKING:
    from agents_sdk.follower import Trust
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

SIGNER: Final = "bp.executor"
KEY_OF: Final[Mapping[str, str]] = {"CapabilityManifest": "name", "Switch": "target", "ExecutorBeat": "executor"}
"""Record → the field that is its Kafka key."""


def trust(settings: Settings) -> Trust:
    """Who is believed: with the key of ``bp.executor`` whoever signs with it, without it everybody. Raises
    KeyUnusable."""
    key = Keys.of(settings).get(SIGNER)
    if key is None:
        return lambda data, record: True
    secret = key.secret
    return lambda data, record: not hasattr(record, "signature") or genuine(data, secret)


class Registrar:
    """Writes records of the registry. Blocking; may be shared by threads."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        from confluent_kafka import Producer

        self._settings = settings
        self._codec = codec
        self._key = Keys.of(settings).get(SIGNER)
        config: dict[str, Any] = {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "message.timeout.ms": int(TIMEOUT_S * 1000),
            "message.max.bytes": 4_000_000,
            **settings.kafka,
        }
        self._producer = Producer(config)

    def put(self, records: Iterable[Record]) -> None:
        """Writes records and returns when the broker has them all. Raises Unreachable, TopicRefused."""
        self._write([(type(each), getattr(each, KEY_OF[type(each).__name__]), self._bytes(each)) for each in records])

    def remove(self, kind: type[Record], key: str) -> None:
        """Writes a tombstone. Raises Unreachable, TopicRefused."""
        self._write([(kind, key, None)])

    def _bytes(self, record: Record) -> bytes:
        encoded = self._codec.encode(record)
        return sign(encoded, self._key.secret) if self._key and hasattr(record, "signature") else encoded

    def _write(self, writes: Iterable[tuple[type[Record], str, bytes | None]]) -> None:
        from confluent_kafka import KafkaException

        failed: list[Any] = []

        def report(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error)

        for kind, key, value in writes:
            self._producer.produce(TOPIC_OF_REGISTRY[kind], value, key.encode(), on_delivery=report)
        self._producer.flush()
        if failed:
            raise mapped(KafkaException(failed[0]), self._settings, "the registry takes no record")
