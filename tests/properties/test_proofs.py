"""Laws of proofs: what was proven is believed where it was written, and nothing else is, whatever is done to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.believed import Answers, SentCommand, Verdict
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId
from agents_sdk.proofs import COPIED, FORGED, ProofChecker
from agents_sdk.wire.codec import RECORDS, Codec
from agents_sdk.wire.proof import PROOF, Place, Prover, Sequence, generation_of, sealer, subkey
from agents_sdk.wire.signature import LENGTH

KEYS = st.binary(min_size=LENGTH, max_size=LENGTH)
TOPICS = st.sampled_from(["bp.calls", "bp.runs", "bp.inbox.a", "bp.inbox.b", "bp.capabilities"])
CODEC = Codec({name: number for number, name in enumerate(RECORDS, 1)}, lambda schema_id: {})


class EncodedRecord(NamedTuple):
    """A record in a topic, with the header that proves it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    proof: bytes


records = st.tuples(
    TOPICS,
    st.integers(0, 100),
    st.none() | st.binary(max_size=12),
    st.none() | st.binary(max_size=60),
    st.builds(Place, st.integers(0, 2**62), st.integers(0, 1000)),
)


@given(KEYS, records)
def test_what_was_proven_is_believed_where_it_was_written(key: bytes, record: Any) -> None:
    """The proof gives the place back, and the generation of its key."""
    topic, partition, name, value, place = record
    proof = Prover(key, 3).prove(topic, partition, name, value, place)
    assert Prover(key, 3).check(topic, partition, name, value, proof) == place
    assert generation_of(proof) == 3


@given(KEYS, records, st.data())
def test_nothing_that_was_changed_or_moved_is_believed(key: bytes, record: Any, data: st.DataObject) -> None:
    """One other byte, topic, partition, key or kind of nothing; another key; a proof that is cut or longer."""
    topic, partition, name, value, place = record
    genuine = EncodedRecord(topic, partition, name, value, Prover(key).prove(topic, partition, name, value, place))
    field = data.draw(st.sampled_from(EncodedRecord._fields))
    other: Any
    if field == "topic":
        other = data.draw(TOPICS | st.text(max_size=20))
    elif field == "partition":
        other = data.draw(st.integers(0, 2**31 - 1))
    else:
        other = data.draw(st.none() | st.binary(max_size=80) | mutated(getattr(genuine, field)))
    if other == getattr(genuine, field) or (field == "proof" and other is None):
        return
    forged = genuine._replace(**{field: other})
    assert Prover(key).check(*forged) is None


@given(KEYS, KEYS, records)
def test_another_key_proves_nothing(key: bytes, other: bytes, record: Any) -> None:
    """Nor does the same key for another purpose."""
    topic, partition, name, value, place = record
    proof = Prover(key).prove(topic, partition, name, value, place)
    for wrong in (other, subkey(key, "fact")):
        if wrong != key:
            assert Prover(wrong).check(topic, partition, name, value, proof) is None


@st.composite
def mutated(draw: st.DrawFn, value: bytes | None) -> bytes | None:
    """The bytes with one that is another, one more, or one less."""
    if not value:
        return b"\0"
    at = draw(st.integers(0, len(value) - 1))
    return draw(
        st.sampled_from(
            [
                value[:at] + bytes([value[at] ^ draw(st.integers(1, 255))]) + value[at + 1 :],
                value[:at] + value[at + 1 :],
                value + b"\0",
                value[:at] + b"\0" + value[at:],
            ]
        )
    )


