"""``backplane schemas``: the Avro schemas, the registry made to agree with them, and the AsyncAPI document."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backplane.cli.output import CommandError, DataDir, JsonFlag, print_json, print_rows
from backplane.cli.topics import DryRun, print_changes

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show schemas; register and compare them.")

Record = Annotated[str, typer.Argument(help="Name of a record, such as RunEvent.")]


@app.callback()
def group() -> None:
    """Show schemas; register and compare them."""


@app.command()
def apply(dry_run: DryRun = False, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Register the schemas that are missing; an incompatible one is refused, with the difference, before any is."""
    from backplane.topics.apply import apply_schemas

    changes = apply_schemas(_settings(data_dir), dry_run)
    print_rows(("action", "name", "detail"), [(c.action, c.name, c.detail) for c in changes], as_json=as_json)
    print_changes(len(changes), "schemas", dry_run=dry_run)


@app.command(name="list")
def list_schemas(as_json: JsonFlag = False) -> None:
    """List the records and the topics they are in."""
    from agents_sdk import schemas
    from agents_sdk.wire.topic_files import load_all

    rows = []
    for record in schemas.records():
        version = schemas.latest_version(record)
        schema = schemas.avro(record, version)
        topics = ", ".join(topic.topic for topic in load_all() if topic.record == record and topic.has_subject)
        rows.append((record, version, len(schema["fields"]), topics, ", ".join(schema.get("kinds", []))))
    print_rows(("record", "version", "fields", "topics", "kinds"), rows, as_json=as_json)


@app.command()
def show(record: Record, version: int = 0, as_json: JsonFlag = False) -> None:
    """Show one record field by field; with --json the schema itself."""
    schema = _schema(record, version)
    if as_json:
        print_json(schema)
    else:
        print_rows(("field", "type", "default", "doc"), list(_field_rows(schema, "")))


@app.command()
def diff(record: Record, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show what differs between the registered schema of a record and the one of this checkout."""
    from agents_sdk.wire.registry import Registry, subject, topic_of
    from backplane.topics.compatibility import differences

    new = _schema(record)
    with Registry(_settings(data_dir)) as registry:
        registered = registry.versions(subject(topic_of(record)))
    if not registered:
        name = subject(topic_of(record))
        raise CommandError("not_found", f"nothing is registered under {name!r}", "run `backplane schemas apply`")
    changes = differences(registered[-1].schema, new)
    rows = [(change.sign, change.path, change.what, change.breaks) for change in changes]
    print_rows(("change", "field", "what", "refused_because"), rows, as_json=as_json)


@app.command()
def asyncapi(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Print the AsyncAPI 3.1 document of all topics and records, as YAML or with --json as JSON."""
    import yaml

    from agents_sdk.settings import NotConfigured
    from backplane.topics.asyncapi import document

    try:
        made = document(_settings(data_dir))
    except NotConfigured:
        made = document()  # without a platform it has no partitions and a server's usual address
    if as_json:
        print_json(made)
    else:
        print(yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=100), end="")


def _settings(data_dir: Any) -> Any:
    from agents_sdk.settings import load_settings

    return load_settings(**({"data_dir": data_dir} if data_dir else {}))


def _schema(record: str, version: int = 0) -> dict[str, Any]:
    from agents_sdk import schemas

    known = list(schemas.records())
    if record not in known:
        raise CommandError("not_found", f"there is no record {record!r}", f"there are {', '.join(known)}")
    try:
        return schemas.avro(record, version or schemas.latest_version(record))
    except FileNotFoundError as error:
        latest = schemas.latest_version(record)
        raise CommandError("not_found", f"{record} has no version {version}", f"the latest is {latest}") from error


def _field_rows(schema: dict[str, Any], at: str) -> Any:
    import json

    from backplane.topics.compatibility import type_name

    for field in schema["fields"]:
        default = json.dumps(field["default"]) if "default" in field else "required"
        yield f"{at}{field['name']}", type_name(field["type"]), default, field["doc"]
        for branch in field["type"] if isinstance(field["type"], list) else ():
            if isinstance(branch, dict) and branch.get("type") == "record":
                yield from _field_rows(branch, f"{at}{field['name']}.")
