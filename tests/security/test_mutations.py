"""Every kind of record that somebody acts on, every field of it: with one thing changed it is not believed.

No servers: the records are those of whole stories, proven as the ledger, an operator and an executor prove them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.believed import Answers, SentCommand, Verdict
from agents_sdk.core.facts import Fact, MessageEvent, Reply
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.ids import CommandId
from agents_sdk.core.ledger.state import PartitionState
from agents_sdk.core.ledger.step import AddressedReply
from agents_sdk.core.registry import CapabilityManifest, ExecutorBeat, Record, Switch
from agents_sdk.keys import Key, issued
from agents_sdk.proofs import FACTS, FORGED, ProofChecker
from agents_sdk.registrar import Trust
from agents_sdk.topics import TOPIC_OF_FACT, TOPIC_OF_REGISTRY, inbox
from agents_sdk.wire.codec import RECORDS, Codec
from agents_sdk.wire.proof import DISPATCH, FACT, FOR_EXECUTORS, Place, Prover, subkey
from agents_sdk.wire.signature import derive, sign
from backplane.ledger.proofs import FOR_EXECUTORS_TOO, Proofs
from tests.support.stories import article

CODEC: Final = Codec({name: number for number, name in enumerate(RECORDS, 1)}, lambda schema_id: {})
MASTER: Final = b"m" * 32
PARTITION: Final = 2
FACTS_TOLD: Final = article("r").facts
BY_KIND: Final = {(type(fact).__name__, fact.kind): fact for fact in FACTS_TOLD}
PROOFS: Final = Proofs(MASTER, PARTITION)


def changed(record: Any, field: str, **more: Any) -> Any:
    """The record with another value of this field."""
    kind = next(each.type for each in msgspec.structs.fields(record) if each.name == field)
    return msgspec.structs.replace(
        record, **{field: other(getattr(record, field), texts=kind == dict[str, str])}, **more
    )


def other(value: Any, *, texts: bool = False) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value + b"x"
        case list():
            return [*value, "x"]
        case dict():
            return {**value, "x": "1" if texts else 1}
    raise AssertionError(value)


def guard(name: str, purpose: str, header: str) -> ProofChecker:
    prover = Prover(subkey(derive(MASTER, name, 0), purpose))
    return ProofChecker(lambda generation: prover if generation == 0 else None, header)


def guards(fact: Fact) -> list[ProofChecker]:
    """Everybody who acts on a fact in its topic."""
    found = [guard(FACTS, FACT, "bp_proof")]
    return [*found, guard(EXECUTOR, DISPATCH, FOR_EXECUTORS)] if isinstance(fact, FOR_EXECUTORS_TOO) else found


@pytest.mark.parametrize("kind", BY_KIND, ids="/".join)
def test_no_field_of_a_fact_can_be_changed(kind: tuple[str, str]) -> None:
    """By kind and field; nor the topic, partition or key that it lies under. The fact itself is believed."""
    fact = BY_KIND[kind]
    topic, key, value = TOPIC_OF_FACT[type(fact)], fact.run_id.encode() or None, CODEC.encode(fact)
    headers = PROOFS.fact(fact, key, value, Place(fact.command_offset, 1))
    for each in guards(fact):
        assert each.judge(topic, PARTITION, 0, key, value, headers) == ""
        for field in fact.__struct_fields__:
            lie = CODEC.encode(changed(fact, field))
            assert each.judge(topic, PARTITION, 0, key, lie, headers) == FORGED, field
        for elsewhere in set(TOPIC_OF_FACT.values()) - {topic}:
            assert each.judge(elsewhere, PARTITION, 0, key, value, headers) == FORGED
        assert each.judge(topic, PARTITION + 1, 0, key, value, headers) == FORGED
        assert each.judge(topic, PARTITION, 0, b"another", value, headers) == FORGED


@pytest.mark.parametrize("kind", [kind for kind in BY_KIND if kind[1] in ("MessageDelivered", "DeliveryCancelled")])
def test_no_field_of_a_delivery_can_be_changed_nor_its_inbox(kind: tuple[str, str]) -> None:
    """With the recipient's key; by another agent's key nothing is proven."""
    fact = BY_KIND[kind]
    assert isinstance(fact, MessageEvent)
    key, value, name = fact.run_id.encode(), CODEC.encode(fact), fact.recipient
    headers = PROOFS.delivery(fact, key, value, Place(fact.command_offset), (3, 2))
    for holder, believed in ((issued(MASTER, name, 3), ""), (issued(MASTER, "thief", 3), FORGED)):
        each = recipient(holder)
        assert each.judge(inbox(name), PARTITION, 0, key, value, headers) == believed
        for field in fact.__struct_fields__:
            lie = CODEC.encode(changed(fact, field))
            assert each.judge(inbox(name), PARTITION, 0, key, lie, headers) == FORGED, field
        assert each.judge(inbox("another"), PARTITION, 0, key, value, headers) == FORGED
        assert each.judge(inbox(name), PARTITION + 1, 0, key, value, headers) == FORGED
        assert each.judge(inbox(name), PARTITION, 0, b"another", value, headers) == FORGED


def recipient(holder: Key) -> ProofChecker:
    def prover(generation: int) -> Prover | None:
        secret = holder.deliveries(generation)
        return Prover(secret) if secret is not None else None

    return ProofChecker(prover)


def test_deliveries_survive_a_rotation_of_the_key_both_ways() -> None:
    """Proven by the older key before the file was replaced, and by both while both are valid."""
    fact = BY_KIND["MessageEvent", "MessageDelivered"]
    assert isinstance(fact, MessageEvent)
    key, value, name = fact.run_id.encode(), CODEC.encode(fact), fact.recipient
    for made, held, believed in (((2,), 3, ""), ((3, 2), 2, ""), ((3,), 2, FORGED), ((2,), 1, FORGED)):
        headers = PROOFS.delivery(fact, key, value, Place(1), made)
        each = recipient(issued(MASTER, name, held))
        assert each.judge(inbox(name), PARTITION, 0, key, value, headers) == believed, (made, held)


def test_no_field_of_an_answer_can_be_changed() -> None:
    """Nor can it be given to another client, or be told to another agent."""
    key = issued(MASTER, "asker", 1)
    reply = Reply(command_id=CommandId("c"), reply_to="me", status="ok", value="1", issued_at=5)
    (encoded,) = PROOFS.answers(PartitionState(), AddressedReply(0, reply, "asker", 1), CODEC.encode(reply), 0)
    asked = [SentCommand.by(key, 5)]
    assert Answers("me").judge(encoded, reply, asked) is Verdict.BELIEVED
    assert Answers("you").judge(encoded, reply, asked) is Verdict.REFUSED
    assert Answers("me").judge(encoded, reply, [SentCommand.by(issued(MASTER, "thief", 1), 5)]) is Verdict.REFUSED
    signature = encoded[-32:]
    for field in set(reply.__struct_fields__) - {"signature"}:
        lie = changed(reply, field, signature=signature)
        assert Answers("me").judge(CODEC.encode(lie), lie, asked) is Verdict.REFUSED, field


REGISTRY: Final[tuple[Record, ...]] = (
    CapabilityManifest(name="n", manifest="{}", source="applied", applied_by="me", applied_at=5),
    Switch(target="n", state="disabled", reason="r", set_by="me", set_at=5),
    ExecutorBeat(executor="e", period_ms=1, beat_at=5, ready=["n/x"], registry_offset=3),
)


class Message:
    """A record as confluent-kafka gives it."""

    def __init__(self, topic: str, key: str, value: bytes | None, headers: Any = None) -> None:
        self._all = topic, key.encode(), value, headers

    def topic(self) -> str:
        return self._all[0]

    def key(self) -> bytes:
        return self._all[1]

    def value(self) -> bytes | None:
        return self._all[2]

    def headers(self) -> Any:
        return self._all[3]

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


@pytest.mark.parametrize("record", REGISTRY, ids=lambda record: type(record).__name__)
def test_no_field_of_a_record_of_the_registry_can_be_changed(record: Record) -> None:
    """Nor its key; a heartbeat is one of its time only; another agent's key proves nothing."""
    key, name = issued(MASTER, EXECUTOR, 0), str(getattr(record, record.__struct_fields__[0]))
    topic, trust = TOPIC_OF_REGISTRY[type(record)], Trust(key)
    encoded = sign(CODEC.encode(record), key.secret)
    assert trust.record(Message(topic, name, encoded), record)
    assert not trust.record(Message(topic, "another", encoded), record)
    assert not Trust(issued(MASTER, "thief", 0)).record(Message(topic, name, encoded), record)
    assert not trust.record(Message(topic, name, CODEC.encode(record)), record)
    for field in set(record.__struct_fields__) - {"signature"}:
        lie = changed(record, field, signature=encoded[-32:])
        assert not trust.record(Message(topic, name, CODEC.encode(lie)), lie), field
    late = Message(topic, name, encoded)
    late.timestamp = lambda: (1, 200_000)  # type: ignore[method-assign]  # a record that was appended later
    assert trust.record(late, record) is not isinstance(record, ExecutorBeat)


@given(st.binary(max_size=80), st.sampled_from(["bp_proof", "other"]))
def test_noise_proves_no_removal(noise: bytes, header: str) -> None:
    """A tombstone with anything in its headers."""
    trust = Trust(issued(MASTER, EXECUTOR, 0))
    message = Message("bp.capabilities", "n", None, [(header, noise)])
    assert trust.removal(message) == (False, None)
