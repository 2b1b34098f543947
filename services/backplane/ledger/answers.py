"""The answers to one batch of commands, sent before its facts are committed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import Producer

from agents_sdk.core.facts import Reply
from agents_sdk.core.ledger import PartitionState
from agents_sdk.core.ledger.step import AddressedReply
from agents_sdk.wire.codec import Codec
from backplane.ledger.outgoing import OVERHEAD
from backplane.ledger.proofs import Proofs, place_of

log = logging.getLogger("backplane.ledger")


class Answers:
    """Collects the answers to the senders of a batch, by partition of bp.replies, and sends them at once."""

    def __init__(
        self,
        partition: int,
        codec: Codec,
        producer: Producer,
        limit: int,
        proofs: Proofs | None,
        book: Callable[[], PartitionState],
    ) -> None:
        """``limit``: bytes of a record that bp.replies takes; ``proofs`` proves the answers; ``book`` says which keys
        count."""
        self._proofs = proofs
        self._book = book
        self._partition = partition
        self._codec = codec
        self._producer = producer
        self._limit = limit
        self._waiting: dict[tuple[str, int], list[dict[str, Any]]] = {}
        """By topic and partition."""

    def add(self, addressed: AddressedReply, at: int) -> None:
        """An answer to a command that was appended at this time. Raises whatever a field that cannot be encoded makes
        the codec raise."""
        encoded = self._encoded(addressed.reply)
        values = self._proofs.answers(self._book(), addressed, encoded, at) if self._proofs is not None else [encoded]
        messages = [{"key": addressed.reply.reply_to, "value": value} for value in values]
        self._waiting.setdefault(place_of(addressed), []).extend(messages)

    def _encoded(self, reply: Reply) -> bytes:
        """The answer's bytes; where it is larger than a record may be, a refusal that says so."""
        value = self._codec.encode(reply)
        if len(value) + OVERHEAD + len(reply.reply_to) * 4 <= self._limit:
            return value
        message = f"the answer has {len(value)} bytes, a record has {self._limit} at most: ask for less at once"
        short = msgspec.structs.replace(
            reply, status="refused", code="oversize", message=message, value="", detail="", version=0
        )
        return self._codec.encode(short)

    def send(self) -> None:
        """Sends what was added, in one call a partition. Single calls cost a wake-up of librdkafka's thread each, a
        third of the worker's time when measured. They carry no headers, which that call does not take. Raises nothing:
        a client whose answer is lost asks again, and is answered from the book."""
        answers, self._waiting = self._waiting, {}
        for (topic, partition), messages in answers.items():
            try:
                self._producer.produce_batch(topic, messages, partition)
            except BufferError:
                log.warning("partition %d: %d answers dropped, reply queue full", self._partition, len(messages))
            except Exception as error:  # noqa: BLE001 — a partition that no client can have: the sender made it up
                log.warning(
                    "partition %d: %d answers to partition %d of %s are not sent: %s",
                    self._partition, len(messages), partition, topic, error,
                )  # fmt: skip
        self._producer.poll(0)
