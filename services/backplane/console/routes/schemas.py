"""Schemas: records, their versions in the registry, and what changed between two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.desk import ConsoleContext, desk_of

router = APIRouter()


@router.get("/schemas")
def list_schemas(request: Request) -> Response:
    """All records and the topics they lie in."""
    from agents_sdk import schemas
    from agents_sdk.wire.topic_files import load_all

    rows = []
    for record in schemas.records():
        schema = schemas.avro(record, schemas.latest_version(record))
        topics = [one.topic for one in load_all() if one.record == record and one.has_subject]
        rows.append((record, schema, topics))
    return desk_of(request).page(request, "schemas.html.j2", rows=rows)


@router.get("/schemas/{record}")
def show_schema(request: Request, record: str, version: int = 0, against: int = 0) -> Response:
    """One record, field by field; what differs from another version."""
    from agents_sdk import schemas
    from backplane.topics.compatibility import differences

    desk = desk_of(request)
    if record not in set(schemas.records()):
        raise HTTPException(404, f"there is no record {record!r}")
    registered, problem = _registered(desk, record)
    here = schemas.avro(record, schemas.latest_version(record))
    chosen = next((one for one in registered if one.version == version), None)
    schema = chosen.schema if chosen else here
    other = next((one for one in registered if one.version == against), registered[-1] if registered else None)
    return desk.page(
        request,
        "schema.html.j2",
        record=record,
        schema=schema,
        fields=list(_fields(schema, "")),
        registered=registered,
        chosen=chosen,
        other=other,
        changes=differences(other.schema, schema) if other else [],
        problem=problem,
    )


def _registered(desk: ConsoleContext, record: str) -> tuple[list[Any], str]:
    from agents_sdk.errors import BackplaneError
    from agents_sdk.wire.registry import Registry, subject, topic_of

    try:
        with Registry(desk.settings) as registry:
            return registry.versions(subject(topic_of(record))), ""
    except BackplaneError as error:
        return [], error.message


def _fields(schema: dict[str, Any], at: str) -> Iterator[tuple[str, str, str, str]]:
    import json

    from backplane.topics.compatibility import type_name

    for field in schema["fields"]:
        default = json.dumps(field["default"]) if "default" in field else "required"
        yield f"{at}{field['name']}", type_name(field["type"]), default, field.get("doc", "")
        for branch in field["type"] if isinstance(field["type"], list) else ():
            if isinstance(branch, dict) and branch.get("type") == "record":
                yield from _fields(branch, f"{at}{field['name']}.")
