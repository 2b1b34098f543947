"""Inputs for topics: which record goes where, in which shape, in whose batch. The same seed gives the same inputs."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

from agents_sdk import topics
from agents_sdk.core.commands import Command
from agents_sdk.signer import Signer
from agents_sdk.wire.registry import topic_of
from tests.fuzz.values import Values
from tests.support.raw_records import CODECS, CREATE_TIME_MS, Raw, batch

TIMES: Final = (CREATE_TIME_MS, -1, 0, 1, -(2**62), CREATE_TIME_MS + 86_400_000)
SHAPES: Final = ("well-formed", "well-formed", "another record", "broken", "nonsense", "no value", "odd headers")
"""What a record is; a third of all is what its topic holds."""


class Made(NamedTuple):
    """One batch for one partition."""

    topic: str
    data: bytes
    kinds: Counter[str]


class Topics:
    """Makes batches for all topics of a platform."""

    def __init__(self, values: Values, signer: Signer, client: str, inbox: str) -> None:
        """``client``: the sender whose key is at hand; ``inbox``: the topic of an agent that runs."""
        self._client = client
        self._values = values
        self._signer = signer
        records = {topic_of(name): name for name in ("Command", "Reply")}
        records |= {topic: kind.__name__ for kind, topic in topics.TOPIC_OF_FACT.items()}
        records |= {topic: kind.__name__ for kind, topic in topics.TOPIC_OF_REGISTRY.items()}
        records |= {inbox: "MessageEvent"}
        letters = {topics.dead_letter(topic): name for topic, name in records.items() if topic not in SINGLE}
        self.record_of: dict[str, str] = {**records, **letters}
        self._names = sorted({*records.values()})

    def batch(self, topic: str, size: int) -> Made:
        """``size`` inputs for one partition of the topic."""
        chance = self._values.random
        kinds: Counter[str] = Counter()
        raws = []
        for _ in range(size):
            shape = chance.choice(SHAPES)
            raws.append(self._raw(self.record_of[topic], shape, compacted=topic in COMPACTED))
            kinds[shape] += 1
        codec = chance.choice(sorted(CODECS))
        kinds[f"in a batch of {codec}"] += size
        return Made(topic, batch(raws, codec, first_ms=chance.choice(TIMES)), kinds)

    def _raw(self, name: str, shape: str, *, compacted: bool) -> Raw:
        values, chance = self._values, self._values.random
        key = chance.choice(
            (
                b"k" if compacted else None,
                b"",
                b"k",
                b"\xff\xfe",
                b"x" * 300,
                *(run.encode() for run in values.known[-3:]),
            )
        )
        if shape == "no value":
            return Raw(key, None)
        if shape == "nonsense":
            return Raw(key, values.nonsense())
        if shape == "another record":
            name = chance.choice(self._names)
        record = values.record(name)
        data = self._bytes(record)
        if shape == "broken":
            data = values.broken(data)
        headers = self._headers() if shape == "odd headers" else ()
        return Raw(getattr(record, "run_id", "").encode("utf-8", "replace") or key, data, headers)

    def _bytes(self, record: Any) -> bytes:
        """Signed where the key of its sender is at hand, as of now."""
        if isinstance(record, Command) and record.agent == self._client and self._values.random.random() < 0.9:
            try:
                return self._signer.encode(record)
            except (ValueError, TypeError, AttributeError):
                return self._values.nonsense()
        return self._values.encoded(record)

    def _headers(self) -> tuple[tuple[bytes, bytes | None], ...]:
        chance = self._values.random
        odd: tuple[tuple[tuple[bytes, bytes | None], ...], ...] = (
            ((b"\xff\xfe", b"x"),),
            ((b"", None), (b"a\0b", b"")),
            ((b"h" * 2_000, b"\xff" * 2_000),),
            ((b"h", b""),) * 3_000,
            ((b"bp_proof", b"\0" * 32), (b"traceparent", b"no")),
            ((b"__dlq.errors.redrive.count", b"9" * 5_000), (b"__dlq.errors.topic", b"\xff")),
            ((b"__dlq.redriven.offset", b"x"), (b"__dlq.redriven.offset", b"9" * 30)),
        )
        return chance.choice(odd)


COMPACTED: Final = frozenset({topics.BREAKERS, *topics.TOPIC_OF_REGISTRY.values()})
"""Topics of which Kafka takes no record without a key."""
SINGLE: Final = frozenset({topics.REPLIES, *topics.TOPIC_OF_REGISTRY.values()})
"""Topics without a dead-letter topic of their own."""
