"""An HTTP provider against a real server on the loopback that answers as servers do on good and on bad days."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.model import HttpProvider
from backplane.providers.http import HttpAttempts
from backplane.recovery.outcome import Answer, AttemptRequest, Failure
from tests.support.http_attempts import attempt
from tests.support.http_server import Reply, serving
from tests.support.moody_server import HUGE, Server


@pytest.fixture
def server() -> Iterator[Server]:
    """The server, on a free port."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield running
    running.release.set()
    running.shutdown()
    running.server_close()
    thread.join()


async def ask(server: Server, path: str, *, timeout: float = 5.0, environment: Any = None, **fields: Any) -> Any:
    """One attempt at a provider with this path; fields go into its manifest, ``request`` is merged."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    request = {"base_url": {"value": url}, "path": path, **fields.pop("request", {})}
    given = {"response": {"result": "data"}, **fields}
    spec = HttpProvider.model_validate({"name": "api", "kind": "http", "request": request, **given})
    attempts = HttpAttempts(spec, environment or {}, Path("/nonexistent"))
    try:
        return await attempts.attempt(
            AttemptRequest(
                call_id=CallId("call-1"),
                run_id=RunId("r"),
                agent="a",
                attempt=1,
                params={"q": "ä b"},
                timeout_seconds=timeout,
            )
        )
    finally:
        await attempts.close()


async def test_a_good_answer_is_mapped(server: Server) -> None:
    """Result, model and tokens come from where the manifest says."""
    response = {"result": "data", "model": "model", "input_tokens": "usage.in", "output_tokens": "usage.out"}

    answer = await ask(server, "/ok", response=response)

    assert isinstance(answer, Answer)
    assert (answer.result, answer.model) == ({"text": "hello"}, "m-1")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 7)


async def test_the_request_is_what_the_templates_say(server: Server) -> None:
    """Path, query, headers and body; the call id as idempotency key; secrets where the API wants them."""
    await ask(
        server,
        "/ok/${params.q}",
        request={
            "query": {"q": "${params.q}", "none": "${params.none}"},
            "headers": {"idempotency-key": "${call.id}"},
            "body": {"text": "${params.q}", "none": "${params.none}", "n": 1},
        },
        auth={"kind": "bearer", "secret": {"env": "KEY"}},
        environment={"KEY": "s3cret"},
    )

    seen = server.seen[0]
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert seen["path"].startswith("/ok/%C3%A4%20b?")
    assert seen["query"] == {"q": ["ä b"]}
    assert json.loads(seen["body"]) == {"text": "ä b", "n": 1}
    assert (headers["idempotency-key"], headers["authorization"]) == ("call-1", "Bearer s3cret")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("auth", "place"),
    [
        ({"kind": "header", "name": "x-key"}, "x-key: s3cret"),
        ({"kind": "query", "name": "key"}, "key=s3cret"),
        ({"kind": "basic"}, "authorization: Basic czNjcmV0"),
    ],
)
async def test_each_kind_of_auth_puts_the_secret_in_its_place(server: Server, auth: Any, place: str) -> None:
    """Header, query parameter, basic."""
    await ask(server, "/ok", auth={**auth, "secret": {"env": "KEY"}}, environment={"KEY": "s3cret"})

    seen = server.seen[0]
    headers = [f"{name.lower()}: {value}" for name, value in seen["headers"].items()]
    assert place in [*headers, *seen["path"].partition("?")[2].split("&")]


@pytest.mark.parametrize(
    ("path", "error_class", "code", "uncertain"),
    [
        ("/limited", "rate_limited", "http_429", False),
        ("/broken", "transient", "http_500", True),
        ("/moved", "unknown", "http_302", True),
        ("/html", "transient", "malformed_response", True),
        ("/empty", "transient", "malformed_response", True),
        ("/malformed", "transient", "malformed_response", True),
        ("/truncated", "transient", "truncated_response", True),
        ("/hangup", "transient", None, True),
    ],
)
async def test_bad_answers_are_typed(
    server: Server, path: str, error_class: str, code: str | None, uncertain: bool
) -> None:
    """Each is a failure of its class, none is an exception, none a result."""
    failure = await ask(server, path)

    assert isinstance(failure, Failure)
    assert (failure.error_class, failure.uncertain) == (error_class, uncertain)
    assert code is None or failure.code == code


async def test_retry_after_reaches_the_core(server: Server) -> None:
    """With the provider's own words."""
    failure = await ask(server, "/limited")

    assert (failure.retry_after, failure.message) == (12.0, "HTTP 429 Too Many Requests: slow down")


