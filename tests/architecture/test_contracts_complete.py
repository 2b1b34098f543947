"""No contract is half there: record, struct, topic, kinds, examples and rows belong together, and nothing is left over.

Whoever adds a record, a field or a kind finds here, by name, what is still missing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents_sdk import schemas, topics
from agents_sdk.core import commands, facts
from agents_sdk.wire.codec import RECORDS
from agents_sdk.wire.registry import topic_of
from agents_sdk.wire.topic_files import Topic, load_all
from backplane.topics.compatibility import broken_by
from backplane.topics.examples import counterexamples, examples
from backplane.topics.validate import problems

ROOT = schemas.root()
FILES = {file.topic: file for file in load_all()}
FACTS = {record.__name__: topic for record, topic in topics.TOPIC_OF_FACT.items()}
RECORD_NAMES = list(schemas.records())
COUNTS = re.compile(r"_(nano_usd|us|ms|tokens)$")


def latest(record: str) -> dict[str, Any]:
    return schemas.latest(record)


def all_records(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The record and those nested in it."""
    nested = [b for f in schema["fields"] if isinstance(f["type"], list) for b in f["type"] if isinstance(b, dict)]
    return [schema, *nested]


EVERY_RECORD = [part for name in RECORD_NAMES for part in all_records(latest(name))]
EVERY_FIELD = [(record, field) for record in EVERY_RECORD for field in record["fields"]]


def struct_of(record: str) -> type[Any]:
    return {**RECORDS, **{body.__name__: body for body in commands.BODIES.values()}}[record]


def test_every_record_has_its_struct() -> None:
    """Schemas and structs are the same set."""
    assert set(RECORD_NAMES) == set(RECORDS)
    assert {schema["name"] for schema in EVERY_RECORD} - set(RECORDS) == {b.__name__ for b in commands.BODIES.values()}


@pytest.mark.parametrize("schema", EVERY_RECORD, ids=lambda schema: schema["name"])
def test_struct_equals_its_record_field_by_field(schema: dict[str, Any]) -> None:
    """Names, order, types and defaults of a struct are those of the schema."""
    assert [described(field) for field in msgspec.structs.fields(struct_of(schema["name"]))] == [
        (field["name"], python_type(field["type"]), field.get("default", ...)) for field in schema["fields"]
    ]


def described(field: Any) -> tuple[str, str, Any]:
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    shown = field.type.__name__ if isinstance(field.type, type) and not hasattr(field.type, "__args__") else field.type
    if isinstance(default, bytes):
        default = default.decode("latin-1")  # as Avro writes a default of bytes
    return field.encode_name, str(shown), ... if default is msgspec.NODEFAULT else default


def python_type(schema: Any) -> str:
    """How the type of a field is written in the struct."""
    if isinstance(schema, list):
        assert schema[0] == "null"
        assert len(schema) == 2, "a union is null or one other type"
        return str(struct_of(schema[1]["name"]) | None)
    if isinstance(schema, dict) and schema["type"] == "array":
        return f"list[{python_type(schema['items'])}]"
    if isinstance(schema, dict) and schema["type"] == "map":
        return f"dict[str, {python_type(schema['values'])}]"
    name = schema["type"] if isinstance(schema, dict) else schema
    return {"string": "str", "long": "int", "int": "int", "boolean": "bool", "bytes": "bytes"}[name]


@pytest.mark.parametrize("schema", EVERY_RECORD, ids=lambda schema: schema["name"])
def test_every_record_and_field_is_documented(schema: dict[str, Any]) -> None:
    """The contract explains itself, field by field."""
    undocumented = [field["name"] for field in schema["fields"] if len(field.get("doc", "")) < 4]
    assert undocumented == []
    assert len(schema.get("doc", "")) > 10


def test_money_is_whole_nano_usd_and_durations_are_whole() -> None:
    """No float anywhere: sums of money and time are exact."""
    wrong = [
        f"{record['name']}.{field['name']}"
        for record, field in EVERY_FIELD
        if field["type"] in ("float", "double") or (COUNTS.search(field["name"]) and field["type"] != "long")
    ]
    assert wrong == []
    money = [f["name"] for _, f in EVERY_FIELD if "cost" in f["name"] or ("price" in f["name"] and f["type"] == "long")]
    assert money
    assert all(name.endswith("_nano_usd") for name in money)


@pytest.mark.parametrize("record", ["Command", "Reply", "CapabilityManifest", "Switch", "ExecutorBeat"])
def test_signature_is_the_last_field(record: str) -> None:
    """It covers all bytes before it, so that nothing in the record is unsigned; new fields go before it."""
    fields = latest(record)["fields"]
    assert (fields[-1]["name"], fields[-1]["type"]) == ("signature", "bytes")


