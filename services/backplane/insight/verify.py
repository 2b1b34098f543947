"""Whether what the store says of facts is what lies in Kafka: each is read from its topic, partition and offset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from confluent_kafka import KafkaException, TopicPartition

from agents_sdk.wire.codec import Codec, Undecodable
from backplane.runtime.clients import reader

if TYPE_CHECKING:
    from backplane.insight.answers import Event

TIMEOUT_S: Final = 10.0
COMPARED: Final = ("event_id", "kind", "run_seq", "agent", "at", "causation_id")
ALSO: Final = ("key", "version", "call_id", "message_id", "cost_nano_usd", "provider", "model")
"""Compared where both sides have them."""


class Verification(NamedTuple):
    """One fact."""

    event: Event
    problem: str
    """Empty: Kafka has the same."""


def verify(events: Iterable[Event], kafka: Mapping[str, str], codec: Codec) -> list[Verification]:
    """Each fact once. Raises KafkaException when Kafka does not answer."""
    unique = {event.event_id: event for event in events}
    consumer = reader(kafka, auto_offset_reset="error")
    try:
        found = []
        for event in unique.values():
            consumer.assign([TopicPartition(event.topic, event.partition, event.offset)])
            message = consumer.poll(TIMEOUT_S)
            found.append(Verification(event, _problem(event, message, codec)))
        return found
    finally:
        consumer.close()


def _problem(event: Event, message: object, codec: Codec) -> str:
    from confluent_kafka import Message

    if not isinstance(message, Message):
        raise KafkaException(f"no answer for {event.topic}[{event.partition}] offset {event.offset}")
    if message.error() is not None or message.offset() != event.offset:
        return "Kafka has no record there any longer"
    try:
        fact = codec.decode(message.value())
    except Undecodable as error:
        return f"the record cannot be read: {error}"
    for name in (*COMPARED, *ALSO):
        stored = getattr(event, name)
        there = getattr(fact, name, None if name in COMPARED else stored)
        if there != stored and not (fact.__class__.__name__ == "CallEvent" and name == "cost_nano_usd"):
            return f"{name} is {there!r} in Kafka and {stored!r} in the store"
    return ""