@pytest.mark.parametrize("path", ["/huge", "/endless"])
async def test_a_response_above_the_limit_is_cut_off(server: Server, path: str) -> None:
    """Announced or streamed for ever: it is not read to its end."""
    failure = await ask(server, path, response={"result": "@", "max_bytes": 1_000_000})

    assert (failure.error_class, failure.code) == ("unknown", "response_too_large")


async def test_a_response_within_the_limit_is_read(server: Server) -> None:
    """The limit is a limit, not a size."""
    answer = await ask(server, "/huge", response={"result": "@"})

    assert len(answer.result) == HUGE


@pytest.mark.parametrize("path", ["/silent", "/drip"])
async def test_the_deadline_is_over_the_whole_exchange(server: Server, path: str) -> None:
    """A server that sends a byte now and then must not keep a call for ever."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    failure = await ask(server, path, timeout=0.2)

    assert (failure.error_class, failure.code, failure.uncertain) == ("transient", "timeout", True)
    assert loop.time() - began < 2


async def test_nothing_listening_is_an_outage(server: Server) -> None:
    """And certain: no request went out."""
    failure = await ask(server, "/", request={"base_url": {"value": "http://127.0.0.1:1"}})

    assert (failure.error_class, failure.code, failure.uncertain) == ("outage", "connect_failed", False)


async def test_a_name_that_does_not_resolve_is_an_outage(server: Server) -> None:
    """And the failure says that it is the name."""
    failure = await ask(server, "/", request={"base_url": {"value": "http://no-such-host.invalid"}})

    assert (failure.error_class, failure.code, failure.uncertain) == ("outage", "name_not_resolved", False)


async def test_tls_where_there_is_none_is_an_outage(server: Server) -> None:
    """A handshake that fails sends no request."""
    port = server.server_address[1]

    failure = await ask(server, "/ok", request={"base_url": {"value": f"https://127.0.0.1:{port}"}})

    assert (failure.error_class, failure.uncertain) == ("outage", False)
    assert server.seen == []


@pytest.mark.parametrize("url", ["not a url", "ftp://127.0.0.1", "http://[::1", "http://127.0.0.1:99999"])
async def test_an_impossible_address_is_an_invalid_request(server: Server, url: str) -> None:
    """Typed, never raised."""
    failure = await ask(server, "/", request={"base_url": {"value": url}})

    assert (failure.error_class, failure.uncertain) == ("invalid_request", False)


@pytest.mark.parametrize("secret", ["line\nbreak", "schlüssel"])
async def test_a_secret_that_no_header_may_hold_is_not_sent_nor_shown(server: Server, secret: str) -> None:
    """A key file with a stray line break is told without the key."""
    failure = await ask(server, "/ok", auth={"kind": "bearer", "secret": {"env": "KEY"}}, environment={"KEY": secret})

    assert failure.error_class == "invalid_request"
    assert secret not in failure.message
    assert server.seen == []


async def test_a_models_json_text_is_parsed(server: Server) -> None:
    """Structured outputs come as text within the JSON."""
    response = {"json_text": "choices[0].message.content", "result": "@"}

    answer = await ask(server, "/model_text", response=response)
    chat = await ask(server, "/model_chat", response=response)

    assert answer.result == {"text": "hello"}
    assert (chat.error_class, chat.code) == ("transient", "malformed_response")


async def test_attempts_share_connections(server: Server) -> None:
    """A hundred at a time over one pool of ten connections all come back."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    spec = HttpProvider.model_validate(
        {
            "name": "api",
            "kind": "http",
            "concurrency": 10,
            "request": {"base_url": {"value": url}, "path": "/ok"},
        }
    )
    attempts = HttpAttempts(spec, {}, Path("/nonexistent"))
    request = AttemptRequest(
        call_id=CallId("c"), run_id=RunId("r"), agent="a", attempt=1, params={}, timeout_seconds=20
    )

    outcomes = await asyncio.gather(*(attempts.attempt(request) for _ in range(100)))
    await attempts.close()

    assert all(isinstance(outcome, Answer) for outcome in outcomes)


