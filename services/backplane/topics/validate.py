"""Checks a JSON datum against a record's contract, more strictly than Avro does.

Pure. Avro's writers coerce and ignore: a bool passes for an int, a float is cut, an unknown field is left out. Here the
types are those of the schema, nothing is unknown, and the kind is one of the record's. A payload is canonical JSON, and
a command has the one body that belongs to its kind.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from agents_sdk import schemas
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import ABOUT_NO_RUN
from agents_sdk.core.ledger.breakers import PREFIX as BREAKER
from agents_sdk.core.registry import POLICIES, SOURCES, STATES
from agents_sdk.wire.signature import LENGTH as SIGNATURE_BYTES

Schema = Mapping[str, Any]

_INTEGERS: Final = {"int": 2**31, "long": 2**63}
_MICROS_FROM: Final = 1_000_000_000_000_000
"""September 2001 in microseconds: a time below it was given in seconds or milliseconds."""
_NO_LIMIT: Final = -1
"""Of a budget; below it nothing has a meaning."""
_DISCARDS: Final = (kinds.MESSAGE_DISCARDED, kinds.CALL_DISCARDED)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NEVER_NEGATIVE: Final = re.compile(
    r"(_us|_ms|_at|_tokens|(?<!budget)_nano_usd|_seq|_offset|_partition)$|^(at|size|version|expected_version|attempt|attempts"
    r"|recipients|max_deliveries|generation|key_generation)$"
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a datum."""

    path: str
    """Dotted path of the field; empty for the datum itself."""
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'datum'}: {self.message}"


class Refused(ValueError):
    """The datum is not what the contract describes; ``problems`` says all that is wrong."""

    def __init__(self, record: str, problems: list[Problem]) -> None:
        super().__init__(f"no {record}: " + "; ".join(str(problem) for problem in problems))
        self.problems = problems


def check(record: str, datum: Any) -> None:
    """Raises Refused unless the datum is a record as the latest schema describes it."""
    found = problems(schemas.avro(record, schemas.latest_version(record)), datum)
    if found:
        raise Refused(record, found)


def problems(schema: Schema, datum: Any) -> list[Problem]:
    """All that is wrong with a datum, in the order of the fields; empty: nothing. A field that has a default may be
    left out.
    """
    found = list(_record(schema, datum, ""))
    # What holds between fields is asked only of a datum whose fields are right one by one.
    return found or list(_whole(schema, datum))


def _record(schema: Schema, datum: Any, at: str) -> Iterator[Problem]:
    if not isinstance(datum, dict):
        yield Problem(at.rstrip("."), f"{_said(datum)} is no {schema['name']}")
        return
    fields = {field["name"]: field for field in schema["fields"]}
    for name in datum.keys() - fields.keys():
        yield Problem(f"{at}{name}", f"{schema['name']} has no such field")
    payloads = schema.get("payloads", ())
    for name, field in fields.items():
        if name not in datum:
            if "default" not in field:
                yield Problem(f"{at}{name}", "is missing and has no default")
            continue
        value = datum[name]
        wrong = list(_value(field["type"], value, f"{at}{name}"))
        yield from wrong
        if not wrong and name in payloads:
            yield from _payload(value, f"{at}{name}")
        if not wrong and _NEVER_NEGATIVE.search(name) and isinstance(value, int) and value < 0:
            yield Problem(f"{at}{name}", f"{value} is below zero")
        if not wrong and name == "budget_nano_usd" and value < _NO_LIMIT:
            yield Problem(f"{at}{name}", f"{value} is no budget; {_NO_LIMIT} is none")
    kind = datum.get("kind")
    if not at and "kinds" in schema and isinstance(kind, str) and kind not in schema["kinds"]:
        yield Problem("kind", f"{kind!r} is no kind of {schema['name']}; there are {', '.join(schema['kinds'])}")


def _value(schema: Any, value: Any, path: str) -> Iterator[Problem]:
    if isinstance(schema, list):
        yield from _union(schema, value, path)
        return
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        yield from _record(schema, value, f"{path}.")
    elif kind == "array":
        if not isinstance(value, list):
            yield Problem(path, f"{_said(value)} is no array")
        else:
            for index, item in enumerate(value):
                yield from _value(schema["items"], item, f"{path}[{index}]")
    elif kind == "map":
        if not isinstance(value, dict):
            yield Problem(path, f"{_said(value)} is no map")
        else:
            for key, item in value.items():
                yield from _value(schema["values"], item, f"{path}.{key}")
    else:
        wrong = _PRIMITIVES[kind](kind, value)
        if wrong:
            yield Problem(path, wrong)
        elif isinstance(schema, dict) and schema.get("logicalType") == "timestamp-micros" and 0 < value < _MICROS_FROM:
            yield Problem(path, f"{value} is no time in microseconds since 1970, but in a coarser unit")


def _union(branches: list[Any], value: Any, path: str) -> Iterator[Problem]:
    """Our unions are null or one other type; a test holds that."""
    if value is None and "null" in branches:
        return
    for branch in branches:
        if branch != "null":
            yield from _value(branch, value, path)


def _integer(kind: str, value: Any) -> str:
    if type(value) is not int:
        return f"{_said(value)} is no {kind}"
    bound = _INTEGERS[kind]
    return "" if -bound <= value < bound else f"{value} does not fit a {kind}"


def _string(kind: str, value: Any) -> str:
    if not isinstance(value, str):
        return f"{_said(value)} is no {kind}"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"is no Unicode text: {error.reason}"
    return ""


def _bytes(kind: str, value: Any) -> str:
    """Bytes stand in JSON as base64."""
    try:
        b64decode(value, validate=True)
    except (ValueError, TypeError):
        return f"{_said(value)} is no {kind} in base64"
    return ""


