"""Reference pages of topics, records, tables, manifests and built-in capabilities, from their own files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

from docs.tools.markdown import cell, code, prose, table

ROOT: Final = Path(__file__).parents[2]
SCHEMAS: Final = ROOT / "schemas"
BUILT_IN: Final = ROOT / "services" / "backplane" / "builtin" / "manifests"


def topics() -> str:
    """Every topic: record, key, partitions, retention, writers and readers."""
    parts = ["# Topics"]
    for file in sorted((SCHEMAS / "topics").glob("*.yaml")):
        topic: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        facts = [
            (key, code(topic[key]))
            for key in ("role", "record", "key", "partitions", "retention", "cleanup_policy", "dead_letter_topic")
            if topic.get(key)
        ]
        people = [
            (role, code(each.get("name", "")), cell(each.get("why", "")))
            for role in ("producers", "consumers")
            for each in topic.get(role, [])
        ]
        parts += [f"## `{topic['topic']}`", prose(str(topic["description"])), table(("property", "value"), facts)]
        if people:
            parts.append(table(("", "name", "why"), people))
    return "\n\n".join(parts)


def _type(shape: Any) -> str:
    if isinstance(shape, list):
        return " or ".join(map(_type, shape))
    if isinstance(shape, dict):
        if shape["type"] in ("array", "map"):
            return f"{shape['type']} of {_type(shape.get('items', shape.get('values')))}"
        return str(shape.get("logicalType") or shape.get("name") or shape["type"])
    return str(shape)


def _nested(shape: Any) -> list[dict[str, Any]]:
    if isinstance(shape, list):
        return [record for each in shape for record in _nested(each)]
    if isinstance(shape, dict):
        if shape["type"] == "record":
            return [shape]
        return _nested(shape.get("items", shape.get("values", "")))
    return []


def _record(record: dict[str, Any], depth: int) -> list[str]:
    rows = [
        (code(field["name"]), cell(_type(field["type"])), cell(prose(field.get("doc", ""))))
        for field in record["fields"]
    ]
    parts = [
        f"{'#' * depth} `{record['name']}`",
        prose(record.get("doc", "")),
        table(("field", "type", "meaning"), rows),
    ]
    for field in record["fields"]:
        for inner in _nested(field["type"]):
            parts += _record(inner, depth + 1)
    return parts


def records() -> str:
    """Every Avro record, with its nested records."""
    parts = ["# Records", "The value of each record in Kafka is Avro, in the wire format of Confluent."]
    for file in sorted((SCHEMAS / "avro").glob("*.avsc")):
        parts += _record(json.loads(file.read_text(encoding="utf-8")), 2)
    return "\n\n".join(parts)


COMMENT: Final = r"COMMENT '((?:[^']|'')*)'"
TABLE: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?\{database\}\.(\w+).*?\n\((.*?)\n\)(.*?);\n", re.DOTALL)
VIEW: Final = re.compile(r"CREATE VIEW (?:IF NOT EXISTS )?\{database\}\.(\w+).*?\n" + COMMENT + ";", re.DOTALL)
COLUMN: Final = re.compile(r"^    (\w+) ((?:\w+\([^)]*\)+|\w+))(.*?),?$", re.MULTILINE)


def tables() -> str:
    """Every table with its columns, and every view with its comment."""
    sql = "\n".join(file.read_text(encoding="utf-8") for file in sorted((SCHEMAS / "clickhouse").glob("*.sql")))
    parts = ["# Tables and views", "`backplane sql` and the console ask these. A view's comment has an example."]
    for name, body, rest in TABLE.findall(sql):
        comment = re.search(COMMENT, rest)
        rows = []
        for column, kind, more in COLUMN.findall(body):
            meaning = re.search(COMMENT, more)
            rows.append((code(column), code(kind), cell(meaning[1].replace("''", "'") if meaning else "")))
        parts += [f"## `{name}`", comment[1].replace("''", "'") if comment else ""]
        parts.append(table(("column", "type", "meaning"), rows))
    for name, comment in VIEW.findall(sql):
        meaning, _, example = comment.replace("''", "'").partition("Example: ")
        question, _, statement = example.partition("? ")
        parts += [f"## `{name}`", meaning.strip()]
        if statement:
            parts.append(f"{question.capitalize()}?\n\n```sql\n{statement}\n```")
    return "\n\n".join(part for part in parts if part)


def _schema_type(shape: dict[str, Any]) -> str:
    if "$ref" in shape:
        name = shape["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in shape or "const" in shape:
        return " or ".join(code(each) for each in shape.get("enum", [shape.get("const")]))
    if "anyOf" in shape or "oneOf" in shape:
        return " or ".join(_schema_type(each) for each in shape.get("anyOf", shape.get("oneOf", [])))
    if shape.get("type") == "array":
        return f"list of {_schema_type(shape.get('items', {}))}"
    return str(shape.get("type", "any"))


def manifests() -> str:
    """Every field of a manifest."""
    schema = json.loads((SCHEMAS / "manifest.schema.json").read_text(encoding="utf-8"))
    parts = [
        "# Manifests",
        "A manifest describes a capability. `schemas/manifest.schema.json` completes it in an editor.",
    ]
    for name, shape in [("Capability", schema), *schema["$defs"].items()]:
        rows = [
            (code(key), _schema_type(each), "yes" if key in shape.get("required", []) else "–", _meaning(each))
            for key, each in shape.get("properties", {}).items()
        ]
        parts += [
            f"## {name}",
            prose(shape.get("description", "")),
            table(("field", "type", "required", "meaning"), rows),
        ]
    return "\n\n".join(part for part in parts if part)


def _meaning(shape: dict[str, Any]) -> str:
    default = (
        f" Default: {code(json.dumps(shape['default']))}." if shape.get("default") not in (None, "", [], {}) else ""
    )
    return cell(prose(shape.get("description", "")) + default)


def capabilities() -> str:
    """Every built-in capability, with its params and providers."""
    parts = [
        "# Built-in capabilities",
        "A provider is asked once its key is in the environment, the keyring or a file.",
    ]
    for file in sorted(BUILT_IN.glob("*.yaml")):
        found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        rows = [
            (code(key), cell(_schema_type(each)), "yes" if key in found["params"].get("required", []) else "–")
            for key, each in found["params"].get("properties", {}).items()
        ]
        providers = ", ".join(code(each["name"]) for each in found["providers"])
        parts += [f"## `{found['name']}`", found["description"], f"Side effects: {code(found['side_effects'])}."]
        parts.append(f"Providers, in order: {providers}.")
        if rows:
            parts.append(table(("param", "type", "required"), rows))
    return "\n\n".join(parts)
