"""Writes the registry's records, signed where there is a key, and says whose records count.

An executor runs the code that a manifest names, with the secrets it names: a writer of one may have both. So manifests,
switches and heartbeats are signed by the key of ``bp.executor``. The operator has it through the master key and
executors have it anyhow; an executor with that key takes no other records. A tombstone has no record that could be
signed: its proof is a header. SHELL around a confluent_kafka producer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from agents_sdk.core.catalogue import key_of
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.registry import ExecutorBeat, Record
from agents_sdk.keys import Key, Keys
from agents_sdk.proofs import Unproven, unproven
from agents_sdk.topics import TOPIC_OF_REGISTRY
from agents_sdk.wire.consuming import headers_of
from agents_sdk.wire.proof import PROOF, TOMBSTONE, Place, Prover, proofs, subkey
from agents_sdk.wire.signature import genuine, sign
from agents_sdk.wire.topics_admin import TIMEOUT_S, mapped

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

WINDOW_US: Final = 120_000_000
"""How far the time of a heartbeat may be from the broker's, as with commands: an older one is a copy."""


class Trust:
    """The writers that count: with the key of ``bp.executor`` those that have it, without it everybody."""

    def __init__(self, key: Key | None = None, before: Unproven | None = None) -> None:
        self._key = key
        self._before = before or {}
        self._tombstones = Prover(subkey(key.secret, TOMBSTONE)) if key is not None else None

    def record(self, message: Any, record: Record) -> bool:
        """Whether a record is to be acted on, as it came."""
        if self._key is None or self._is_before(message):
            return True
        value = message.value()
        if key_of(record).encode() != message.key() or not genuine(value, self._key.secret):
            return False
        if isinstance(record, ExecutorBeat):
            return bool(abs(message.timestamp()[1] * 1000 - record.beat_at) <= WINDOW_US)
        return True

    def removal(self, message: Any) -> tuple[bool, int | None]:
        """Whether a tombstone is to be acted on, and when it was written; None: it does not say."""
        if self._tombstones is None or self._is_before(message):
            return True, None
        for proof in proofs(headers_of(message)):
            place = self._tombstones.check(message.topic(), message.partition(), message.key(), None, proof)
            if place is not None:
                return True, place.command_offset
        return False, None

    def _is_before(self, message: Any) -> bool:
        ends = self._before.get(message.topic(), ())
        return bool(message.partition() < len(ends) and message.offset() < ends[message.partition()])


def trust(settings: Settings) -> Trust:
    """The believed writers, as the settings say. Raises KeyUnusable."""
    return Trust(Keys.of(settings).get(EXECUTOR), unproven(settings.identity.unproven_file))


class Registrar:
    """Writes records of the registry. Blocking; may be shared by threads."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        from confluent_kafka import Producer

        self._settings = settings
        self._codec = codec
        self._key = Keys.of(settings).get(EXECUTOR)
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
        self._write([(type(each), key_of(each), self._bytes(each), []) for each in records])

    def remove(self, kind: type[Record], key: str, at: int = 0) -> None:
        """Writes a tombstone, which takes back what was said before ``at`` (microseconds UTC; 0: before now). Raises
        Unreachable, TopicRefused."""
        headers: list[tuple[str, bytes]] = []
        if self._key is not None:
            prover = Prover(subkey(self._key.secret, TOMBSTONE))
            place = Place(at or time.time_ns() // 1000)
            headers.append((PROOF, prover.prove(TOPIC_OF_REGISTRY[kind], 0, key.encode(), None, place)))
        self._write([(kind, key, None, headers)])

    def _bytes(self, record: Record) -> bytes:
        encoded = self._codec.encode(record)
        return sign(encoded, self._key.secret) if self._key is not None else encoded

    def _write(self, writes: Iterable[tuple[type[Record], str, bytes | None, list[tuple[str, bytes]]]]) -> None:
        from confluent_kafka import KafkaException

        failed: list[Any] = []

        def report(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error)

        for kind, key, value, headers in writes:
            self._producer.produce(
                TOPIC_OF_REGISTRY[kind], value, key.encode(), 0, on_delivery=report, headers=cast(Any, headers)
            )
        self._producer.flush()
        if failed:
            raise mapped(KafkaException(failed[0]), self._settings, "the registry takes no record")
