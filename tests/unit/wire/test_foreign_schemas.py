"""Schemas of other versions: what any number of alien ids may cost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents_sdk import schemas
from agents_sdk.errors import Unreachable
from agents_sdk.settings import load_settings
from agents_sdk.settings_model import Settings
from agents_sdk.wire import foreign_schemas
from agents_sdk.wire import registry as registry_module
from agents_sdk.wire.codec import RECORDS, Codec, Undecodable
from agents_sdk.wire.foreign_schemas import AGAIN_S, FRESH_S, ForeignSchemas
from tests.support.eventually import assert_eventually


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Server(ThreadingHTTPServer):
    """A registry with version 1 of bp.replies-value, and as many more as ``versions`` says; ``status``: it fails."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 0
        self.versions = 1
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def settings(self) -> Settings:
        return load_settings(
            kafka={"bootstrap.servers": "localhost:1"}, registry={"url": f"http://127.0.0.1:{self.server_port}"}
        )


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.open.wait()
        status, body = self.answer(self.path.split("?")[0].strip("/").split("/"))
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, path: list[str]) -> tuple[int, Any]:
        if self.server.status:
            return self.server.status, {"error_code": self.server.status, "message": "no"}
        if path[1] != "bp.replies-value":
            return 404, {"error_code": 40401, "message": "not found"}
        if path[-1] == "versions":
            return 200, list(range(1, self.server.versions + 1))
        number = int(path[-1])
        schema = json.dumps(schemas.avro("Reply"))
        return 200, {"subject": path[1], "version": number, "id": 70 + number, "schema": schema}

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(registry_module, "RETRY_WAIT_MS", 1)
    monkeypatch.setattr(registry_module, "RETRIES", 0)
    monkeypatch.setattr(foreign_schemas, "WAIT_S", 60.0)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.open.set()
    running.shutdown()
    running.server_close()


def test_schema_of_another_version_is_found_by_its_id(server: Server) -> None:
    """A record of another version leads to one reading of what is registered under our subjects."""
    assert ForeignSchemas(server.settings)(71) == schemas.avro("Reply")


def test_thousands_of_alien_ids_cost_one_reading(server: Server) -> None:
    """Each of 3,000 ids that nobody knows costs a look into memory; so does the same id again."""
    clock = Clock()
    fetch = ForeignSchemas(server.settings, clock=clock)
    for schema_id in range(1_000, 4_000):
        with pytest.raises(LookupError, match=f"the id {schema_id} "):
            fetch(schema_id)
    once = len(server.asked)
    assert once < 50
    with pytest.raises(LookupError):
        fetch(1_000)
    assert len(server.asked) == once


def test_unknown_becomes_known_when_it_is_old(server: Server) -> None:
    """What was unknown is asked for again after a while; what is known already is not read a second time."""
    clock = Clock()
    fetch = ForeignSchemas(server.settings, clock=clock)
    with pytest.raises(LookupError):
        fetch(72)
    server.versions = 2
    with pytest.raises(LookupError):
        fetch(72)
    clock.now += AGAIN_S
    assert fetch(72) == schemas.avro("Reply")
    assert len([path for path in server.asked if path.split("?")[0].endswith("/versions/1")]) == 1