def test_facts_begin_with_the_envelope() -> None:
    """All facts have the same first fields, with the same types and the same meaning."""
    envelope = [field.encode_name for field in msgspec.structs.fields(facts.Fact)]
    first = latest("RunEvent")["fields"][: len(envelope)]
    assert [field["name"] for field in first] == envelope
    for record in FACTS:
        assert latest(record)["fields"][: len(envelope)] == first


@pytest.mark.parametrize("record", RECORD_NAMES)
def test_versions_count_without_gaps_and_stay_compatible(record: str) -> None:
    """Versions are 1, 2, …; each reads what each of its predecessors wrote, and the other way round."""
    versions = sorted(int(path.stem.rsplit(".v", 1)[1]) for path in (ROOT / "avro").glob(f"{record}.v*.avsc"))
    assert versions == list(range(1, len(versions) + 1))
    loaded = [schemas.avro(record, version) for version in versions]
    for index, schema in enumerate(loaded):
        assert broken_by(schema, loaded[:index]) == []
        assert (schema["name"], schema["namespace"]) == (record, "backplane")


def test_every_constant_has_its_topic_file_and_every_file_its_constant() -> None:
    """topics.py and schemas/topics name the same topics."""
    named = {
        *topics.FACT_TOPICS,
        *topics.TOPIC_OF_REGISTRY.values(),
        topics.COMMANDS,
        topics.REPLIES,
        topics.inbox("{agent}"),
    }
    dead = {topics.dead_letter(topic) for topic in named if FILES[topic].dead_letter_topic}
    assert set(FILES) == named | dead
    constants = {v for k, v in vars(topics).items() if k.isupper() and isinstance(v, str) and not k.endswith("PREFIX")}
    assert constants <= set(FILES)


@pytest.mark.parametrize("record", RECORD_NAMES)
def test_every_record_has_one_topic_of_its_own(record: str) -> None:
    """A record is registered for the topic that the code writes it to; the inbox shares the record of messages."""
    own = {file.topic for file in FILES.values() if file.record == record and file.has_subject}
    assert own - {topics.inbox("{agent}")} == {topic_of(record)}


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: file.topic)
def test_topic_file_agrees_with_the_records_and_the_others(file: Topic) -> None:
    """Key, role, partitions and dead letters of a topic are what the flow needs."""
    fields = {field["name"] for field in latest(file.record)["fields"]}
    assert file.key in fields
    if file.role == "registry":
        assert (file.partitions, file.cleanup_policy.split(",")[0]) == (1, "compact"), "one order for all, by key"
    else:
        assert file.key == ("reply_to" if file.record == "Reply" else "run_id")
        assert file.partitions == "default", "a run lies in the same partition number of every topic"
    assert (file.role == "facts") == (file.topic in topics.FACT_TOPICS)
    assert (file.role == "dead-letters") == file.topic.startswith(topics.DEAD_LETTER_PREFIX)
    if file.dead_letter_topic:
        assert FILES[file.dead_letter_topic].record == file.record
    else:
        assert file.role in ("dead-letters", "replies", "registry")
    if file.role in ("facts", "commands"):
        assert file.retention == "unlimited", "a replay needs the first record as much as the last"
    for party in (*file.producers, *file.consumers):
        assert party.name in ("agents", "operators") or party.name.startswith("backplane.")


def test_kinds_are_listed_once_and_in_the_doc() -> None:
    """The machine-readable kinds are those that the doc of the record tells people."""
    for record in [*FACTS, "Command"]:
        schema = latest(record)
        assert len(set(schema["kinds"])) == len(schema["kinds"])
        told = re.findall(r"[A-Za-z]+", schema["doc"].split("Kind", 1)[1])
        assert [kind for kind in schema["kinds"] if kind not in told] == []
        spoken = [word for word in told if re.fullmatch(r"([A-Z][a-z]+){2,}", word)]
        assert [word for word in spoken if word not in schema["kinds"]] == []
    kinds = [kind for record in FACTS for kind in latest(record)["kinds"]]
    assert len(set(kinds)) == len(kinds), "a kind belongs to one record"


def test_kinds_of_commands_are_those_of_the_code() -> None:
    """Contract and code know the same commands, and the same body for each."""
    schema = latest("Command")
    bodies = {f["name"]: f["type"][1] for f in schema["fields"] if isinstance(f["type"], list)}
    assert {kind: name for name, body in bodies.items() for kind in body["kinds"]} == commands.BODY_OF_KIND
    assert set(schema["kinds"]) == set(commands.BODY_OF_KIND)
    assert {name: body["name"] for name, body in bodies.items()} == {
        name: body.__name__ for name, body in commands.BODIES.items()
    }


