"""The registry client, against a server that answers as Confluent's, Apicurio's and a broken one do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents_sdk import schemas
from agents_sdk.errors import Unreachable
from agents_sdk.settings import load_settings
from agents_sdk.settings_model import Settings
from agents_sdk.wire import registry as registry_module
from agents_sdk.wire.registry import Registry, SchemaRejected, SchemasNotApplied, connect_codec, subject
from backplane.topics.examples import examples

IDS = {record: number for number, record in enumerate(schemas.records(), start=41)}


class Server(ThreadingHTTPServer):
    """Answers every request with ``status`` and ``body``, or looks ids up when it has no such answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 0
        self.body: dict[str, Any] = {}
        self.asked: list[str] = []

    @property
    def settings(self) -> Settings:
        return load_settings(
            kafka={"bootstrap.servers": "localhost:1"}, registry={"url": f"http://127.0.0.1:{self.server_port}/api"}
        )


class Answer(BaseHTTPRequestHandler):
    server: Server

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.server.asked.append(self.path)
        if self.server.status:
            self.reply(self.server.status, self.server.body)
            return
        schema = json.loads(sent["schema"])
        self.reply(200, {"id": IDS[schema["name"]], "subject": "s", "version": 1, "schema": sent["schema"]})

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.status:
            self.reply(self.server.status, self.server.body)
        else:
            self.reply(200, {"schema": json.dumps(schemas.avro("Reply"))})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test is no place for an access log."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def test_codec_writes_with_the_registrys_ids(server: Server) -> None:
    """Each record is written with the id that the registry gave its schema: a request for it, and one for its other
    versions, of which there are none."""
    codec = connect_codec(server.settings)
    for example in examples():
        assert int.from_bytes(codec.encode(example.build())[1:5], "big") == IDS[example.record]
    named = [f"/api/subjects/{subject(registry_module.topic_of(record))}" for record in IDS]
    assert sorted(path.split("?")[0] for path in server.asked) == sorted(
        [*named, *(f"{name}/versions" for name in named)]
    )


NOT_FOUND = [(404, 40401), (404, 40402), (404, 40403), (404, 404), (404, -1)]


@pytest.mark.parametrize(("status", "code"), NOT_FOUND)
def test_every_kind_of_not_found_asks_for_apply(server: Server, status: int, code: int) -> None:
    """Unknown subject, version or schema, told by 404 or by 404xx: the next step is the same."""
    server.status, server.body = status, {"error_code": code, "message": "not found"}
    with pytest.raises(SchemasNotApplied, match="backplane schemas apply") as missing:
        connect_codec(server.settings)
    assert missing.value.fields["subject"].endswith("-value")
    with Registry(server.settings) as registry:
        with pytest.raises(LookupError, match="no schema has the id 7"):
            registry.fetch(7)
        assert registry.lookup("s", schemas.avro("Reply")) is None
        assert registry.level("s") == ""
        assert registry.versions("s") == []


@pytest.mark.parametrize(("status", "code"), [(409, 409), (409, 40901), (422, 42201)])
def test_refused_schema_is_a_rejection(server: Server, status: int, code: int) -> None:
    """An incompatible or an invalid schema is told as such, with what the registry said."""
    server.status, server.body = status, {"error_code": code, "message": "field 'x' is gone"}
    said = r"field 'x' is gone.*schemas diff"
    with Registry(server.settings) as registry, pytest.raises(SchemaRejected, match=said) as refused:
        registry.register("bp.runs-value", schemas.avro("RunEvent"))
    assert refused.value.fields["status"] == status


def test_wrong_credentials_are_no_missing_schema(server: Server) -> None:
    """401 must not send anybody to `schemas apply`."""
    server.status, server.body = 401, {"error_code": 401, "message": "who are you?"}
    with pytest.raises(SchemaRejected, match="credentials"):
        connect_codec(server.settings)


def test_failing_registry_is_unreachable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that answers 503 for good is reported, after a few tries, as not there."""
    monkeypatch.setattr(registry_module, "RETRY_WAIT_MS", 1)
    server.status, server.body = 503, {"error_code": 50301, "message": "starting"}
    with pytest.raises(Unreachable, match="503") as gone:
        connect_codec(server.settings)
    assert gone.value.fields["server"] == "registry"


def test_registry_that_is_not_there_is_unreachable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection names the address and the next step."""
    monkeypatch.setattr(registry_module, "RETRY_WAIT_MS", 1)
    settings = server.settings
    server.server_close()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*backplane status"):
        connect_codec(settings)


def test_no_registry_configured_is_unreachable() -> None:
    """Without an address nothing is tried."""
    with pytest.raises(Unreachable, match="BACKPLANE_REGISTRY__URL"):
        connect_codec(load_settings(kafka={"bootstrap.servers": "localhost:1"}))


def test_answer_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has a time-out: without one a lost answer hangs a process for good."""
    import socket

    monkeypatch.setattr(registry_module, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(registry_module, "RETRIES", 0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = load_settings(kafka={"bootstrap.servers": "localhost:1"}, registry={"url": url})
        with Registry(settings) as registry, pytest.raises(Unreachable, match="Timeout"):
            registry.fetch(1)


def test_importing_the_module_imports_no_client() -> None:
    """The client takes 0.4 s to import; a command that needs no registry must not pay for it."""
    import subprocess
    import sys

    code = "import sys, agents_sdk.wire.registry, agents_sdk.wire.topics_admin; print('confluent_kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