def test_slow_registry_is_waited_for_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a reading is under way every other record with an unknown id is decided at once."""
    monkeypatch.setattr(foreign_schemas, "WAIT_S", 0.05)
    server.open.clear()
    fetch = ForeignSchemas(server.settings)
    began = time.monotonic()
    for schema_id in range(2_000):
        with pytest.raises(LookupError):
            fetch(schema_id)
    assert_eventually(lambda: _one_reading(server.asked))
    assert time.monotonic() - began < 60, "each waits for itself: 100 s"
    server.open.set()


def _one_reading(asked: list[str]) -> None:
    assert len(asked) == registry_module.PARALLEL


def test_all_who_ask_while_a_reading_is_under_way_get_its_answer(server: Server) -> None:
    """Four partitions that are taken over at once: none may take for unknown what the first has asked for."""
    server.open.clear()
    fetch = ForeignSchemas(server.settings)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(fetch, 71) for _ in range(8)]
        assert_eventually(lambda: _one_reading(server.asked))
        server.open.set()
        assert [one.result() for one in found] == [schemas.avro("Reply")] * 8


def test_a_record_of_the_platforms_own_is_asked_for_now(server: Server) -> None:
    """Whatever was unknown a moment ago; and where the registry is away that is said, and the version not unknown."""
    clock = Clock()
    fetch = ForeignSchemas(server.settings, clock=clock)
    codec = Codec(dict.fromkeys(RECORDS, 1), fetch, fetch.certain)
    value = b"\0" + (72).to_bytes(4, "big") + b"x"
    with pytest.raises(Undecodable, match="the id 72") as unknown:
        codec.decode_own(value)
    assert unknown.value.code == "unknown_schema"
    clock.now += FRESH_S
    server.status = 503
    with pytest.raises(Unreachable):
        codec.decode_own(value)
    server.status, server.versions = 0, 2
    with pytest.raises(Undecodable, match="do not fit"):
        codec.decode_own(value)


def test_flood_of_alien_ids_waits_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings go on in the background while a flood lasts; a new version is known when its sender asks again."""
    monkeypatch.setattr(foreign_schemas, "WAIT_S", 0.2)
    clock = Clock()
    fetch = ForeignSchemas(server.settings, clock=clock)
    with pytest.raises(LookupError):
        fetch(1_000)
    assert_eventually(lambda: _known(fetch, 71))
    clock.now += AGAIN_S
    with pytest.raises(LookupError):
        fetch(1_001)  # still waited for: the reading before found something
    assert_eventually(lambda: _read(fetch))
    server.versions = 2
    monkeypatch.setattr(foreign_schemas, "WAIT_S", 60.0)
    server.open.clear()
    clock.now += AGAIN_S
    began = time.monotonic()
    with pytest.raises(LookupError):
        fetch(72)
    assert time.monotonic() - began < 30, "nobody waits for it"
    server.open.set()
    assert_eventually(lambda: _known(fetch, 72))


def _known(fetch: ForeignSchemas, schema_id: int) -> None:
    assert schema_id in fetch._known


def _read(fetch: ForeignSchemas) -> None:
    assert fetch._reading is None
    assert not fetch._fruitful


def test_registry_that_is_away_makes_ids_of_others_unknown(server: Server) -> None:
    """A ledger refuses what it cannot read; a sink, which would lose facts, waits."""
    server.status = 503
    codec = Codec(dict.fromkeys(RECORDS, 1), ForeignSchemas(server.settings))
    with pytest.raises(Undecodable, match="was not read") as unknown:
        codec.decode(b"\0\0\0\0\x47" + b"x")
    assert unknown.value.code == "unknown_schema"
    with pytest.raises(Unreachable):
        ForeignSchemas(server.settings).certain(71)


def test_thousands_of_alien_ids_cost_the_platforms_own_readers_one_reading(server: Server) -> None:
    """A recovery meets them all within a second."""
    fetch = ForeignSchemas(server.settings, clock=Clock())
    for schema_id in range(1_000, 4_000):
        with pytest.raises(LookupError, match=f"the id {schema_id} "):
            fetch.certain(schema_id)
    assert len(server.asked) < 50


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "Reply", "fields": [{"name": "x", "type": "no such type"}]},
        {"type": "record", "name": "Reply", "fields": [{"type": "string"}]},
        {"type": "enum", "name": "Reply", "symbols": []},
        {"name": "Reply"},
        {"type": "record", "name": "Reply", "fields": 3},
    ],
)
def test_schema_that_cannot_be_used_is_an_unknown_one(schema: dict[str, Any]) -> None:
    """Whatever the registry has under an id: the record is undecodable, and no more than that."""
    codec = Codec({name: number for number, name in enumerate(RECORDS)}, lambda _: schema)
    with pytest.raises(Undecodable):
        codec.decode(b"\0\0\0\x03\xe8" + b"\2a" * 20)
