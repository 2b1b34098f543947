"""Hostile values, driven by the Avro schemas: the same seed gives the same inputs. No I/O."""

from __future__ import annotations

import json
import random
import struct
from typing import Any, Final

import msgspec

from agents_sdk import schemas
from agents_sdk.core import commands
from agents_sdk.core.identity import EXECUTOR, OPERATOR
from agents_sdk.wire.codec import RECORDS, Codec
from backplane.topics.examples import examples

INTEGERS: Final = (
    *(0, 1, -1, 2, 127, 128, 255, 1_000, 30_000, 60_000),
    *(2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**62, 2**63 - 1, -(2**63), 10**15, 1_790_000_000_000_000),
)
DEEP: Final = "[" * 2_000 + "]" * 2_000
TEXTS: Final = (
    *("", " ", "a", "0", "-1", "k", "*", "**", "?", "[", "a/b", "../../etc/passwd", "a.b.c", "event:x", "state:k"),
    *("\0", "\n", "\u202e", "\ufeff", "\U0010ffff", "é" * 300, "ключ", "%s%n", "{{7*7}}", "'; DROP TABLE events; --"),
    *("null", "true", "[]", "{}", "1e999999", "NaN", "Infinity", "9" * 5_000, '{"a":' * 500 + "1" + "}" * 500, '"'),
    *('{"type":"string"}', '{"$ref":"#"}', '{"pattern":"(a+)+$"}', '{"a":1,"a":2}', DEEP),
    *("bp.ledger", "bp.executor", "bp.operator", "bp.facts", "memory/", "memory/x", "memory/../y", "breaker/a/b/c"),
    *("018f0000-0000-7000-8000-000000000000", "00000000-0000-0000-0000-000000000000", "x" * 199, "x" * 4_097),
    *(
        "all_completed",
        "n_completed",
        "idle",
        "explicit",
        "set",
        "append",
        "counter",
        "merge",
        "<script>alert(1)</script>",
    ),
)
SENDERS: Final = ("", "nobody", "canary", "bp.ledger", EXECUTOR, OPERATOR, "bp.facts", "a/b", "x" * 300, "\0")
LARGE: Final = 300_000


