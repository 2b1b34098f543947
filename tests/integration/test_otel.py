"""Spans of real runs, at a collector that counts: complete, also where it is away and where the exporter is killed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents_sdk.core.facts import Fact
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import run
from backplane.cli.output import ExitCode
from backplane.otel import names
from backplane.otel.spans import is_span
from backplane.platform.child import Child
from tests.support.chaos.log import read
from tests.support.eventually import assert_eventually

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

REFUSALS: Final = 2
"""Requests that the collector refuses before it takes one."""


class Collector:
    """An OTLP/HTTP endpoint on loopback that keeps every span it takes."""

    def __init__(self) -> None:
        self.spans: dict[bytes, Any] = {}
        self.refused = 0
        self.taken = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(collector.take(self.path, self.headers.get("Content-Encoding", ""), body))
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, encoding: str, body: bytes) -> int:
        assert path == "/v1/traces"
        if self.refused < REFUSALS:
            self.refused += 1
            return 503
        self.taken += 1
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if encoding == "gzip" else body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans |= {span.span_id: span for span in scope.spans}
        return 200

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Refuses at first, as one that is being restarted does."""
    made = Collector()
    yield made
    made.close()


def echo(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["call", "echo", "--json", "--data-dir", str(platform.layout.data_dir)]) == ExitCode.OK
    run_id: str = json.loads(capsys.readouterr().out)["run_id"]
    return run_id


def facts(platform: LocalPlatform) -> list[Fact]:
    codec, found = connect_codec(platform.settings), []
    for one in read(platform.settings, list(FACT_TOPICS)):
        try:
            record = codec.decode(one.value)
        except Undecodable:
            continue
        if isinstance(record, Fact):
            found.append(record)
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def ended(process: Child) -> None:
    assert process.exit_reason() is not None


def test_every_fact_is_a_span_at_the_collector_whatever_is_killed(
    platform: LocalPlatform, collector: Collector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused twice, killed once, started again: one span for each fact that gives one, and a run is one trace."""
    runs = [echo(platform, capsys) for _ in range(2)]
    where = ["--endpoint", collector.endpoint, "--data-dir", str(platform.layout.data_dir)]
    exporter = Child([sys.executable, "-m", "backplane.cli.app", "otel", *where], os.environ, tmp_path / "otel.log")

    def some_taken() -> None:
        assert collector.taken, exporter.tail(20)

    assert_eventually(some_taken)
    assert collector.refused == REFUSALS
    exporter.send(signal.SIGKILL)
    assert_eventually(lambda: ended(exporter))
    runs.append(echo(platform, capsys))
    before = facts(platform)
    assert run(["otel", "--once", *where]) == ExitCode.OK
    told = facts(platform)  # what others began here may go on
    exported = {attributes(span)[names.EVENT] for span in collector.spans.values()}
    assert {fact.event_id for fact in before if is_span(fact)} <= exported
    assert exported <= {fact.event_id for fact in told if is_span(fact)}
    for run_id in runs:
        spans = [span for span in collector.spans.values() if attributes(span).get(names.RUN) == run_id]
        assert len(spans) == sum(is_span(fact) for fact in told if fact.run_id == run_id)
        assert {span.trace_id.hex() for span in spans} == {run_id.replace("-", "")}
        assert not any(names.START_UNKNOWN in attributes(span) for span in spans)
        (root,) = (span for span in spans if not span.parent_span_id)
        assert root.name.startswith("invoke_workflow")
        ids = {span.span_id for span in spans}
        assert all(span.parent_span_id in ids for span in spans if span is not root)