def _exactly(python: type) -> Callable[[str, Any], str]:
    return lambda kind, value: "" if type(value) is python else f"{_said(value)} is no {kind}"


_PRIMITIVES: Final[dict[str, Callable[[str, Any], str]]] = {
    "int": _integer,
    "long": _integer,
    "string": _string,
    "bytes": _bytes,
    "boolean": _exactly(bool),
    "double": _exactly(float),
}


def _payload(text: str, path: str) -> Iterator[Problem]:
    if not text:
        return  # empty: there is none
    try:
        value = json.loads(text)
    except ValueError as error:
        yield Problem(path, f"is no JSON: {error}")
        return
    if ids.canonical(value) != text:
        yield Problem(path, f"is not canonical JSON (sorted keys, no white space), which is {ids.canonical(value)!r}")


def _whole(schema: Schema, datum: Mapping[str, Any]) -> Iterator[Problem]:
    name = schema["name"]
    if name == "Command":
        yield from _command(schema, datum)
    elif name == "Reply":
        yield from _reply(datum)
        yield from _signature(datum)
    elif name in _REGISTRY:
        yield from _REGISTRY[name](datum)
        yield from _signature(datum)
    else:
        yield from _fact(datum)


def _fact(fact: Mapping[str, Any]) -> Iterator[Problem]:
    if not _uuid(fact["event_id"]):
        yield Problem("event_id", f"{fact['event_id']!r} is no UUID")
    if not fact["command_id"]:
        yield Problem("command_id", "is empty; every fact has a cause")
    if not fact["at"]:
        yield Problem("at", "is 0; every fact happened at some time")
    if fact["run_seq"] and not fact["run_id"]:
        yield Problem("run_seq", f"is {fact['run_seq']} although the fact is about no run")
    # a refusal may be about a run there never was, what is discarded about one that had ended, and the key of a breaker
    # is none
    numbered = "code" not in fact and fact["kind"] not in _DISCARDS and not fact["run_id"].startswith(BREAKER)
    if fact["run_id"] and not fact["run_seq"] and numbered:
        yield Problem("run_seq", "is 0 although the fact is about a run, whose facts are numbered from 1")
    value, hashed = fact.get("value", ""), fact.get("value_hash", "")
    if hashed and not _HASH.fullmatch(hashed):
        yield Problem("value_hash", f"{hashed!r} is no SHA-256 in hex")
    elif value and hashed != hashlib.sha256(value.encode()).hexdigest():
        yield Problem("value_hash", "is not the hash of this value")
    if value and fact.get("size") != len(value.encode()):
        yield Problem("size", f"is {fact.get('size')} for a value of {len(value.encode())} bytes")
    if fact.get("expected_version") and not fact.get("guarded"):
        yield Problem("expected_version", f"is {fact['expected_version']} although guarded is false")


def _command(schema: Schema, command: Mapping[str, Any]) -> Iterator[Problem]:
    if not command["command_id"]:
        yield Problem("command_id", "is empty, and nothing else tells a repetition from a second command")
    yield from _signature(command)
    kind = command["kind"]
    for field in schema["fields"]:
        if not isinstance(field["type"], list):
            continue
        belongs = kind in field["type"][-1]["kinds"]
        given = command.get(field["name"]) is not None
        if belongs and not given:
            yield Problem(field["name"], f"a command of kind {kind} needs this body")
        if given and not belongs and kind not in field["type"][-1].get("beside", ()):
            yield Problem(field["name"], f"is no body of a command of kind {kind}")
    if not command["run_id"] and kind not in ABOUT_NO_RUN:
        yield Problem("run_id", f"is empty; only {' and '.join(sorted(ABOUT_NO_RUN))} are about no run, not {kind}")


def _signature(datum: Mapping[str, Any]) -> Iterator[Problem]:
    signature = datum.get("signature", "")
    if signature and len(b64decode(signature)) != SIGNATURE_BYTES:
        yield Problem("signature", f"has {len(b64decode(signature))} bytes; an HMAC-SHA256 has {SIGNATURE_BYTES}")


def _manifest(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    if json.loads(manifest["manifest"] or "{}").get("name") != manifest["name"]:
        yield Problem("name", f"is {manifest['name']!r}, and the manifest is about another capability")
    if manifest["source"] not in SOURCES:
        yield Problem("source", f"{manifest['source']!r} is none of {', '.join(SOURCES)}")


def _switch(switch: Mapping[str, Any]) -> Iterator[Problem]:
    target, state, policy = switch["target"], switch["state"], switch.get("policy", "")
    if not target:
        yield Problem("target", "is empty")
    if state not in STATES:
        yield Problem("state", f"{state!r} is none of {', '.join(STATES)}")
    if (policy in POLICIES) != (state == "paused"):
        yield Problem(
            "policy", f"is {policy!r} although the state is {state!r}; {' or '.join(POLICIES)} go with paused"
        )
    if state == "paused" and "/" in target:
        yield Problem("target", f"{target!r} is a provider; only capabilities are paused")


def _beat(beat: Mapping[str, Any]) -> Iterator[Problem]:
    if not beat["period_ms"]:
        yield Problem("period_ms", "is 0")
    for each in beat.get("ready", []):
        if each.count("/") != 1:
            yield Problem("ready", f"{each!r} is no capability/provider")


_REGISTRY: Final = {"CapabilityManifest": _manifest, "Switch": _switch, "ExecutorBeat": _beat}


def _reply(reply: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("command_id", "reply_to", "status"):
        if not reply[name]:
            yield Problem(name, "is empty")
    if reply["status"] == "refused" and not reply.get("code"):
        yield Problem("code", "is empty although the command was refused")


def _uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _said(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:80]