class Values:
    """Records with hostile fields. ``known`` are ids of runs that there are."""

    def __init__(self, seed: int, codec: Codec, client: str) -> None:
        """``client``: the sender whose key is at hand."""
        self.random = random.Random(seed)
        self.known: list[str] = []
        self._codec = codec
        self._client = client
        self._schemas = {name: schemas.latest(name) for name in RECORDS}
        self._samples = {name: [each.build() for each in examples(name)] for name in RECORDS}

    def record(self, name: str) -> Any:
        """A record of that name: an example with some fields replaced, or hostile from end to end."""
        chance = self.random
        if self._samples[name] and chance.random() < 0.6:
            sample: Any = chance.choice(self._samples[name])
            return self._changed(sample)
        fields = {field["name"]: self._value(field["type"], name) for field in self._schemas[name]["fields"]}
        if name == "Command":
            return self._command(fields)
        return RECORDS[name](**fields)

    def _changed(self, sample: Any) -> Any:
        """A sample with a few hostile fields; of a command, mostly in its body."""
        chance = self.random
        fields = msgspec.structs.asdict(sample)
        types = {field["name"]: field["type"] for field in self._schemas[type(sample).__name__]["fields"]}
        for name in chance.sample(sorted(types), min(len(types), chance.randint(0, 2))):
            if not isinstance(types[name], list):
                fields[name] = self._value(types[name], name)
        for name in commands.BODIES if isinstance(sample, commands.Command) else ():
            if fields.get(name) is not None:
                fields[name] = self._changed_body(fields[name], types[name][1])
        if isinstance(sample, commands.Command):
            fields |= {"command_id": self._id(), "run_id": self._run(), "agent": self._sender()}
        return type(sample)(**fields)

    def _changed_body(self, body: Any, schema: dict[str, Any]) -> Any:
        types = {field["name"]: field["type"] for field in schema["fields"]}
        some = self.random.sample(sorted(types), min(len(types), self.random.randint(0, 3)))
        return msgspec.structs.replace(body, **{name: self._value(types[name], name) for name in some})

    def _command(self, fields: dict[str, Any]) -> commands.Command:
        kind = self.random.choice([*commands.BODY_OF_KIND, *commands.BODY_OF_KIND, "NoSuchKind", ""])
        fields |= {"kind": kind, "command_id": self._id(), "run_id": self._run(), "agent": self._sender()}
        wanted = commands.BODY_OF_KIND.get(kind, "")
        schema = next((f["type"][1] for f in self._schemas["Command"]["fields"] if f["name"] == wanted), None)
        if schema is not None:
            given = {field["name"]: self._value(field["type"], field["name"]) for field in schema["fields"]}
            fields[wanted] = commands.BODIES[wanted](**given)
        return commands.Command(**fields)

    def _id(self) -> str:
        return f"{self.random.getrandbits(128):032x}" if self.random.random() < 0.9 else self._text()

    def _run(self) -> str:
        if self.known and self.random.random() < 0.5:
            return self.random.choice(self.known)
        return self._id()

    def _sender(self) -> str:
        return self._client if self.random.random() < 0.7 else self.random.choice(SENDERS)

    def _text(self) -> str:
        chance = self.random.random()
        if chance < 0.001:
            return "x" * self.random.randint(1, LARGE)
        if chance < 0.7:
            return self.random.choice(TEXTS)
        return "".join(
            chr(self.random.choice((65, 97, 48, 46, 47, 0x7F, 0xE9, 0x4E2D))) for _ in range(self.random.randint(0, 20))
        )

    def _integer(self, width: int) -> int:
        number = self.random.choice(INTEGERS) if self.random.random() < 0.8 else self.random.getrandbits(width - 1)
        limit: int = 2 ** (width - 1)
        return max(-limit, min(number, limit - 1))

    def _value(self, schema: Any, name: str) -> Any:
        if isinstance(schema, list):
            return None
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind in ("int", "long"):
            return self._integer(32 if kind == "int" else 64)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "bytes":
            return self.random.randbytes(self.random.choice((0, 1, 31, 32, 33)))
        if kind == "array":
            return [self._value(schema["items"], name) for _ in range(self._count())]
        if kind == "map":
            return {self._text(): self._value(schema["values"], name) for _ in range(self._count())}
        return self._text()

    def _count(self) -> int:
        return self.random.choice((0, 0, 1, 1, 2, 3, 50)) if self.random.random() < 0.99 else 2_000

    def encoded(self, record: Any) -> bytes:
        """The record's bytes; nonsense where even the codec refuses it."""
        try:
            return self._codec.encode(record)
        except (ValueError, TypeError, AttributeError):
            return self.nonsense()

    def nonsense(self) -> bytes:
        """Bytes that are no record: random, or with a header of ours and any schema id."""
        body = self.random.randbytes(self.random.choice((0, 1, 4, 5, 6, 50, 300)))
        shape = self.random.random()
        if shape < 0.4:
            return body
        schema_id = self.random.choice((0, 1, 2, 5, 20, 2**31 - 1, self.random.getrandbits(31)))
        return struct.pack(">bI", 0 if shape < 0.9 else 1, schema_id) + body

    def broken(self, data: bytes) -> bytes:
        """The bytes of a record with some of them changed, cut or doubled."""
        chance = self.random
        if len(data) < 8:
            return data
        at = chance.randrange(5, len(data))
        shape = chance.randrange(5)
        if shape == 0:
            return data[:at]
        if shape == 1:
            return data + chance.randbytes(chance.randint(1, 20))
        if shape == 2:
            return data[:at] + data[5:at] + data[at:]
        if shape == 3:  # a length or a count beyond all bounds
            return data[:at] + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data[at:]
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(5, len(data))] = chance.getrandbits(8)
        return bytes(changed)

    def json(self) -> str:
        """A JSON body for a port."""
        made = {self._text()[:50]: self.random.choice([self._text(), self._integer(64), None, [self._text()[:20]]])}
        return json.dumps(made)