@pytest.mark.parametrize(
    ("response", "request_fields", "error_class", "code", "sent"),
    [
        ({"result": "length(data.text.more)"}, {}, "transient", "malformed_response", 1),
        ({"result": "data"}, {"query": {"n": "${length(params.none)}"}}, "invalid_request", "unfit_params", 0),
    ],
)
async def test_an_expression_that_cannot_work_is_a_failure(
    server: Server, response: Any, request_fields: Any, error_class: str, code: str, sent: int
) -> None:
    """Of the response: it is not as the manifest expects. Of the params: no request goes out."""
    failure = await ask(server, "/ok", response=response, request=request_fields)

    assert (failure.error_class, failure.code) == (error_class, code)
    assert len(server.seen) == sent


@pytest.mark.parametrize(("accepts", "code"), [("q == 'ä b'", None), ("!q", "not_accepted")])
async def test_a_provider_that_cannot_do_it_is_not_asked(server: Server, accepts: str, code: str | None) -> None:
    """Its manifest says which params it takes; the next provider may take them."""
    outcome = await ask(server, "/ok", accepts=accepts)

    assert getattr(outcome, "code", None) == code
    assert len(server.seen) == (0 if code else 1)
    assert code is None or (outcome.error_class, outcome.uncertain) == ("invalid_request", False)


async def test_ten_megabytes_are_not_read(server: Server) -> None:
    """By default; a list of parameters is given once for each of its values."""
    failure = await ask(server, "/flood", request={"query": {"id": [1, "b"], "q": "x"}})

    assert (failure.error_class, failure.code) == ("unknown", "response_too_large")
    assert server.seen[0]["path"] == "/flood?id=1&id=b&q=x"


async def test_a_response_without_content_is_null(server: Server) -> None:
    """204 announces nothing, so nothing is missing."""
    answer = await ask(server, "/gone", response={"result": "@"})

    assert isinstance(answer, Answer)
    assert answer.result is None


async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    """Nothing is sent to who cannot prove who it is; the failure says so."""
    with serving(tls=self_signed(tmp_path)) as impostor:
        failure = await attempt(
            impostor.url, auth={"kind": "bearer", "secret": {"env": "KEY"}}, environment={"KEY": "s3cret-key"}
        )

        assert isinstance(failure, Failure)
        assert (failure.error_class, failure.code, failure.uncertain) == ("outage", "tls_failed", False)
        assert impostor.asked == []


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate made here and now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "both.pem").write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


@pytest.mark.parametrize("secret", ["s3cret-key", 'with"quote+and/slash'])
async def test_a_secret_that_is_echoed_is_taken_out_of_the_result(secret: str) -> None:
    """Of the header, the address and the words, whatever form it comes back in."""
    with serving(
        lambda asked: Reply({"headers": asked.headers, "query": asked.query, "told": f"you are {secret}"})
    ) as mirror:
        for auth in ({"kind": "bearer"}, {"kind": "query", "name": "key"}):
            outcome = await attempt(mirror.url, auth={**auth, "secret": {"env": "KEY"}}, environment={"KEY": secret})

            assert isinstance(outcome, Answer)
            assert secret not in json.dumps(outcome.result)
            assert json.dumps(secret)[1:-1] not in json.dumps(outcome.result)
            assert outcome.result["told"] == "you are [secret]"
