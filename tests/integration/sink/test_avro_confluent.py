"""A ClickHouse that reads our topics by itself, as its Kafka engine does, understands what lies there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents_sdk import schemas
from agents_sdk.core.facts import Fact
from agents_sdk.wire.codec import RECORDS, Codec
from backplane.sink.rows import COLUMNS_OF
from backplane.store.engine import Engine
from tests.integration.sink.conftest import Database
from tests.support.stories import article

IDS = {name: number for number, name in enumerate(sorted(RECORDS), 100)}
CODEC = Codec(IDS, lambda schema_id: {})
STORY = article()


class Registry(BaseHTTPRequestHandler):
    """The one question that a reader asks of a registry, under a path, as Apicurio has it."""

    def do_GET(self) -> None:
        names = {f"/apis/ccompat/v7/schemas/ids/{number}": name for name, number in IDS.items()}
        name = names.get(self.path.partition("?")[0])
        body = json.dumps({"schema": json.dumps(schemas.latest(name))} if name else {"error_code": 40403}).encode()
        self.send_response(200 if name else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/apis/ccompat/v7"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("record", [type(fact) for fact in {type(f): f for f in STORY.facts}.values()])
def test_clickhouse_reads_the_bytes_of_every_topic(
    database: Database, engine: Engine, registry: str, record: type[Fact]
) -> None:
    """With nothing but the registry's address, into columns of the types that ``events`` has: every field as it was."""
    told = [fact for fact in STORY.facts if type(fact) is record]
    types = {row[0]: row[1] for row in database.rows("DESCRIBE TABLE {database}.events")}
    fields = record.__struct_fields__
    columns = dict(zip(fields, COLUMNS_OF[record], strict=True))
    handle: Any = engine.connection()
    try:
        described = ", ".join(f"{name} {types[columns[name]]}" for name in fields)
        handle.query(f"CREATE TEMPORARY TABLE queue ({described}) ENGINE = Memory")
        settings = f"format_avro_schema_registry_url = '{registry}', input_format_avro_allow_missing_fields = 1"
        with handle.send_insert(f"INSERT INTO queue SETTINGS {settings}", "AvroConfluent") as insert:
            insert.append(b"".join(CODEC.encode(fact) for fact in told))
            insert.finish()
        handle.query("SET output_format_json_quote_64bit_integers = 0")
        answer = bytes(handle.query(f"SELECT {_plain(record)} FROM queue", "JSONEachRow").bytes())
        rows = [json.loads(line) for line in answer.splitlines()]
    finally:
        handle.close()

    wanted = [{f"told {name}": _json(getattr(fact, name)) for name in fields} for fact in told]
    assert rows == wanted


def _plain(record: type[Fact]) -> str:
    """Every field as JSON can hold it: times in microseconds, whole numbers as numbers."""
    times = {
        field["name"]
        for field in schemas.latest(record.__name__)["fields"]
        if isinstance(field["type"], dict) and field["type"].get("logicalType") == "timestamp-micros"
    }
    named = {name: f"toUnixTimestamp64Micro({name})" if name in times else name for name in record.__struct_fields__}
    return ", ".join(f"{expression} AS `told {name}`" for name, expression in named.items())


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