@given(st.lists(st.integers(0, 12), max_size=30), KEYS)
def test_a_log_with_copies_in_it_gives_what_it_gave_without(copies: list[int], key: bytes) -> None:
    """Genuine records in their order, and copies of any of those that were there before, anywhere behind them."""
    prover, guard = Prover(key), ProofChecker(lambda generation: Prover(key))
    written: list[tuple[bytes, bytes]] = []
    believed: list[bytes] = []
    for number, copied in enumerate(copies):
        value = b"%d" % number
        written.append((value, prover.prove("bp.calls", 1, b"k", value, Place(number // 2, number % 2))))
        for fresh, (said, proof) in ((True, written[-1]), (False, written[min(copied, len(written) - 1)])):
            verdict = guard.judge("bp.calls", 1, 0, b"k", said, [("other", b"x"), (PROOF, proof)])
            assert verdict == ("" if fresh else COPIED)
            believed += [said] if not verdict else []
    assert believed == [value for value, _ in written]


def test_what_lay_there_before_anything_was_proven_is_believed_below_its_end_only() -> None:
    """A record without a proof in a topic that was noted, below and at the noted end, and in one that was not."""
    guard = ProofChecker(lambda generation: None, before={"bp.runs": [3, 0]})
    verdicts = [guard.judge(topic, p, offset, None, b"v", None) for topic, p, offset in CASES]
    assert verdicts == ["", FORGED, FORGED, FORGED, FORGED]
    assert guard.refused == {FORGED: 4}


CASES = [("bp.runs", 0, 2), ("bp.runs", 0, 3), ("bp.runs", 1, 0), ("bp.runs", 2, 0), ("bp.calls", 0, 0)]


def test_sequence_goes_on_from_where_a_reader_was() -> None:
    """What a snapshot has in it comes again only as a copy."""
    sequence = Sequence()
    sequence.begin("t", 0, Place(5, 1))
    assert [sequence.take("t", 0, place) for place in (Place(5, 1), Place(4), Place(5, 2), Place(5, 2), Place(6))] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert sequence.take("t", 1, Place(0))


STATUSES = st.sampled_from(["ok", "refused", "failed"])
CODES = st.sampled_from(["", "forged", "unauthenticated", "misplaced", "stale", "replayed", "revoked", "scope"])


@given(STATUSES, CODES, st.sampled_from(["me", "you"]), st.integers(0, 2), KEYS, KEYS, st.booleans())
def test_who_has_not_the_askers_key_is_believed_in_nothing(
    status: str, code: str, reply_to: str, issued_at: int, key: bytes, other: bytes, heard: bool
) -> None:
    """Whatever the answer says and whoever signed it: only where nothing was ever proven is a refusal of the client
    itself held back, until something better comes."""
    answers, asked = Answers("me"), [SentCommand(2, "a", 1, key)]
    if heard:
        genuine = CODEC.encode(Reply(command_id=CommandId("c"), reply_to="me", status="ok"))
        assert answers.judge(
            sealer(key).sign(genuine), Reply(command_id=CommandId("c"), reply_to="me", status="ok"), asked
        ) is (Verdict.BELIEVED)
    reply = Reply(command_id=CommandId("c"), reply_to=reply_to, status=status, code=code, issued_at=issued_at)
    encoded = CODEC.encode(reply)
    unprovable = status == "refused" and code in ("forged", "unauthenticated", "misplaced") and not heard
    for data in (encoded, *([sealer(other).sign(encoded)] if other != key else [])):
        assert answers.judge(data, reply, asked) is (Verdict.DOUBTFUL if unprovable else Verdict.REFUSED)


@given(STATUSES, CODES, st.integers(0, 3), KEYS)
def test_what_the_ledger_proves_is_believed_but_for_what_is_about_another_sending(
    status: str, code: str, issued_at: int, key: bytes
) -> None:
    """A copy of an older record of the command is refused for its age; that says nothing of the command."""
    reply = Reply(command_id=CommandId("c"), reply_to="me", status=status, code=code, issued_at=issued_at)
    asked = [SentCommand(1, "a", 1, key), SentCommand(2, "a", 1, key)]
    about_identity = status == "refused" and code not in ("", "scope")
    verdict = Answers("me").judge(sealer(key).sign(CODEC.encode(reply)), reply, asked)
    assert verdict is (Verdict.REFUSED if about_identity and issued_at != 2 else Verdict.BELIEVED)


def test_a_client_without_a_key_believes_what_it_is_told() -> None:
    """It has nothing to check with: a platform without identity works as ever."""
    reply = Reply(command_id=CommandId("c"), reply_to="me", status="ok")
    assert Answers("me").judge(CODEC.encode(reply), reply, [SentCommand.by(None, 1)]) is Verdict.BELIEVED