def test_kinds_of_facts_are_those_the_ledger_writes() -> None:
    """Every kind in the contract is written somewhere in the ledger's core, and it writes no other."""
    core = Path(facts.__file__).parent / "ledger"
    text = "\n".join(path.read_text() for path in core.glob("*.py"))
    kinds = {kind for record in FACTS for kind in latest(record)["kinds"]}
    constants = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind).upper(): kind for kind in kinds}
    assert [kind for name, kind in sorted(constants.items()) if not re.search(rf"\bkinds\.{name}\b", text)] == []
    names = "|".join(FACTS)
    written = set(re.findall(rf"(?:{names}),\s*kinds\.([A-Z_]+)", text))
    assert written
    assert written <= set(constants)


@pytest.mark.parametrize("schema", EVERY_RECORD, ids=lambda schema: schema["name"])
def test_payloads_are_the_fields_documented_as_canonical_json(schema: dict[str, Any]) -> None:
    """What the doc calls canonical JSON is checked as canonical JSON."""
    said = [field["name"] for field in schema["fields"] if re.search("canonical JSON", field["doc"], re.IGNORECASE)]
    assert schema.get("payloads", []) == said


@pytest.mark.parametrize("record", [*FACTS, "Command"])
def test_every_kind_has_an_example(record: str) -> None:
    """Nothing can be said on a topic that no example shows."""
    shown = {example.datum["kind"] for example in examples(record)}
    assert set(latest(record)["kinds"]) - shown == set()


@pytest.mark.parametrize("record", RECORD_NAMES)
def test_every_record_has_examples_and_counterexamples(record: str) -> None:
    """Several named cases of each, or a validator that accepts everything would pass."""
    assert len(list(examples(record))) >= 2
    assert len(list(counterexamples(record))) >= 3


def test_every_reply_status_of_the_contract_has_an_example() -> None:
    """ok, refused, failed and the end of a run."""
    assert {"ok", "refused", "failed", "completed"} <= {example.datum["status"] for example in examples("Reply")}


def test_nothing_is_left_over_in_schemas() -> None:
    """Every file under schemas/ is one that something reads."""
    orphans = []
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT).as_posix()
        if path.is_dir() or relative.startswith(("clickhouse/", "contracts/")):
            continue
        orphans += [] if known(relative) else [relative]
    assert orphans == []


def known(relative: str) -> bool:
    records = "|".join(RECORD_NAMES)
    topics_ = "|".join(re.escape(file.topic.removesuffix(".{agent}")) for file in FILES.values())
    case = r"[a-z0-9]+(-[a-z0-9]+)*\.json"
    patterns = (
        r"manifest\.schema\.json",
        rf"avro/({records})\.v[1-9]\.avsc",
        rf"topics/({topics_})\.yaml",
        rf"examples/({records})/(invalid/)?{case}",
    )
    return any(re.fullmatch(pattern, relative) for pattern in patterns)


def test_the_check_for_leftovers_can_fail() -> None:
    """Misspelt, misplaced and forgotten files are found."""
    for stray in ("avro/RunEvents.v1.avsc", "avro/RunEvent.avsc", "topics/bp.runz.yaml", "topics/README.md"):
        assert not known(stray)
    for stray in ("examples/Run/started.json", "examples/RunEvent/Started.json", "examples/RunEvent/bad/x.json"):
        assert not known(stray)


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.record}-{example.case}")
def test_example_is_a_record_the_code_can_build(example: Any) -> None:
    """Examples pass the validator and become the struct, so every test that needs a record can take one."""
    assert problems(latest(example.record), example.datum) == []
    assert isinstance(example.build(), RECORDS[example.record])


def test_every_fact_has_its_rows() -> None:
    """Each field of each fact has its column, and an example of each kind becomes one row."""
    from backplane.sink import rows

    for record, topic in topics.TOPIC_OF_FACT.items():
        fields = tuple(field["name"] for field in latest(record.__name__)["fields"])
        columns = rows.COLUMNS_OF[record]
        assert [f for f, c in zip(fields, columns, strict=True) if c != rows.RENAMED.get((record, f), f)] == []
        made: list[Any] = [example.build() for example in examples(record.__name__)]
        block = rows.events([rows.Record(topic, 0, n, 0, fact) for n, fact in enumerate(made)])
        assert (block.rows, block.names[0]) == (len(made), "topic")
        assert set(columns) <= set(block.names)
