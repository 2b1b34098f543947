"""Which changes of a record are refused, and what the diff says about them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agents_sdk import schemas
from agents_sdk.wire.registry import SubjectVersion
from backplane.topics.apply import refusals
from backplane.topics.compatibility import breaking, broken_by, differences, is_zero

Change = Callable[[dict[str, Any]], Any]


def changed(record: str, change: Change) -> dict[str, Any]:
    schema = copy.deepcopy(schemas.avro(record))
    change(schema)
    return schema


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(field for field in schema["fields"] if field["name"] == name)
    return found


def added(**about: Any) -> Change:
    return lambda schema: schema["fields"].append({"name": "region", "type": "string", **about})


def body(schema: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = field(schema, "state")["type"][1]
    return nested


ALLOWED: list[tuple[str, Change, str]] = [
    ("RunEvent", added(default=""), "+ region: string"),
    ("RunEvent", added(type=["null", "string"], default=None), "+ region: null | string"),
    ("RunEvent", added(type={"type": "array", "items": "string"}, default=[]), "+ region: array of string"),
    ("RunEvent", lambda s: s["fields"].remove(field(s, "reason")), "- reason: string"),
    ("RunEvent", lambda s: s["kinds"].append("RunPaused"), "+ kind RunPaused"),
    ("RunEvent", lambda s: field(s, "reason").update(doc="Why."), "~ reason: doc"),
    ("RunEvent", lambda s: s.update(doc="Runs."), "~ doc of the record"),
    ("Command", lambda s: body(s)["fields"].append({"name": "ttl", "type": "long", "default": 0}), "+ state.ttl: long"),
]

REFUSED: list[tuple[str, Change, str]] = [
    ("RunEvent", added(), "region: string  <- an added field needs a default"),
    ("RunEvent", added(default="EU"), "null, zero or empty"),
    ("RunEvent", added(type="long", default=7), "null, zero or empty"),
    ("RunEvent", added(type="boolean", default=True), "null, zero or empty"),
    ("RunEvent", lambda s: s["fields"].remove(field(s, "run_seq")), "- run_seq: long  <- it has no default"),
    ("RunEvent", lambda s: field(s, "run_seq").update(type="int"), "~ run_seq: long → int"),
    ("RunEvent", lambda s: field(s, "run_seq").update(type="string"), "~ run_seq: long → string"),
    ("RunEvent", lambda s: field(s, "reason").update(type=["null", "string"]), "~ reason: string → null | string"),
    ("RunEvent", lambda s: field(s, "at")["type"].update(logicalType="timestamp-millis"), "timestamp-millis"),
    ("RunEvent", lambda s: s["kinds"].remove("RunFailed"), "- kind RunFailed"),
    ("RunEvent", lambda s: s.update(name="Run"), "'RunEvent' → 'Run'"),
    ("RunEvent", lambda s: s.update(namespace="bp"), "namespace"),
    (
        "DecisionEvent",
        lambda s: field(s, "context_used")["type"].update(items="bytes"),
        "context_used[]: string → bytes",
    ),
    ("Command", lambda s: body(s)["fields"].append({"name": "ttl", "type": "long"}), "+ state.ttl: long  <-"),
    ("Command", lambda s: body(s)["fields"].remove(field(body(s), "key")), "- state.key: string  <-"),
    ("Command", lambda s: field(s, "state")["type"].append("string"), "~ state: null | StateBody → null | StateBody |"),
    ("Command", lambda s: field(s, "state")["type"].pop(0), "~ state: null | StateBody → StateBody"),
]


@pytest.mark.parametrize("record", list(schemas.records()))
def test_equal_schemas_do_not_differ(record: str) -> None:
    """A schema differs in nothing from itself."""
    assert differences(schemas.avro(record), schemas.avro(record)) == []


@pytest.mark.parametrize(("record", "change", "said"), ALLOWED)
def test_compatible_change_is_told_and_allowed(record: str, change: Change, said: str) -> None:
    """What every reader copes with is shown, and refused by nothing."""
    new = changed(record, change)
    assert said in "\n".join(map(str, differences(schemas.avro(record), new)))
    assert breaking(schemas.avro(record), new) == []


@pytest.mark.parametrize(("record", "change", "said"), REFUSED)
def test_incompatible_change_is_refused_with_the_field(record: str, change: Change, said: str) -> None:
    """What would break a reader, old or new, ours or ClickHouse, is refused, and the line names the field."""
    broken = breaking(schemas.avro(record), changed(record, change))
    assert len(broken) == 1
    assert said in str(broken[0])


def test_every_older_version_counts() -> None:
    """A default that was dropped again breaks not the version before but the one before that: transitive."""
    first = schemas.avro("RunEvent")
    second = changed("RunEvent", added(default=""))
    third = changed("RunEvent", added())
    assert breaking(second, third) == []
    assert [index for index, _ in broken_by(third, [first, second])] == [0]


def test_refusal_names_file_version_and_id() -> None:
    """The refusal says which file breaks which registered version, and shows all differences."""
    local = {1: schemas.avro("RunEvent"), 2: changed("RunEvent", added(default="EU"))}
    told = refusals("RunEvent", 2, local, [SubjectVersion(4, 17, schemas.avro("RunEvent"))])
    assert "RunEvent.v2.avsc is incompatible with RunEvent.v1.avsc" in told[0]
    told = refusals("RunEvent", 2, {2: local[2]}, [SubjectVersion(4, 17, schemas.avro("RunEvent"))])
    assert told[0] == "  RunEvent.v2.avsc is incompatible with registered version 4 (id 17):"
    assert '+ region: string = "EU"  <-' in told[1]
    assert refusals("RunEvent", 1, local, [SubjectVersion(4, 17, schemas.avro("RunEvent"))]) == []


def test_zero_is_null_zero_or_empty() -> None:
    """What ClickHouse reads for a missing field, and nothing else."""
    zeros: tuple[Any, ...] = (None, 0, 0.0, False, "", [], {})
    assert all(is_zero(default) for default in zeros)
    assert not any(is_zero(default) for default in (1, -1, True, "0", [0], {"a": 0}, 0.1))
