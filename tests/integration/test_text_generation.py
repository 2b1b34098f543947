"""Text by a model instead of by extraction: the built-in manifest against a server that answers like OpenAI's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from backplane.executor.ports import Clock
from backplane.executor.settle import Settler
from backplane.manifests.model import HttpProvider, environment
from backplane.manifests.registry import load_registry
from backplane.providers.fleet import Fleet
from tests.support.calls import Outbox, requested

TEXT: Final = "Event logs grow at their end. Readers remember how far they have read, each at a pace of its own."
PARAMS: Final = {"topic": "event logs", "sources": [{"id": "log.md", "title": "Logs", "text": TEXT}]}
ARTICLE: Final = {
    "title": "Logs",
    "summary": "They grow.",
    "paragraphs": [{"text": "Logs grow.", "sources": ["log.md"]}],
}


class Model(ThreadingHTTPServer):
    """Answers ``answer`` with ``status``, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Completions)
        self.status = 200
        self.answer: dict[str, Any] = completion(json.dumps(ARTICLE))
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Completions(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        answer = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def completion(content: str) -> dict[str, Any]:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content}
    return {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 30},
    }


@pytest.fixture
def model() -> Iterator[Model]:
    running = Model()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


async def written(tmp_path: Path, **variables: str) -> Outbox:
    """What comes of one call of text_generation with these environment variables."""
    outbox = Outbox()
    fleet = Fleet(tmp_path, variables)
    settler = Settler(load_registry(()), fleet, outbox, executor="me", max_result_bytes=1_000_000, clock=Clock())
    try:
        await settler.settle(requested("c", "text_generation", PARAMS))
    finally:
        await fleet.close()
    return outbox


async def test_a_model_writes_once_its_key_is_set(model: Model, tmp_path: Path) -> None:
    """It is asked first, with the key and the sources; its article, model and tokens are recorded."""
    outbox = await written(tmp_path, OPENAI_API_KEY="s3cret", OPENAI_BASE_URL=model.url)

    assert (outbox.outcome().provider, json.loads(outbox.outcome().result)) == ("openai_compatible", ARTICLE)
    [attempt] = [command.attempt for command in outbox.commands if command.attempt]
    assert (attempt.model, attempt.input_tokens, attempt.output_tokens) == ("gpt-4o-mini-2024-07-18", 120, 30)
    [(path, authorization, body)] = model.asked
    assert (path, authorization) == ("/v1/chat/completions", "Bearer s3cret")
    assert TEXT in body["messages"][-1]["content"]


async def test_without_its_key_no_model_is_asked(model: Model, tmp_path: Path) -> None:
    """The text is the sources' own then."""
    outbox = await written(tmp_path, OPENAI_BASE_URL=model.url)

    assert outbox.outcome().provider == "extractive"
    assert model.asked == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, {"error": {"message": "wrong key"}}),
        (429, {"error": {"message": "no money", "code": "insufficient_quota"}}),
        (200, completion("Sure! Here is your article.")),
        (200, completion('{"title": "no paragraphs"}')),
    ],
    ids=["wrong key", "no quota", "no JSON", "breaks the contract"],
)
async def test_where_the_model_fails_the_sources_are_quoted(
    model: Model, tmp_path: Path, status: int, answer: dict[str, Any]
) -> None:
    """Whatever it answers that is no article, the call completes by the next provider."""
    model.status, model.answer = status, answer

    outbox = await written(tmp_path, OPENAI_API_KEY="s3cret", OPENAI_BASE_URL=model.url)

    assert outbox.outcome().provider == "extractive"
    assert model.asked


def test_no_test_asks_a_provider_that_costs_money(tmp_path: Path) -> None:
    """The keys of whoever runs the tests are not in their environment, whichever providers come to need one."""
    with_keys = [
        provider
        for contract in load_registry(())
        for provider in contract.capability.providers
        if isinstance(provider, HttpProvider) and provider.auth
    ]
    assert with_keys
    assert [each.name for each in with_keys if not each.missing(environment(), tmp_path)] == []
